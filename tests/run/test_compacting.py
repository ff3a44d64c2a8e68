"""A compaction: fewer bytes, every bit of every value, and a run that goes on as any other."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from click.testing import CliRunner
from embevo_cli.main import embevo
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embevo import compact
from embevo.errors import ArgumentError, DamagedError, NotARunError, RecordingError, RunInUseError
from embevo.run.disk.lock import WriterLock
from embevo.run.format.effort import AskedEffort
from embevo.run.format.frame import FrameSpec
from embevo.run.limits import disk_room
from embevo.run.manifest.manifest import Manifest
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.reading.summary import summarize
from embevo.run.repair import compacting
from embevo.run.repair.compacting import estimate_compaction, was_written_lightly
from embevo.run.repair.recovery import recover
from embevo.run.repair.rewinding import rewind_to
from embevo.run.repair.verification import verify
from support import encoded, frames, trajectories
from support.written import frame_of, write_run

FIXTURES = Path(__file__).parent.parent / "fixtures"
ROWS = 43


def walk(tokens: int = 40, dim: int = 16) -> NDArray[np.float32]:
    """``(step, token, dim)`` values that change a little from step to step, as real ones do."""
    return trajectories.brownian(ROWS, tokens, dim, scale=0.01).astype(np.float32)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of several blocks that were written lightly, the last of them short."""
    folder = tmp_path_factory.mktemp("recorded")
    return {
        store: trajectories.record(folder / store, walk(), store=store, block_steps=10, effort="fast")
        for store in ("zarr", "both")
    }


@pytest.fixture(params=["zarr", "both"])
def run(request: pytest.FixtureRequest, recorded: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(recorded[request.param], tmp_path / "run")


def chunks(path: Path) -> dict[str, bytes]:
    """The chunk files of a run, by key."""
    root = path / "trajectory.zarr"
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.glob("*/c.*")}


