"""What recover brings back of a run whose manifest or journal is damaged, and what it says of the rest."""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embevo.errors import DamagedError, NotARunError
from embevo.run.format.layout import Store
from embevo.run.journal.ring import Frame, Journal
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.report import Recovery
from embevo.run.repair.verification import verify
from support import encoded, written
from support.written import write_run

ROWS, SEALED = 14, 10
COUNTS = np.arange(5, dtype=np.int64)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> dict[Store, Path]:
    """Runs of three blocks, the last of them short, in each kind of store."""
    directory = tmp_path_factory.mktemp("closed")
    stores: list[Store] = ["both", "zarr", "safetensors"]
    for store in stores:
        write_run(directory / store, rows=SEALED, sealed=SEALED, store=store, token_count=COUNTS)
        (directory / store / "journal").unlink()
    return {store: directory / store for store in stores}


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """Two whole blocks, a short one, and four rows in the journal only."""
    return write_run(tmp_path / "run", rows=ROWS, sealed=SEALED).path


def check(path: Path, steps: list[int]) -> None:
    """The run has these steps, bit-exact, and nothing about it is wrong."""
    run = open_run(path)
    assert run.steps.tolist() == steps
    assert encoded.same_bits(run["embeddings"][:], encoded.matrices(steps, (5, 3), "float32"))
    assert run["loss"][:].tolist() == [encoded.loss_of(step) for step in steps]
    found = verify(path, deep=True)
    assert found.ok, found.problems


