"""The chain of the manifest: nothing in it can be changed, removed or moved without being noticed."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo.errors import DamagedError
from embevo.run.disk.checksum import Digest
from embevo.run.manifest.appender import ManifestAppender, packed
from embevo.run.manifest.entry import Block, Created, Entry, Rewound
from embevo.run.manifest.manifest import Manifest

FIXTURES = Path(__file__).parent.parent / "fixtures"


def block(number: int, first: int, stop: int) -> Block:
    return Block.of(
        number,
        first,
        list(range(first, stop)),
        files={f"step/c.{number}": Digest(8, f"{stop:016x}")},
        metadata={"zarr.json": Digest(100, f"{stop:016x}")},
        images=range(first, stop),
    )


CREATED = Created({}, {"zarr.json": Digest(90, "0" * 16)}, {})


def appender(path: Path) -> ManifestAppender:
    return ManifestAppender(Manifest(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    manifest = ManifestAppender.create(tmp_path / "manifest", CREATED, sync=False)
    for number in range(4):
        manifest.append(block(number, 4 * number, 4 * number + 4), sync=number == 2)
    return manifest.path


@pytest.fixture
def entries(path: Path) -> list[Entry]:
    return list(Manifest(path).entries)


def test_what_was_appended_is_read(path: Path) -> None:
    manifest = Manifest(path)
    assert manifest.entries == [CREATED, *(block(i, 4 * i, 4 * i + 4) for i in range(4))]
    assert not manifest.torn


def test_one_is_not_started_over_another(path: Path) -> None:
    with pytest.raises(FileExistsError):
        ManifestAppender.create(path, CREATED, sync=False)


def test_refresh_reads_what_was_appended_since(path: Path) -> None:
    reader, writer = Manifest(path), appender(path)
    for number in range(4, 7):
        writer.append(block(number, 4 * number, 4 * number + 4), sync=False)
        reader.refresh()
        assert reader.entries[-1] == writer.last == block(number, 4 * number, 4 * number + 4)


def test_every_flipped_bit_is_found(path: Path, entries: list[Entry]) -> None:
    """Where the end of the last line is hit, that line counts as torn."""
    content = path.read_bytes()
    for byte, bit in itertools.product(range(len(content)), range(8)):
        data = bytearray(content)
        data[byte] ^= 1 << bit
        path.write_bytes(data)
        if byte == len(content) - 1:
            manifest = Manifest(path)
            assert manifest.torn
            assert manifest.entries == entries[:-1]
        else:
            with pytest.raises(DamagedError, match="is not the line that was written"):
                Manifest(path)


@pytest.mark.parametrize("removed", range(4))
def test_a_removed_line_is_found(path: Path, removed: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[removed]
    path.write_bytes(b"".join(lines))
    with pytest.raises(DamagedError):
        Manifest(path)


@pytest.mark.parametrize("pair", list(itertools.combinations(range(5), 2)))
def test_swapped_lines_are_found(path: Path, pair: tuple[int, int]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[pair[0]], lines[pair[1]] = lines[pair[1]], lines[pair[0]]
    path.write_bytes(b"".join(lines))
    with pytest.raises(DamagedError):
        Manifest(path)


def test_a_repeated_line_is_found(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[1], *lines[2:]]))
    with pytest.raises(DamagedError):
        Manifest(path)


def test_a_torn_last_line_is_as_if_it_had_not_been_written(path: Path, entries: list[Entry]) -> None:
    content = path.read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    for length in range(last, len(content)):
        path.write_bytes(content[:length])
        manifest = Manifest(path)
        assert manifest.entries == entries[:-1]
        assert manifest.torn == (length > last)
        # It is cut off by what is written next.
        ManifestAppender(manifest).append(entries[-1], sync=False)
        assert path.read_bytes() == content
        manifest.refresh()
        assert not manifest.torn
        assert manifest.entries == entries


def test_zeros_after_a_power_cut_count_as_torn(path: Path, entries: list[Entry]) -> None:
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * 500)
    manifest = Manifest(path)
    assert manifest.entries == entries
    assert manifest.torn
    ManifestAppender(manifest).trim()
    assert path.read_bytes() == content


def test_a_reader_sees_a_line_grow(path: Path, entries: list[Entry]) -> None:
    content = path.read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    path.write_bytes(content[:last])
    reader = Manifest(path)
    for length in range(last + 1, len(content) + 1, 3):
        path.write_bytes(content[:length])
        reader.refresh()
    path.write_bytes(content)
    reader.refresh()
    assert reader.entries == entries


def failing_write(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Let pwrite take ``after`` bytes in all, few at a time, and then fail."""
    original = os.pwrite
    left = [after]

    def short(descriptor: int, data: bytes, offset: int) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        taken = original(descriptor, data[: min(left[0], 7)], offset)
        left[0] -= taken
        return taken

    monkeypatch.setattr(os, "pwrite", short)


