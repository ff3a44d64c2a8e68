"""Every command, and what a Run offers, on a run that several processes have recorded."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from embevo_cli.main import COMMANDS, embevo

from embevo.errors import FrameMismatchError
from embevo.recording.recorder import Recorder
from embevo.run.format.shards import Shards
from embevo.run.reading.reader import open_run
from embevo.run.repair.verification import verify
from support.ranks import COLUMNS, SHARDS, create, values


def invoke(*words: object) -> Result:
    return CliRunner().invoke(embevo, [str(word) for word in words])


def test_who_was_ahead_is_said(tmp_path: Path) -> None:
    ranks = create(tmp_path / "run")
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(3 if rank else 5))
    ranks.leave()
    done = invoke("recover", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "AHEAD: rank 0 on node0 had 2 more steps: 3..4" in done.output


STEPS = 8
# What each command makes of RUN, its exit code and some words of it; {here} is a folder for what is made.
# Those that train, plan, count a corpus, or need what these runs do not have, are tried elsewhere.
TABLE: dict[str, tuple[str, int, str]] = {
    "info": ("info {run}", 0, "8 x 11 x 4 (step, token, dim)"),
    "ls": ("ls {here}", 0, "complete      8"),
    "verify": ("verify --deep {run}", 0, "All is as it was written"),
    "recover": ("recover {run}", 0, "Nothing to do"),
    "annotate": ("annotate {run} --groups {here}/groups.toml", 0, "Group few: 3 tokens"),
    "export-safetensors": ("export-safetensors {run} --out {here}/files", 0, "Wrote 8 files"),
    "export": ("export {run} --tensorboard-projector {here}/projector", 0, "Wrote 1 steps"),
    "compact": ("compact {run}", 2, "embevo merge {run} --out RUN"),
    "rewind": ("rewind {run} --to 3 --yes", 2, "embevo merge {run} --out RUN"),
    "merge": ("merge {run} --out {here}/one", 0, "0..7"),
    "diff": ("diff {run} {here}/one", 0, "Every bit of what they share is equal"),
    "analyze": ("analyze --no-keep --measures core {run}", 0, "8 rows x 11 tokens x 4 dimensions"),
    "null": ("null {run} --kind shuffled-steps --out {here}/null", 0, ""),
    "audit": ("audit {run}", 2, "does not say which optimizer"),
    "explain": ("explain {run} --token 3", 2, "does not say which optimizer"),
    "push": ("push {run} file://{here}/bucket/run", 0, "shows 8 steps"),
    "verify what was pushed": ("verify --deep file://{here}/bucket/run", 0, "All is as it was written"),
    "pull": ("pull file://{here}/bucket/run {here}/back", 0, "is the run of"),
    "verify what was pulled": ("verify --deep {here}/back", 0, "All is as it was written"),
    "compact what was pulled": ("compact {here}/back", 0, "Compacted 8 steps"),
    "rewind what was pulled": ("rewind {here}/back --to 3 --yes", 0, "4 are left"),
    "verify what is left": ("verify --deep {here}/back", 0, "All is as it was written"),
    "compare what is left": ("diff {run} {here}/back", 0, "Every bit of what they share is equal"),
}
ELSEWHERE = {"train", "sweep", "plan", "corpus", "report", "figures", "animate", "view", "import-safetensors"}


def test_no_command_is_left_out() -> None:
    assert {words.split()[0] for words, _, _ in TABLE.values()} | ELSEWHERE == set(COMMANDS)


@pytest.mark.parametrize("shards", [SHARDS, COLUMNS], ids=["rows", "columns"])
def test_every_command_does_what_it_says_or_says_what_to_do(tmp_path: Path, shards: Shards) -> None:
    path = tmp_path / "run"
    ranks = create(path, joins=True, shards=shards)
    for rank in shards.ranks:
        ranks.capture(rank, range(STEPS))
    for rank in shards.ranks:
        ranks.close(rank)
    (tmp_path / "groups.toml").write_text("few = [0, 5, 10]\n")
    for what, (words, code, said) in TABLE.items():
        done = invoke(*(word.format(run=path, here=tmp_path) for word in words.split()))
        flat = " ".join(done.output.split())
        assert done.exit_code == code, f"{what}: {done.output}"
        assert " ".join(said.format(run=path).split()) in flat, f"{what}: {done.output}"
        assert "Traceback" not in done.output
        run = open_run(path)
        assert run.steps.tolist() == list(range(STEPS)), what
        for name in ("embeddings", "bias"):
            expected = np.array([values(step)[name] for step in range(STEPS)], np.float32)
            assert np.array_equal(run[name][:], expected), f"{what}: {name}"
    assert verify(path, deep=True).problems == []
    assert run.groups["few"].tolist() == [0, 5, 10]
    # What was made of it is the same in all that a reader sees.
    one = open_run(tmp_path / "one")
    assert one.layout.shards is None
    for name in ("embeddings", "bias", "loss"):
        assert np.array_equal(one[name][:], run[name][:]), name
    assert one.groups["few"].tolist() == [0, 5, 10]
    assert [(step, image.tobytes()) for step, image in one.images(range(STEPS))] == [
        (step, image.tobytes()) for step, image in run.images(range(STEPS))
    ]
    assert run.to_xarray().equals(one.to_xarray())
    assert open_run(tmp_path / "back").steps.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("pulled", [False, True])
def test_one_process_does_not_go_on_where_several_have_recorded(tmp_path: Path, *, pulled: bool) -> None:
    ranks = create(tmp_path / "run", joins=True)
    for rank in SHARDS.ranks:
        ranks.capture(rank, range(4))
        ranks.close(rank)
    if pulled:
        # As it is brought back from object storage.
        shutil.rmtree(ranks.paths.ranks)
    tensors = {"embeddings": torch.zeros(11, 4), "bias": torch.zeros(11, dtype=torch.bfloat16)}
    with pytest.raises(FrameMismatchError, match="recorded by 3 of 4 processes"):
        Recorder(tmp_path / "run", tensors, scalars=(), resume=True)
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2, 3]
    assert verify(tmp_path / "run", deep=True).problems == []