def others(path: Path) -> dict[str, bytes]:
    """All other files of a run but the manifest."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and not file.name.startswith("c.") and file != path / "manifest"
    }


def bits(path: Path) -> list[tuple[str, bytes]]:
    """Every value of a run."""
    opened = open_run(path)
    names = [*(name for name, _ in opened.frame.matrices), *opened.frame.scalars]
    values = [(name, np.asarray(opened[name][:]).tobytes()) for name in names]
    return [("step", opened.steps.tobytes()), *values]


def flip(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


def test_a_compacted_run_is_smaller_and_the_same_in_every_bit(run: Path) -> None:
    before, rest, values = chunks(run), others(run), bits(run)
    done = compact(run)
    after = chunks(run)
    assert (done.rows, done.compacted) == (ROWS, ROWS)
    grown = {key for key in before if len(after[key]) > len(before[key])}
    assert after.keys() == before.keys()
    assert not grown
    growing = {key for block in Manifest(run / "manifest").blocks for key in block.files}
    assert done.before == sum(len(before[key]) for key in growing)
    assert done.after == sum(len(after[key]) for key in growing) < done.before
    assert others(run) == rest
    assert bits(run) == values
    found = verify(run, deep=True)
    assert found.ok, found.problems
    assert recover(run).ok
    assert chunks(run) == after


def test_compacting_again_changes_nothing(run: Path) -> None:
    compact(run)
    files, manifest = chunks(run), (run / "manifest").read_bytes()
    assert compact(run).compacted == 0
    assert (chunks(run), (run / "manifest").read_bytes()) == (files, manifest)


def test_other_readers_read_it(run: Path) -> None:
    compact(run)
    expected = walk()
    path = run / "trajectory.zarr"
    array = zarr.open_group(path, mode="r")["embeddings"]
    assert isinstance(array, zarr.Array)
    assert encoded.same_bits(np.asarray(array[:]), expected)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / "embeddings")}}
    assert encoded.same_bits(np.asarray(tensorstore.open(spec).result().read().result()), expected)


def test_what_has_it_open_goes_on_reading(run: Path) -> None:
    expected = walk()
    array = zarr.open_group(run / "trajectory.zarr", mode="r")["embeddings"]
    assert isinstance(array, zarr.Array)
    held, half = open_run(run), open_run(run)
    assert encoded.same_bits(half["embeddings"][:20], expected[:20])
    seen = []

    def on_rows(done: int, rows: int) -> None:
        seen.append((done, rows))
        assert encoded.same_bits(open_run(run)["embeddings"][:], expected)
        assert encoded.same_bits(held["embeddings"][:], expected)
        assert encoded.same_bits(np.asarray(array[:]), expected)

    compact(run, on_rows=on_rows)
    assert seen == [(done, ROWS) for done in (0, 10, 20, 30, 40, 43)]
    for opened in (held, half):
        opened.refresh()
        assert encoded.same_bits(opened["embeddings"][:], expected)


@settings(max_examples=25, deadline=None)
@given(
    frame=frames.frames(),
    rows=st.integers(0, 11),
    block=st.integers(1, 5),
    store=st.sampled_from(["both", "zarr"]),
    kind=st.sampled_from(["float32", "native"]),
    lost=st.integers(0, 3),
)
def test_any_arrays_are_compacted(
    frame: FrameSpec, rows: int, block: int, store: Any, kind: Any, lost: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run")
        frames.write_run(path, frame, rows, block_steps=block, store=store, zarr_dtype=kind)
        values = bits(path)
        assert compact(path).compacted == rows
        assert bits(path) == values
        assert verify(path, deep=True).ok
        images = [image.tobytes() for _, image in open_run(path).images(range(rows))]
        kept = max(0, rows - lost)
        rewind_to(path, kept - 1)
        assert [image.tobytes() for _, image in open_run(path).images(range(kept))] == images[:kept]
        assert compact(path).rows == kept
        assert verify(path, deep=True).ok


@pytest.mark.parametrize("name", ["format-1", "format-1-interrupted"])
def test_a_run_of_format_1_is_compacted(name: str, tmp_path: Path) -> None:
    path = shutil.copytree(FIXTURES / name, tmp_path / name)
    values = bits(path)
    compact(path)
    assert bits(path) == values
    assert verify(path, deep=True).ok
    assert not (path / "journal").exists()


def test_an_interrupted_run_is_recovered_first(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", rows=14, sealed=10).path
    done = compact(path)
    assert (done.rows, done.compacted) == (14, 14)
    assert open_run(path).steps.tolist() == list(range(14))
    assert verify(path, deep=True).ok


def test_an_interrupted_run_that_has_lost_something_is_not_touched_beyond_recovering(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", rows=14, sealed=10, store="zarr").path
    flip(path / "trajectory.zarr" / "embeddings" / "c.0.0.0", 20)
    with pytest.raises(DamagedError, match=r"c\.0\.0\.0 \(block 0\)"):
        compact(path)
    assert summarize(path).compacted_rows == 0


@pytest.mark.parametrize("key", ["embeddings/c.2.0.0", "step/c.0", "loss/c.3"])
def test_a_flipped_bit_is_named_and_nothing_is_touched(run: Path, key: str) -> None:
    path = run / "trajectory.zarr" / key
    flip(path, path.stat().st_size // 2)
    files, manifest = chunks(run), (run / "manifest").read_bytes()
    block = int(key.split(".")[1])
    with pytest.raises(DamagedError, match=rf"{key} \(block {block}, steps {10 * block}\.\."):
        compact(run)
    assert (chunks(run), (run / "manifest").read_bytes()) == (files, manifest)


def test_a_file_that_is_lost_of_a_compacted_run_is_rebuilt_from_its_snapshots(
    recorded: dict[str, Path], tmp_path: Path
) -> None:
    path = shutil.copytree(recorded["both"], tmp_path / "run")
    compact(path)
    values = bits(path)
    (path / "trajectory.zarr" / "embeddings" / "c.1.0.0").unlink()
    flip(path / "trajectory.zarr" / "embeddings" / "c.3.0.0", 30)
    done = recover(path)
    assert done.ok, done.lost
    assert len(done.rebuilt) == 2
    assert bits(path) == values
    assert verify(path, deep=True).ok


# Without its last line a manifest is whole: that entry is synced before one of its files is written.
@pytest.mark.parametrize(
    ("line", "where"),
    [
        *((line, where) for line in (0, 3, 6) for where in ("text", "digits", "newline", "line")),
        *((10, where) for where in ("text", "digits", "newline")),
    ],
)
def test_a_damaged_line_of_the_manifest_of_a_compacted_run_is_rebuilt(
    recorded: dict[str, Path], tmp_path: Path, line: int, where: str
) -> None:
    path = shutil.copytree(recorded["zarr"], tmp_path / "run")
    values = bits(path)
    compact(path)
    lines = (path / "manifest").read_bytes().splitlines(keepends=True)
    assert len(lines) == 11
    damaged = bytearray(lines[line])
    damaged[{"text": 40, "digits": -5, "newline": -1, "line": 0}[where]] ^= 1
    lines[line] = b"" if where == "line" else bytes(damaged)
    (path / "manifest").write_bytes(b"".join(lines))
    done = recover(path)
    assert done.lost == []
    assert bits(path) == values
    found = verify(path, deep=True)
    assert found.ok, found.problems


def test_a_damaged_manifest_of_a_compaction_that_was_cut_short_is_rebuilt(run: Path) -> None:
    values, before = bits(run), chunks(run)
    compact(run)
    for key in ("embeddings/c.1.0.0", "step/c.2"):
        (run / "trajectory.zarr" / key).write_bytes(before[key])
    flip(run / "manifest", 40)
    assert recover(run).lost == []
    assert bits(run) == values
    assert verify(run, deep=True).ok


def test_a_run_that_is_written_is_refused(run: Path) -> None:
    files = chunks(run)
    lock = WriterLock(RunPaths(run).lock)
    with pytest.raises(RunInUseError, match="is being written"):
        compact(run)
    lock.release()
    assert chunks(run) == files


def test_what_is_no_run_and_what_has_nothing_to_compact(tmp_path: Path) -> None:
    with pytest.raises(NotARunError):
        compact(tmp_path / "nowhere")
    with pytest.raises(NotARunError):
        compact(tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = write_run(tmp_path / "run", rows=4, sealed=4, frame=frame_of(), store="safetensors").path
    for call in (compact, estimate_compaction):
        with pytest.raises(ArgumentError, match="nothing to compact"):
            call(path)


def test_a_disk_without_room_is_found_out_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, manifest = chunks(run), (run / "manifest").read_bytes()
    room = replace(disk_room(run), free_bytes=100)
    monkeypatch.setattr(compacting, "disk_room", lambda _: room)
    with pytest.raises(RecordingError, match=r"the disk has 100 left. Nothing was changed"):
        compact(run)
    assert (chunks(run), (run / "manifest").read_bytes()) == (files, manifest)


def test_an_estimate_changes_nothing_and_is_near(run: Path) -> None:
    files, manifest = chunks(run), (run / "manifest").read_bytes()
    found = estimate_compaction(run)
    assert (chunks(run), (run / "manifest").read_bytes()) == (files, manifest)
    assert (found.rows, found.sampled, found.files) == (ROWS, 4, 5)
    assert was_written_lightly(run)
    done = compact(run)
    assert found.before == done.before
    assert abs(found.after - done.after) < 0.1 * done.before
    assert estimate_compaction(run).files == 0
    assert not was_written_lightly(run)


@pytest.mark.parametrize("efforts", [["none"], ["none", "small", "fast", "none", "small"]])
def test_an_estimate_is_near_where_arrays_and_blocks_are_of_many_kinds(
    efforts: list[AskedEffort], tmp_path: Path
) -> None:
    """Numbers that shrink to nothing beside others that hardly do, some of them small to begin with."""
    rng = np.random.default_rng(0)
    shapes = {"ids": ("int64", (40, 8)), "wild": ("float32", (20, 8)), "tall": ("float16", (90, 5))}
    frame = FrameSpec.of(shapes, ("loss",))
    arrays = {
        "ids": np.arange(320).reshape(40, 8) + np.arange(100)[:, None, None],
        "wild": rng.normal(size=(100, 20, 8)).astype(np.float32),
        "tall": trajectories.brownian(100, 90, 5, scale=0.01).astype(np.float16),
    }
    path = frames.write_arrays(tmp_path / "run", frame, arrays, efforts * (20 // len(efforts)))
    found = estimate_compaction(path)
    done = compact(path)
    assert found.files == 60
    assert found.sampled < 40
    assert abs(found.after - done.after) < 0.05 * done.after, (found.after, done.after)


def test_an_estimate_says_what_it_does_not_count(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", rows=11, sealed=8, frame=frame_of((40, 8))).path
    assert estimate_compaction(path).unsealed == 3
    said = CliRunner().invoke(embevo, ["compact", "--dry-run", str(path)]).output
    assert "3 steps in the journal are not counted." in said


def test_an_interruption_leaves_a_run_that_the_next_one_finishes(run: Path) -> None:
    values = bits(run)

    def on_rows(done: int, _rows: int) -> None:
        if done == 20:
            (run / "trajectory.zarr" / "step" / "c.0.partial").write_bytes(b"cut short")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compact(run, on_rows=on_rows)
    assert bits(run) == values
    assert summarize(run).compacted_rows == 20
    found = verify(run, deep=True)
    assert found.ok, found.problems
    assert compact(run).compacted == ROWS - 20
    assert bits(run) == values
    assert verify(run, deep=True).ok


def test_the_command_says_what_it_did(run: Path) -> None:
    def command(*words: str) -> str:
        done = CliRunner().invoke(embevo, [*words, str(run)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    files = chunks(run)
    assert "from 4 of 5 files" in command("compact", "--dry-run")
    assert chunks(run) == files
    assert f"Compacted {ROWS} steps" in command("compact")
    assert f"all {ROWS} steps are as small as they get" in command("compact")
    assert "Nothing to do" in command("compact", "--dry-run")
    assert "blocks of 10 steps, compacted" in command("info")