@pytest.mark.parametrize("after", [0, 1, 10, 40])
def test_a_failed_append_leaves_the_manifest_as_it_was(
    path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    content = path.read_bytes()
    writer = appender(path)
    with monkeypatch.context() as patch:
        failing_write(patch, after=after)
        with pytest.raises(OSError, match="No space left") as caught:
            writer.append(block(4, 16, 20), sync=False)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == content
    assert writer.last == entries[-1]
    writer.append(block(4, 16, 20), sync=False)
    assert Manifest(path).entries == [*entries, block(4, 16, 20)]


def test_short_writes_are_continued(
    path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing_write(patch, after=1 << 20)
        appender(path).append(block(4, 16, 20), sync=False)
    assert Manifest(path).entries == [*entries, block(4, 16, 20)]


# What the entries mean


def manifest_of(path: Path, *entries: Entry) -> Manifest:
    path.write_bytes(packed([CREATED, *entries]))
    return Manifest(path)


def test_the_entries_of_some_rows(tmp_path: Path) -> None:
    short, longer, full, intended = block(0, 0, 2), block(0, 0, 3), block(0, 0, 4), block(1, 4, 8)
    manifest = manifest_of(tmp_path / "manifest", short, longer, full, intended)
    assert manifest.sealed(0) == []
    assert manifest.sealed(2) == [short]
    assert manifest.sealed(3) == [longer]
    assert manifest.sealed(4) == [full]
    assert manifest.sealed(8) == [full, intended]
    assert manifest.of_block(0, 3) == [longer, full]
    assert manifest.of_block(7, 3) == []
    for rows in (1, 5, 9, 1000):
        with pytest.raises(DamagedError, match="accounts for"):
            manifest.sealed(rows)
    assert manifest.knows_metadata(Digest(100, f"{3:016x}"))
    assert not manifest.knows_metadata(Digest(100, f"{5:016x}"))
    assert not manifest.knows_metadata(Digest(101, f"{3:016x}"))


def test_a_missing_block_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(DamagedError):
        manifest_of(tmp_path / "manifest", block(0, 0, 4), block(2, 8, 12)).sealed(12)


def test_a_rewind_undoes_what_came_after(tmp_path: Path) -> None:
    blocks = [block(number, 4 * number, 4 * number + 4) for number in range(3)]
    manifest = manifest_of(tmp_path / "manifest", *blocks, Rewound(4))
    assert manifest.sealed(4) == manifest.blocks == [block(0, 0, 4)]
    assert not manifest.knows_metadata(Digest(100, f"{8:016x}"))
    with pytest.raises(DamagedError):
        manifest.sealed(8)
    ManifestAppender(manifest).append(block(1, 4, 6), sync=False)
    manifest.refresh()
    assert manifest.sealed(6) == manifest.live[1:] == [block(0, 0, 4), block(1, 4, 6)]


def test_a_reader_is_not_changed_by_who_appends(path: Path, entries: list[Entry]) -> None:
    reader = Manifest(path)
    writer = ManifestAppender(reader)
    for number in range(4, 9):
        writer.append(block(number, 4 * number, 4 * number + 4), sync=False)
        assert reader.entries == entries
        assert reader.sealed(16) == entries[1:]
    assert writer.last == block(8, 32, 36)


def test_an_empty_manifest_has_no_first_entry(tmp_path: Path) -> None:
    (tmp_path / "manifest").touch()
    with pytest.raises(DamagedError, match="is empty"):
        _ = Manifest(tmp_path / "manifest").created


def test_the_checksum_of_an_image_is_that_of_its_row() -> None:
    assert [block(2, 8, 12).image_checksum(row) for row in range(8, 12)] == [8, 9, 10, 11]


@pytest.mark.parametrize("fixture", sorted(path.name for path in FIXTURES.iterdir()))
def test_entries_are_written_as_they_were_read(fixture: str) -> None:
    manifest = Manifest(FIXTURES / fixture / "manifest")
    assert packed(manifest.entries) == (FIXTURES / fixture / "manifest").read_bytes()
    assert len(manifest.entries) > 2


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SIZES = st.integers(0, 2**63 - 1)
DIGESTS = st.builds(Digest, SIZES, st.from_regex(r"[0-9a-f]{16}", fullmatch=True))
KEYS = st.from_regex(r"[a-z][a-z_.]{0,9}/c\.[0-9]{1,9}(\.[0-9]\.0)?", fullmatch=True)
FILES = st.dictionaries(KEYS, DIGESTS, max_size=3)
METADATA = st.fixed_dictionaries({"zarr.json": DIGESTS}, optional={"loss/zarr.json": DIGESTS})
STEPS = st.sets(st.integers(0, 2**62), min_size=1, max_size=9).map(sorted)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    steps = draw(STEPS)
    images = draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(steps), max_size=len(steps)))
    return Block.of(
        draw(SIZES),
        draw(st.integers(0, 2**62)),
        steps,
        files=draw(FILES),
        metadata=draw(METADATA),
        images=images,
    )


@given(
    st.builds(Created, FILES, METADATA, st.dictionaries(st.text(), JSON, max_size=9)),
    st.lists(blocks() | st.builds(Rewound, SIZES), max_size=5),
)
@settings(max_examples=50, deadline=None)
def test_any_entries_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, created: Created, others: list[Entry]
) -> None:
    path = tmp_path_factory.mktemp("manifest") / "manifest"
    writer = ManifestAppender.create(path, created, sync=False)
    for entry in others:
        writer.append(entry, sync=False)
    assert path.read_bytes() == packed([created, *others])
    assert Manifest(path).entries == [created, *others]
    for entry in others:
        if isinstance(entry, Block):
            assert list(entry.rows) == list(range(entry.first, entry.first + len(entry.steps)))
