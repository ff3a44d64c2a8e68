"""Runs too long to be read whole for a picture: what is read of them, what is said, and what is kept."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embevo.errors import DamagedError
from embevo.run.reading.reader import open_run
from embevo.run.repair.rewinding import rewind_to
from embevo.run.repair.verification import verify
from embevo.viewer import fitting
from embevo.viewer.kept_pieces import KeptPieces
from embevo.viewer.opened import OpenedRun
from embevo.viewer.projecting import Projection
from embevo.viewer.site import Site
from support import trajectories
from viewer.test_site import components, places, told

ROWS, TOKENS, DIM, BLOCK = 60, 30, 8, 5
VIEW = "data/0/view/final-0-1-2"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of which two blocks are as much as may be read for its axes."""
    monkeypatch.setattr(fitting, "_READ_ELEMENTS", 2 * BLOCK * TOKENS * DIM)
    # Pieces of two rows and a half, which are of one row then.
    monkeypatch.setattr("embevo.viewer.clouds._EXACT_BYTES", 0)
    monkeypatch.setattr("embevo.viewer.clouds._PIECE_BYTES", 15 * TOKENS)
    values = trajectories.brownian(ROWS, TOKENS, DIM).astype(np.float32)
    values[:, 7] = values[:, 3]
    return trajectories.record(tmp_path / "run", values, block_steps=BLOCK)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """First rows, and those behind the last ones, of all that is read."""
    found: list[tuple[int, int]] = []
    values = OpenedRun.values

    def watched(self: OpenedRun, rows: slice) -> object:
        found.append((rows.start, rows.stop))
        return values(self, rows)

    monkeypatch.setattr(OpenedRun, "values", watched)
    return found


def kept(run: Path) -> list[Path]:
    return sorted(path for path in (run / "viewer.cache").rglob("*") if path.is_file())


def test_a_first_picture_reads_two_blocks_and_each_once(large: Path, read: list[tuple[int, int]]) -> None:
    site = Site([large])
    said = told(site, f"{VIEW}/view.json")
    rows, size = ROWS, told(site, "data/0/run.json")["piece_rows"]
    assert (said["range_rows"], said["rows"], size) == (2 * BLOCK, rows, 1)
    site.get(f"{VIEW}/piece-{rows - 1}.bin")
    assert read == [(rows - BLOCK, rows), (0, BLOCK)]
    read.clear()
    site.get(f"data/0/holes/piece-{rows - 1}.bin")
    site.get(f"data/0/holes/piece-{rows - 2}.bin")
    assert read == [(rows - BLOCK, rows)]


def test_of_vast_blocks_some_tokens_are_read_for_the_range_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[tuple[int, int]]
) -> None:
    values = trajectories.brownian(ROWS, 400, 2).astype(np.float32)
    values[:BLOCK] *= 100
    run = trajectories.record(tmp_path / "run", values, block_steps=BLOCK)
    monkeypatch.setattr(fitting, "_READ_ELEMENTS", 2 * BLOCK * 400 * 2)
    monkeypatch.setattr("embevo.viewer.opened._WHOLE_ELEMENTS", 1)
    said = told(Site([run]), "data/0/view/raw-0-1-1/view.json")
    assert read == [(ROWS - 1, ROWS)]
    assert (said["range_rows"], said["range_tokens"]) == (2 * BLOCK, 48)
    # Those of the first block, of tokens that are spread over all of them.
    some = values[:BLOCK, [first * 25 + token for first in range(16) for token in range(3)]]
    np.testing.assert_allclose(said["low"][:2], some.min(axis=(0, 1)))
    np.testing.assert_allclose(said["high"][:2], some.max(axis=(0, 1)))


def test_of_a_vast_block_one_row_is_read_where_the_page_jumps_and_all_where_it_plays(
    large: Path, monkeypatch: pytest.MonkeyPatch, read: list[tuple[int, int]]
) -> None:
    whole = [Site([large]).get(f"{VIEW}/piece-{row}.bin").data for row in range(ROWS)]
    shutil.rmtree(large / "viewer.cache")
    monkeypatch.setattr("embevo.viewer.opened._WHOLE_ELEMENTS", 1)
    site = Site([large])
    site.get(f"{VIEW}/view.json")
    assert read[-1:] == [(ROWS - 1, ROWS)]
    for row, expected in (
        # The first picture, one elsewhere, what comes after that, what is played from there, and back.
        (ROWS - 1, []),
        (22, [(22, 23)]),
        (23, [(20, 25)]),
        (24, []),
        (25, [(25, 30)]),
        (21, [(20, 25)]),
        (19, [(15, 20)]),
        (18, []),
        (3, [(3, 4)]),
    ):
        read.clear()
        assert site.get(f"{VIEW}/piece-{row}.bin").data == whole[row]
        site.get(f"data/0/holes/piece-{row}.bin")
        assert read == expected, row


