"""The ring: what is in it is what was put there, or it is said not to be."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo.errors import CreationError, DamagedError, UnprovenError
from embevo.run.disk.checksum import checksum
from embevo.run.format.frame import FrameSpec
from embevo.run.journal import ring as journal_module
from embevo.run.journal.ring import Frame, Journal
from support import encoded, written

SLOTS = 4


@pytest.fixture
def frame() -> FrameSpec:
    return written.frame_of((3, 2), embeddings="float32", other="bfloat16")


@pytest.fixture
def journal(tmp_path: Path, frame: FrameSpec) -> Iterator[Journal]:
    ring = Journal.create(tmp_path / "journal", frame, SLOTS)
    yield ring
    ring.close()


def check(found: Frame | None, row: int, step: int, frame: FrameSpec, seed: int = 0) -> None:
    """The frame is exactly the encoded one."""
    assert found is not None
    assert (found.row, found.step) == (row, step)
    assert found.scalars[0] == encoded.loss_of(step, seed)
    assert found.image[: len(frame.header)].tobytes() == frame.header
    for name, dtype in frame.matrices:
        expected = encoded.matrix(step, frame.shape, dtype, seed)
        assert encoded.same_bits(frame.matrix(found.image, name), expected)
    assert found.image_checksum == checksum(found.image.data)


class Stores:
    """Words of a mapping, noting where something is stored."""

    def __init__(self, words: memoryview, log: list[int]) -> None:
        self.words = words
        self.log = log

    def __getitem__(self, index: int) -> Any:
        return self.words[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self.log.append(index)
        self.words[index] = value

    def release(self) -> None:
        self.words.release()


def test_the_commit_word_is_cleared_first_and_stored_last(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[int] = []
    for name in ("_words", "_steps", "_doubles"):
        monkeypatch.setattr(journal, name, Stores(getattr(journal, name), log))
    for row in (1, 5):
        start = journal._start(row) >> 3
        log.clear()
        journal.begin(row)
        assert log == [start, start + 1], "the commit word goes before the seal"
        assert not journal.committed(row)
        log.clear()
        journal.commit(row, 10 + row, (1.0, 2.0), seal=True)
        assert log[-2:] == [start + 1, start], "seal, then commit"
        assert set(log[:-2]) == {start + 2, start + 3, start + 4, start + 5}
        assert journal.committed(row)


@pytest.mark.parametrize("sealed", [True, False])
def test_what_is_committed_can_be_read(
    journal: Journal, frame: FrameSpec, sealed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "seals_at_capture", sealed)
    for row in range(SLOTS):
        assert journal.read(row) is None
        written.put(journal, row, 100 + row, seal=sealed)
        check(journal.read(row), row, 100 + row, frame)
        assert journal.tail(0) == row + 1
        assert journal.step(row) == 100 + row
    for row in range(SLOTS):
        journal.seal(row)
        check(journal.read(row), row, 100 + row, frame)


@given(st.integers(1, 6), st.integers(1, 40))
@settings(max_examples=25)
def test_the_ring_holds_the_latest_rows(
    tmp_path_factory: pytest.TempPathFactory, slots: int, rows: int
) -> None:
    frame = written.frame_of((2, 2))
    journal = Journal.create(tmp_path_factory.mktemp("ring") / "journal", frame, slots)
    for row in range(rows):
        written.put(journal, row, 3 * row)
    oldest = max(0, rows - slots)
    assert journal.tail(oldest) == rows
    for row in range(rows + slots):
        if oldest <= row < rows:
            check(journal.read(row), row, 3 * row, frame)
        else:
            assert journal.read(row) is None
    journal.close()


def test_a_begun_row_is_not_there(journal: Journal) -> None:
    for row in range(SLOTS):
        written.put(journal, row, row)
    journal.begin(SLOTS)
    assert journal.read(SLOTS) is None
    assert journal.read(0) is None
    assert journal.tail(1) == SLOTS


def test_two_mappings_see_the_same(journal: Journal, frame: FrameSpec) -> None:
    reader = Journal(journal.path)
    assert reader.same_boot
    for row in range(3 * SLOTS):
        written.put(journal, row, 7 * row, seed=row)
        check(reader.read(row), row, 7 * row, frame, seed=row)
        assert reader.tail(row) == row + 1
    with pytest.raises(TypeError, match="read-only"):
        reader.begin(0)
    reader.close()


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("moment", ["begun", "half", "overwritten"])
def test_a_slot_overwritten_while_it_is_copied_is_not_returned(
    journal: Journal, frame: FrameSpec, monkeypatch: pytest.MonkeyPatch, sealed: bool, moment: str
) -> None:
    reader = Journal(journal.path)
    monkeypatch.setattr(reader, "seals_at_capture", sealed)
    written.put(journal, 1, 1, seal=sealed)
    image = reader.image

    def overwriting(row: int) -> Any:
        journal.begin(1 + SLOTS)
        if moment != "begun":
            journal.image(1 + SLOTS)[: frame.image_bytes // 2] = 0xAB
        if moment == "overwritten":
            written.put(journal, 1 + SLOTS, 99, seal=sealed)
        return image(row)

    monkeypatch.setattr(reader, "image", overwriting)
    assert reader.read(1) is None
    monkeypatch.undo()
    reader.close()


def test_a_row_that_is_sealed_while_it_is_copied_is_returned(
    journal: Journal, frame: FrameSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Journal(journal.path)
    monkeypatch.setattr(reader, "seals_at_capture", False)
    written.put(journal, 1, 1, seal=False)
    image = reader.image

    def sealing(row: int) -> Any:
        journal.seal(1)
        return image(row)

    monkeypatch.setattr(reader, "image", sealing)
    check(reader.read(1), 1, 1, frame)
    monkeypatch.undo()
    reader.close()


def test_rows_captured_while_the_tail_is_looked_for_are_no_gap(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = journal.claims
    asked: list[int] = []

    def capturing(row: int) -> bool:
        found = claims(row)
        if not asked:
            written.put(journal, 0, 0)
            written.put(journal, 1, 1)
        asked.append(row)
        return found

    monkeypatch.setattr(journal, "claims", capturing)
    assert journal.tail(0) == 2


def test_a_row_missing_before_others_is_damage(journal: Journal) -> None:
    for row in range(3):
        written.put(journal, row, row)
    journal.begin(1)
    with pytest.raises(DamagedError, match="row 1 is missing, although row 2 was captured"):
        journal.tail(0)


def test_a_row_whose_seal_was_stored_but_not_its_commit_word_is_there(
    journal: Journal, frame: FrameSpec
) -> None:
    written.put(journal, 2, 8)
    journal._words[journal._start(2) >> 3] = 0
    check(journal.read(2), 2, 8, frame)
    assert journal.tail(2) == 3


def test_every_flipped_bit_of_a_slot_is_found_or_harmless(journal: Journal, frame: FrameSpec) -> None:
    """Row 5 is in the ring; the slot is that of rows 1 and 9 as well, which must not appear."""
    row, step = 5, 50
    written.put(journal, row, step)
    start = journal._start(row)
    memory = journal._memory
    found = set()
    for byte, bit in itertools.product(range(journal._slot_bytes), range(8)):
        memory[start + byte] ^= 1 << bit
        try:
            try:
                check(journal.read(row), row, step, frame)
                assert journal.tail(row) == row + 1
                assert journal.step(row) == step
                outcome = "right"
            except DamagedError:
                outcome = "damaged"
            # A damaged word must not make a row of another round out of it.
            for other in (row - SLOTS, row + SLOTS):
                try:
                    assert journal.read(other) is None
                except DamagedError:
                    assert byte < 8
        finally:
            memory[start + byte] ^= 1 << bit
        used = (
            byte < journal._head_end
            or journal._image_start <= byte < journal._image_start + frame.image_bytes
        )
        assert outcome == "right" if byte < 8 or not used else outcome == "damaged"
        found.add(outcome)
    assert found == {"right", "damaged"}


def test_an_unsealed_row_counts_only_where_the_pages_are_those_of_this_boot(
    journal: Journal, frame: FrameSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "seals_at_capture", False)
    written.put(journal, 0, 0, seal=False)
    check(journal.read(0), 0, 0, frame)
    monkeypatch.setattr(journal, "same_boot", False)
    for look in (journal.read, journal.step):
        with pytest.raises(UnprovenError, match="nothing proves row 0 here"):
            look(0)
    check(journal.read(0, unproven=True), 0, 0, frame)


def test_the_boot_is_told_apart(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("another", ""):
        monkeypatch.setattr(journal_module, "boot_id", lambda other=other: other)
        reader = Journal(journal.path)
        assert not reader.same_boot
        reader.close()


def test_the_slots_hold_the_header_of_the_safetensors_file_from_the_start(
    journal: Journal, frame: FrameSpec
) -> None:
    for row in range(SLOTS):
        assert journal.image(row)[: len(frame.header)].tobytes() == frame.header


def test_consecutive_rows_can_be_viewed_as_one_array(journal: Journal, frame: FrameSpec) -> None:
    for row in range(SLOTS):
        written.put(journal, row, row)
    for name, dtype in frame.matrices:
        expected = encoded.matrices([1, 2, 3], frame.shape, dtype)
        assert encoded.same_bits(np.array(journal.stacked(1, 3, name)), expected)


def test_the_blocks_of_the_file_are_reserved(journal: Journal) -> None:
    status = journal.path.stat()
    assert status.st_size == journal.size
    assert status.st_blocks * 512 >= status.st_size


def test_no_room_is_an_error_at_the_start_that_leaves_nothing(
    tmp_path: Path, frame: FrameSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CreationError, match=r"cannot reserve [\d,]+ bytes for the ring .*No space left"):
        Journal.create(tmp_path / "journal", frame, 3)
    assert not list(tmp_path.iterdir())
