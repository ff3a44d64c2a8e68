"""Pieces of a training, put together: bit for bit, whatever the pieces are."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo import open_run
from embevo.errors import ArgumentError, DivergedError, EmbevoError, FrameMismatchError, RunExistsError
from embevo.run.exchange.merging import inspect_runs, merge_runs
from embevo.run.reading.reader import Run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import encoded, written
from support.pieces import write_piece

DTYPES = ["bfloat16", "float32", "float64"]


def merged(tmp_path: Path, *pieces: Path, **options: Any) -> Run:
    merge_runs(inspect_runs(pieces), tmp_path / "out", **options)
    return open_run(tmp_path / "out")


def check(run: Run, steps: list[int], dtype: str = "float32", seed: int = 0) -> None:
    """The run holds these steps and nothing else, in every bit."""
    assert run.steps.tolist() == steps
    expected = encoded.matrices(steps, (5, 3), dtype, seed)
    for row, (step, image) in enumerate(run.images(range(len(steps)))):
        assert step == steps[row]
        assert run.frame.matrix(image, "embeddings").tobytes() == expected[row].tobytes()
    losses = np.array([encoded.loss_of(step, seed) for step in steps])
    assert np.asarray(run["loss"][:]).tobytes() == losses.tobytes()
    found = verify(run.path, deep=True)
    assert found.problems == []


@pytest.mark.parametrize("store", ["zarr", "safetensors", "both"])
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
@settings(max_examples=15, deadline=None)
@given(
    shares=st.lists(st.sets(st.integers(0, 2)), min_size=3, max_size=24),
    dtype=st.sampled_from(DTYPES),
    killed=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_any_pieces_give_what_one_run_would_be(
    tmp_path_factory: pytest.TempPathFactory,
    store: Any,
    zarr_dtype: Any,
    shares: list[set[int]],
    dtype: str,
    killed: tuple[bool, bool, bool],
) -> None:
    """Each step is in none, one or several of three runs: consecutive, interleaved, overlapping, missing."""
    tmp_path = tmp_path_factory.mktemp("merge")
    frame = written.frame_of(embeddings=dtype)
    held = [[step for step, share in enumerate(shares) if piece in share] for piece in range(3)]
    pieces = [
        write_piece(tmp_path / f"piece{index}", steps, frame=frame, killed=killed[index])
        for index, steps in enumerate(held)
    ]
    everything = [step for step, share in enumerate(shares) if share]
    if not everything:
        with pytest.raises(FrameMismatchError, match="nothing to merge"):
            inspect_runs(pieces)
        return
    run = merged(tmp_path, *pieces, store=store, zarr_dtype=zarr_dtype)
    check(run, everything, dtype)
    assert run.store == store
    record = run.attributes["merged"]
    assert [part["run"] for part in record["runs"]] == ["piece0", "piece1", "piece2"]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_difference_anywhere_is_named_and_nothing_is_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("differ")
    dtype = data.draw(st.sampled_from(DTYPES))
    frame = written.frame_of(embeddings=dtype)
    step, token, dim = (data.draw(st.integers(low, high)) for low, high in ((6, 9), (0, 4), (0, 2)))
    one = write_piece(tmp_path / "one", range(10), frame=frame)
    put = written.put

    def spoiled(journal: Any, row: int, at: int, *, seed: int = 0, seal: bool = True) -> None:
        put(journal, row, at, seed=seed, seal=seal)
        if at == step:
            size = frame.dtype("embeddings").itemsize
            payload = journal.payload(row, "embeddings")
            payload[(token * 3 + dim) * size] ^= 1
            journal.commit(row, at, (encoded.loss_of(at, 0), 0.5), seal=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "put", spoiled)
        other = write_piece(tmp_path / "other", range(6, 14), frame=frame)
    with pytest.raises(DivergedError) as refused:
        inspect_runs([one, other])
    assert f"differ at step {step}: embeddings at token {token}, dim {dim} (" in str(refused.value)
    assert f"{one} and {other}" in str(refused.value)


def test_what_agrees_is_kept_and_the_rest_is_in_the_record(tmp_path: Path) -> None:
    count = np.arange(5, dtype=np.int64)
    first = {"config": {"lr": 0.1, "job": 1}, "note": "same", "who": "a", "versions": {"x": "1"}}
    second = {"config": {"lr": 0.1, "job": 2}, "note": "same", "versions": {"x": "2"}}
    one = write_piece(tmp_path / "one", range(6), attributes=first, token_count=count)
    two = write_piece(tmp_path / "two", range(4, 9), attributes=second, token_count=count)
    run = merged(tmp_path, one, two)
    check(run, list(range(9)))
    assert run.config == {"lr": 0.1}
    assert run.attributes["note"] == "same"
    assert "who" not in run.attributes
    assert run.tokens is not None
    assert run.tokens.count.tolist() == count.tolist()
    parts = run.attributes["merged"]["runs"]
    assert [part["steps"] for part in parts] == [[[0, 5, 1]], [[6, 8, 1]]]
    assert parts[0]["attributes"] == {name: first[name] for name in ("config", "who", "versions")}
    assert parts[1]["attributes"] == {name: second[name] for name in ("config", "versions")}
    differing = write_piece(tmp_path / "three", [20], attributes=second, token_count=count + 1)
    merging = inspect_runs([one, differing])
    assert merging.said.token_count is None
    assert merging.left_out == ["config.job", "who"]
    assert merging.contradicted == ["token_count"]


def test_a_number_beats_nan_and_two_numbers_must_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_piece(tmp_path / "one", range(6))
    monkeypatch.setattr(encoded, "loss_of", lambda step, _: float("nan") if step == 5 else 1.0)
    begins = write_piece(tmp_path / "begins", range(5, 8))
    monkeypatch.undo()
    for order in ((one, begins), (begins, one)):
        merging = inspect_runs(order)
        assert merging.scalars[5, 0] == encoded.loss_of(5, 0)
    monkeypatch.setattr(encoded, "loss_of", lambda *_: 1.0)
    other = write_piece(tmp_path / "other", range(5, 8))
    monkeypatch.undo()
    with pytest.raises(DivergedError, match=r"loss of step 5 is 1\.0 in "):
        inspect_runs([one, other])


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    one = write_piece(tmp_path / "one", range(6))
    with pytest.raises(ArgumentError, match="two runs or more"):
        inspect_runs([one])
    with pytest.raises(ArgumentError, match="given twice"):
        inspect_runs([one, tmp_path / "." / "one"])
    for frame, what in (
        (written.frame_of(embeddings="float64"), "arrays"),
        (written.frame_of((6, 3)), "arrays"),
        (written.frame_of(other="float32"), "arrays"),
        (written.frame_of(scalars=("loss",)), "scalars"),
    ):
        other = write_piece(tmp_path / f"other{id(frame)}", range(6), frame=frame)
        with pytest.raises(FrameMismatchError, match=f"do not record the same {what}"):
            inspect_runs([one, other])
    two = write_piece(tmp_path / "two", range(6, 9))
    merging = inspect_runs([one, two])
    for out in (one, one / "in", tmp_path):
        with pytest.raises(ArgumentError, match="lie in each other"):
            merge_runs(merging, out, overwrite=True)
    with pytest.raises(RunExistsError):
        merge_runs(merging, other)
    check(open_run(one), list(range(6)))


KILLED = """
import os, signal, sys
from embevo.run.exchange.merging import inspect_runs, merge_runs
def die(step):
    if step == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