@pytest.mark.parametrize("away", [0.0, 1e6])
def test_components_of_a_large_step_are_those_of_all_its_finite_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: float
) -> None:
    monkeypatch.setattr("embevo.viewer.fitting.DECOMPOSED", 0)
    monkeypatch.setattr("embevo.viewer.moments._PIECE_ELEMENTS", 7 * DIM)
    values = trajectories.brownian(3, 200, DIM) * np.arange(1, DIM + 1) + away
    values[-1, [0, 60, 199], [0, 1, 7]] = np.nan, np.inf, -np.inf
    mean, basis = components(np.delete(values[-1], [0, 60, 199], axis=0))
    site = Site([trajectories.record(tmp_path / "run", values)])
    expected = (values[:2] - mean) @ basis[:3].T
    np.testing.assert_allclose(places(site, "final-0-1-2")[:2], expected, atol=1e-5 * np.ptp(expected))
    assert told(site, f"{VIEW}/view.json")["fitted"].endswith("without 3 of 200 vectors that are not finite")


def test_a_first_picture_that_was_prepared_is_read_once(large: Path, read: list[tuple[int, int]]) -> None:
    site = Site([large])
    site.prepare()
    assert read == [(ROWS - BLOCK, ROWS), (0, BLOCK)]
    read.clear()
    site.get(f"{VIEW}/view.json")
    site.get(f"{VIEW}/piece-{ROWS - 1}.bin")
    assert not read
    file = next((large / "trajectory.zarr" / "embeddings").glob(f"c.{ROWS // BLOCK - 1}*"))
    file.write_bytes(b"?" + file.read_bytes()[1:])
    shutil.rmtree(large / "viewer.cache")
    broken = Site([large])
    # Whoever asks is told.
    broken.prepare()
    with pytest.raises(DamagedError):
        broken.get(f"{VIEW}/view.json")


def test_places_are_those_of_a_run_that_is_read_whole(large: Path) -> None:
    values = np.asarray(open_run(large)["embeddings"][:], np.float64)
    for kind, of in (
        ("final", values[-1]),
        ("all", np.concatenate([values[:BLOCK], values[-BLOCK:]]).reshape(-1, DIM)),
    ):
        mean, basis = components(of)
        expected = (values - mean) @ basis[:3].T
        found = places(Site([large]), f"{kind}-0-1-2")
        assert np.abs(found - expected).max() <= np.ptp(expected) / 60_000
    assert "10 of 60 steps" in told(Site([large]), "data/0/view/all-0-1-2/view.json")["fitted"]


def test_what_was_made_is_kept_and_sent_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [f"{VIEW}/view.json", f"{VIEW}/piece-30.bin", "data/0/holes/piece-31.bin"]
    first = [Site([large]).get(address).data for address in addresses]
    assert len(kept(large)) == 3

    def never(*_: object) -> None:
        raise AssertionError("it is kept")

    monkeypatch.setattr(Projection, "of", never)
    monkeypatch.setattr(OpenedRun, "values", never)
    assert [Site([large]).get(address).data for address in addresses] == first
    assert not verify(large, deep=True).problems


def test_what_is_damaged_is_made_anew(large: Path) -> None:
    address = f"{VIEW}/piece-30.bin"
    first = Site([large]).get(address).data
    for path in kept(large):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    assert Site([large]).get(address).data == first


def test_what_was_made_of_other_rows_is_not_sent(large: Path) -> None:
    address = f"{VIEW}/piece-3.bin"
    site = Site([large])
    first = site.get(address).data
    assert kept(large)
    rewind_to(large, 40)
    # As the page does, which looks whether there was a rewind.
    site.get("data/0/run.json")
    assert site.get(address).data == Site([large]).get(address).data != first
    # What was made of another state of a run goes when the next one is kept.
    (other,) = (large / "viewer.cache").iterdir()
    again = KeptPieces(other.with_name("0"), "x")
    again.put("a", b"b")
    assert [path.parent.name for path in kept(large)] == ["0"]
    assert again.get("a") == b"b"


def test_a_run_that_is_not_complete_and_one_that_cannot_be_written_to_are_shown(
    large: Path, tmp_path: Path
) -> None:
    values = trajectories.brownian(ROWS, TOKENS, DIM).astype(np.float32)
    growing = trajectories.record(tmp_path / "growing", values, block_steps=BLOCK, close=False)
    Site([growing]).get(f"{VIEW}/piece-3.bin")
    assert not (growing / "viewer.cache").exists()
    (large / "viewer.cache").write_text("in the way")
    assert len(Site([large]).get(f"{VIEW}/piece-3.bin").data) > 6 * TOKENS


def test_little_is_kept_nowhere(recorded: list[Path]) -> None:
    site = Site(recorded[:1])
    site.get(f"{VIEW}/piece-0.bin")
    site.close()
    assert not (recorded[0] / "viewer.cache").exists()
