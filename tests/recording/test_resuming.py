"""Going on with a run that is there, beginning one that is not, and dropping what cannot be repeated."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from embevo_cli.main import embevo

from embevo import Recorder, open_run
from embevo.errors import ArgumentError, DivergedError, NotARunError, RunExistsError
from embevo.run.paths import RunPaths
from embevo.run.repair.verification import verify
from support.captures import SHAPE, STEPS

LAST = 13


def train(path: Path, first: int, last: int, *, noise: float = 0.0, **options: Any) -> Recorder:
    """Capture steps whose values are their numbers; from step 7 on with noise, as of atomics."""
    weight = torch.nn.Parameter(torch.zeros(SHAPE))
    with Recorder(path, {"embeddings": weight}, block_steps=STEPS, **options) as recorder:
        for step in range(first, last + 1):
            with torch.no_grad():
                weight.fill_(step + (noise if step >= 7 else 0))
            recorder.capture(step)
    return recorder


def values(path: Path) -> list[float]:
    assert verify(path, deep=True).ok
    return np.asarray(open_run(path)["embeddings"][:, 0, 0]).tolist()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    train(tmp_path / "a run", 0, LAST)
    return tmp_path / "a run"


@pytest.mark.parametrize("first", [0, 3, 6, 7, 8])
def test_what_an_error_of_divergence_advises_helps(run: Path, first: int) -> None:
    for by_command in (False, True):
        copy = run.with_name(f"copy {by_command}")
        shutil.copytree(run, copy)
        with pytest.raises(DivergedError, match=r"Nothing was overwritten") as diverged:
            train(copy, first, 20, noise=0.5, resume=True)
        assert open_run(copy).steps.tolist() == list(range(LAST + 1))
        advice = re.search(
            r"drop the (\d+) steps recorded after step (-?\d+), .* rewind_to=(-?\d+);", str(diverged.value)
        )
        assert advice is not None
        dropped, after, keep = map(int, advice.groups())
        assert (after, dropped) == (keep, LAST - keep)
        if by_command:
            command = shlex.split(str(diverged.value).split("or the command ")[1])
            result = CliRunner().invoke(embevo, [*command[1:], "--yes"])
            assert result.exit_code == 0, result.output
            assert f"{dropped} of {LAST + 1} steps are dropped" in result.output
            assert open_run(copy).steps.tolist() == list(range(keep + 1))
            train(copy, first, 20, noise=0.5, resume=True)
        else:
            train(copy, first, 20, noise=0.5, resume=True, rewind_to=keep)
        expected = [step + (0.5 if step >= max(7, first) else 0) for step in range(21)]
        assert values(copy) == expected


@pytest.mark.parametrize("keep", [-1, 0, 3, 4, 6, 12, 13, 99])
def test_a_run_is_rewound_to_a_step(run: Path, keep: int) -> None:
    recorder = train(run, 0, 20, noise=0.5, resume=True, rewind_to=min(keep, 6))
    kept = min(keep, 6) + 1
    assert (recorder.stats.compared, recorder.stats.captured) == (kept, 21 - kept)
    assert values(run) == [step + (0.5 if step >= 7 else 0) for step in range(21)]


def test_rewinding_asks_and_says_how_many_steps_go(run: Path) -> None:
    def invoke(*arguments: str, answer: str = "") -> Any:
        return CliRunner().invoke(embevo, ["rewind", str(run), *arguments], input=answer)

    refused = invoke("--to", "5", answer="n\n")
    assert refused.exit_code == 1
    assert "8 of 14 steps are dropped for good: 6..13" in refused.output
    assert len(values(run)) == 14
    assert invoke("--to", "5", answer="y\n").output.endswith("Dropped 8 steps; 6 are left.\n")
    assert values(run) == [0, 1, 2, 3, 4, 5]
    assert invoke("--to", "5").output == "Nothing to drop: the run holds no step after 5.\n"
    assert invoke("--to", "-1", "--yes").exit_code == 0
    assert values(run) == []
    assert invoke("--to", "-2", "--yes").exit_code == 2
    nothing = CliRunner().invoke(embevo, ["rewind", str(run / "nothing"), "--to", "3"])
    assert (nothing.exit_code, "is not a run" in nothing.output) == (2, True)


# Begin or go on


def test_auto_begins_what_is_not_there_and_goes_on_with_what_is(tmp_path: Path) -> None:
    for last in (5, 9):
        train(tmp_path / "run", 0, last, resume="auto")
        assert values(tmp_path / "run") == list(range(last + 1))


def test_auto_leaves_alone_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("five years of work")
    with pytest.raises(RunExistsError, match=r"already holds thesis\.tex"):
        train(tmp_path, 0, 3, resume="auto")


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["Journal.create", "create_run", "put_in_place"])
@pytest.mark.parametrize("how", [{"resume": "auto"}, {}, {"overwrite": True}])
def test_a_run_that_was_killed_in_its_creation_can_be_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, how: dict[str, Any]
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"embevo.run.writing.run_writer.{moment}", die)
        # As the kernel would: nothing is cleaned up.
        patch.setattr("embevo.run.writing.run_writer.discard", lambda _: None)
        with pytest.raises(_Killed):
            train(tmp_path / "run", 0, 3)
    assert RunPaths(tmp_path / "run").staged.is_dir()
    with pytest.raises(NotARunError, match=r'interrupted before anything was captured.*resume="auto"'):
        train(tmp_path / "run", 0, 3, resume=True)
    train(tmp_path / "run", 0, 3, **how)
    assert values(tmp_path / "run") == [0, 1, 2, 3]


def test_nothing_there_to_resume_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("nothing", "empty", "file", "file/below"):
        with pytest.raises(NotARunError, match=r'nothing to resume.*resume="auto"'):
            train(tmp_path / name, 0, 3, resume=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"resume": "Auto"}, "resume is 'Auto'"),
        ({"resume": 1}, "resume is 1"),
        ({"resume": None}, "resume is None"),
        ({"overwrite": "yes"}, "overwrite is 'yes'"),
        ({"resume": True, "overwrite": True}, "pass one of them"),
        ({"resume": "auto", "overwrite": True}, "pass one of them"),
        ({"rewind_to": 3}, "pass resume=True"),
        ({"rewind_to": -2, "resume": True}, "rewind_to is -2"),
        ({"rewind_to": 2.5, "resume": True}, r"rewind_to is 2\.5"),
        ({"rewind_to": True, "resume": True}, "rewind_to is True"),
    ],
)
def test_contradictions_are_refused_before_anything_is_touched(
    run: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ArgumentError, match=problem):
        train(run, 0, 3, **options)
    assert values(run) == list(range(LAST + 1))