def flip(path: Path, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 4
    path.write_bytes(data)


# The manifest


@pytest.mark.parametrize(
    ("store", "line", "where"),
    [("both", line, where) for line in range(4) for where in ("text", "digits", "newline", "line")]
    + [(store, line, "line") for line in range(4) for store in ("zarr", "safetensors")],
)
def test_a_damaged_line_of_the_manifest_is_rebuilt(
    closed: dict[Store, Path], tmp_path: Path, store: Store, line: int, where: str
) -> None:
    path = shutil.copytree(closed[store], tmp_path / "run")
    lines = (path / "manifest").read_bytes().splitlines(keepends=True)
    before = b"".join(lines)
    place = {"text": 40, "digits": -5, "newline": -1}
    if where == "line":
        del lines[line]
    else:
        damaged = bytearray(lines[line])
        damaged[place[where]] ^= 1
        lines[line] = bytes(damaged)
    (path / "manifest").write_bytes(b"".join(lines))
    done = recover(path)
    assert done.lost == []
    check(path, list(range(SEALED)))
    # As it was, or, where the last line had been torn, without that line.
    assert (path / "manifest").read_bytes() == before
    assert done.rebuilt == ["manifest"]
    assert recover(path) == Recovery(path)
    if store == "both":
        assert done.unproven == []
    elif line > 0 and where != "digits":
        assert "steps" in done.unproven[0]


def test_a_manifest_that_is_gone_is_rebuilt_and_what_nothing_proves_is_said(
    closed: dict[Store, Path], tmp_path: Path
) -> None:
    path = shutil.copytree(closed["both"], tmp_path / "run")
    (path / "manifest").unlink()
    done = recover(path)
    assert done.rebuilt == ["manifest"]
    assert done.unproven == ["the attributes of the group: nothing says any more what they were"]
    check(path, list(range(SEALED)))


@pytest.mark.parametrize("key", ["embeddings/c.1.0.0", "step/c.1", "loss/c.1"])
def test_a_block_that_does_not_prove_itself_is_not_entered(
    closed: dict[Store, Path], tmp_path: Path, key: str
) -> None:
    """Its line of the manifest and one of its chunks are damaged: what it held is not guessed."""
    path = shutil.copytree(closed["both"], tmp_path / "run")
    lines = (path / "manifest").read_bytes().splitlines(keepends=True)
    flip(path / "manifest", len(lines[0]) + len(lines[1]) + 40)
    chunk = path / "trajectory.zarr" / key
    flip(chunk, len(chunk.read_bytes()) // 2)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(DamagedError, match="cannot be rebuilt"):
        recover(path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_swapped_chunks_are_not_entered(closed: dict[Store, Path], tmp_path: Path) -> None:
    path = shutil.copytree(closed["both"], tmp_path / "run")
    chunks = path / "trajectory.zarr" / "embeddings"
    (chunks / "c.0.0.0").rename(chunks / "other")
    (chunks / "c.1.0.0").rename(chunks / "c.0.0.0")
    (chunks / "other").rename(chunks / "c.1.0.0")
    (path / "manifest").unlink()
    with pytest.raises(DamagedError, match=r"block 0 are not those of its snapshots"):
        recover(path)


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "trajectory.zarr").mkdir()
    (tmp_path / "trajectory.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(DamagedError, match="cannot be rebuilt"):
        recover(tmp_path)
    with pytest.raises(NotARunError):
        recover(tmp_path / "trajectory.zarr")


# The journal


def test_a_damaged_row_of_the_journal_is_lost_and_the_others_are_not(interrupted: Path) -> None:
    journal = Journal(interrupted / "journal", writable=True)
    journal.image(11)[90] ^= 1
    journal.close()
    with pytest.raises(DamagedError, match="row 11"):
        list(open_run(interrupted).images(range(ROWS)))
    done = recover(interrupted)
    assert done.sealed == [10, 12, 13]
    (lost,) = done.lost
    assert "row 11 (step 11)" in lost
    check(interrupted, [*range(11), 12, 13])


def test_a_damaged_row_comes_back_from_its_snapshot(interrupted: Path) -> None:
    journal = Journal(interrupted / "journal", writable=True)
    (interrupted / "snapshots" / "step_0000011.safetensors").write_bytes(journal.image(11).tobytes())
    journal.image(11)[90] ^= 1
    journal.close()
    assert recover(interrupted).lost == []
    check(interrupted, list(range(ROWS)))


def test_a_missing_row_of_the_journal_is_named(interrupted: Path) -> None:
    journal = Journal(interrupted / "journal", writable=True)
    journal.begin(10)
    journal.begin(12)
    journal.close()
    with pytest.raises(DamagedError, match="row 10 is missing"):
        open_run(interrupted)
    done = recover(interrupted)
    assert [lost.partition(" (")[0] for lost in done.lost] == [
        "journal: row 10 is not there",
        "journal: row 12 is not there",
    ]
    check(interrupted, [*range(10), 11, 13])


def test_moving_rows_up_can_be_cut_short_anywhere(interrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(interrupted / "journal", writable=True)
    journal.begin(10)
    journal.close()
    original = Journal.put
    for stop in range(3):
        calls = iter(range(stop))

        def put(journal: Journal, frame: Frame, *, seal: bool, calls: Iterator[int] = calls) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            original(journal, frame, seal=seal)

        copy = shutil.copytree(interrupted, interrupted.with_name(f"copy{stop}"))
        monkeypatch.setattr(Journal, "put", put)
        with pytest.raises(KeyboardInterrupt):
            recover(copy)
        monkeypatch.undo()
        recover(copy)
        check(copy, [*range(10), 11, 12, 13])


@pytest.mark.parametrize("byte", [3, 9, 18, 40])
def test_a_damaged_header_of_the_journal_is_mended(interrupted: Path, byte: int) -> None:
    flip(interrupted / "journal", byte)
    done = recover(interrupted)
    assert done.sealed == [10, 11, 12, 13]
    (lost,) = done.lost
    assert "header was damaged" in lost
    check(interrupted, list(range(ROWS)))


def test_a_journal_that_was_cut_short_still_gives_what_it_has(interrupted: Path) -> None:
    journal = Journal(interrupted / "journal")
    end = journal._start(12)
    journal.close()
    with (interrupted / "journal").open("r+b") as file:
        file.truncate(end)
    done = recover(interrupted)
    # Rows 8 and 9 lie in the first two slots of the ring, 10 and 11 behind them.
    assert done.sealed == [10, 11]
    assert "bytes" in done.lost[0]
    check(interrupted, list(range(12)))


@pytest.mark.parametrize("size", [0, 5000])
def test_a_journal_without_its_bytes_loses_only_the_tail(interrupted: Path, size: int) -> None:
    (interrupted / "journal").write_bytes(bytes(size))
    done = recover(interrupted)
    assert done.sealed == []
    assert "empty" in done.lost[0]
    check(interrupted, list(range(SEALED)))


def test_a_foreign_journal_is_left_alone(interrupted: Path, tmp_path: Path) -> None:
    other = written.write_run(tmp_path / "other", rows=12, sealed=8, seed=5).path
    shutil.copy(other / "journal", interrupted / "journal")
    for use in (open_run, recover):
        with pytest.raises(DamagedError, match="belongs to another run"):
            use(interrupted)
    assert (interrupted / "journal").exists()


def test_a_damaged_scalar_comes_back_from_the_ring(interrupted: Path) -> None:
    """The ring of two blocks still holds rows that are sealed."""
    (interrupted / "trajectory.zarr" / "loss" / "c.2").write_bytes(b"")
    assert recover(interrupted).rebuilt == ["trajectory.zarr/loss/c.2"]
    check(interrupted, list(range(ROWS)))


def test_rows_of_a_short_block_that_are_nowhere_any_more_are_named(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", rows=ROWS, sealed=SEALED, store="zarr").path
    journal = Journal(path / "journal", writable=True)
    journal.begin(9)
    journal.close()
    (path / "trajectory.zarr" / "embeddings" / "c.2.0.0").unlink()
    done = recover(path)
    assert any("steps 9" in lost for lost in done.lost)
    check(path, [*range(9), *range(10, 14)])


def test_litter_that_somebody_writes_to_meanwhile_is_swept(closed: dict[Store, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(closed["zarr"], tmp_path / "run"))
    litter = run / "analysis.zarr.1.partial"
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            with contextlib.suppress(OSError):
                (litter / "series" / str(number % 50)).mkdir(parents=True, exist_ok=True)
                (litter / "series" / str(number % 50) / "c").write_bytes(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            recover(run)
    finally:
        done.set()
        writer.join()
    recover(run)
    assert not list(run.glob("*.partial"))