merge_runs(inspect_runs(sys.argv[1:3]), sys.argv[3], on_step=die)
"""


@pytest.mark.parametrize("at", [0, 5, 11])
def test_a_merge_that_is_killed_says_that_it_is_not_complete(tmp_path: Path, at: int) -> None:
    pieces = [write_piece(tmp_path / "one", range(6)), write_piece(tmp_path / "two", range(6, 12))]
    out = tmp_path / "out"
    died = subprocess.run([sys.executable, "-c", KILLED, *pieces, out, str(at)], check=False)
    assert died.returncode == -signal.SIGKILL
    run = open_run(out)
    assert (out / "journal").exists()
    found = verify(out)
    assert (found.expected, len(run.steps)) == (12, at + 1)
    recover(out)
    found = verify(out, deep=True)
    assert [problem.what for problem in found.problems] == (
        [] if at == 11 else [f"{11 - at:,} of 12 expected steps were not recorded"]
    )
    merge_runs(inspect_runs(pieces), out, overwrite=True)
    check(open_run(out), list(range(12)))


def test_on_the_command_line(tmp_path: Path) -> None:
    one = write_piece(tmp_path / "a b", range(6), attributes={"who": 1})
    two = write_piece(tmp_path / "two", range(5, 9), killed=True)
    out = tmp_path / "out here"
    result = CliRunner().invoke(embevo, ["merge", str(one), str(two), "--out", str(out), "--store", "zarr"])
    assert result.exit_code == 0, result.output
    assert f"{one}: 0..5\n" in result.output
    assert "kept in the attribute merged only: who\n" in result.output
    assert f"Merged 9 steps into {out}. Look at them with: embevo info '{out}'\n" in result.output
    check(open_run(out), list(range(9)))
    result = CliRunner().invoke(embevo, ["merge", str(one), "--out", str(out)])
    assert result.exit_code == 2
    assert "two runs or more" in result.output


def test_an_error_while_writing_says_what_is_left(tmp_path: Path) -> None:
    pieces = [write_piece(tmp_path / "one", range(6)), write_piece(tmp_path / "two", range(6, 12))]

    def fail(step: int) -> None:
        if step == 7:
            raise OSError(28, os.strerror(28), "full")

    with pytest.raises(OSError, match="No space") as raised:
        merge_runs(inspect_runs(pieces), tmp_path / "out", on_step=fail)
    assert raised.value.__notes__ == [
        f"{tmp_path / 'out'} holds an unfinished merge: repeat it with overwrite."
    ]
    assert not isinstance(raised.value, EmbevoError)
    assert len(open_run(tmp_path / "out").steps) == 8
