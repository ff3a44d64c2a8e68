"""The chain of the manifest: nothing in it can be changed, removed or moved without being noticed."""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo.errors import DamagedError
from embevo.run.manifest.manifest import Entry, Manifest


def block(number: int, first: int, stop: int) -> Entry:
    return {
        "kind": "block",
        "block": number,
        "rows": [first, stop],
        "steps": [[first, stop - 1, 1]],
        "files": {f"step/c.{number}": [8, f"{stop:016x}"]},
        "metadata": {"zarr.json": [100, f"{stop:016x}"]},
        "images": "0" * 16 * (stop - first),
    }


CREATED: Entry = {"kind": "created", "files": {}, "metadata": {"zarr.json": [90, "0" * 16]}, "group": {}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    manifest = Manifest.create(tmp_path / "manifest", CREATED, sync=False)
    for number in range(4):
        manifest.append(block(number, 4 * number, 4 * number + 4), sync=number == 2)
    return manifest.path


@pytest.fixture
def entries(path: Path) -> list[Entry]:
    return Manifest(path).entries


def test_what_was_appended_is_read(path: Path) -> None:
    manifest = Manifest(path)
    assert manifest.entries == [CREATED, *(block(i, 4 * i, 4 * i + 4) for i in range(4))]
    assert not manifest.torn


def test_one_is_not_started_over_another(path: Path) -> None:
    with pytest.raises(FileExistsError):
        Manifest.create(path, CREATED, sync=False)


def test_refresh_reads_what_was_appended_since(path: Path) -> None:
    reader, writer = Manifest(path), Manifest(path)
    for number in range(4, 7):
        writer.append(block(number, 4 * number, 4 * number + 4), sync=False)
        reader.refresh()
        assert reader.entries == writer.entries


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
        manifest.append(entries[-1], sync=False)
        assert path.read_bytes() == content
        assert not manifest.torn


def test_zeros_after_a_power_cut_count_as_torn(path: Path, entries: list[Entry]) -> None:
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * 500)
    manifest = Manifest(path)
    assert manifest.entries == entries
    assert manifest.torn
    manifest.trim()
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
    manifest = Manifest(path)
    with monkeypatch.context() as patch:
        failing_write(patch, after=after)
        with pytest.raises(OSError, match="No space left") as caught:
            manifest.append(block(4, 16, 20), sync=False)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == content
    assert manifest.entries == entries
    manifest.append(block(4, 16, 20), sync=False)
    assert Manifest(path).entries == [*entries, block(4, 16, 20)]


def test_short_writes_are_continued(
    path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing_write(patch, after=1 << 20)
        Manifest(path).append(block(4, 16, 20), sync=False)
    assert Manifest(path).entries == [*entries, block(4, 16, 20)]


# What the entries mean


def test_the_entries_of_some_rows(tmp_path: Path) -> None:
    manifest = Manifest.create(tmp_path / "manifest", CREATED, sync=False)
    assert manifest.sealed(0) == []
    short, longer, full, intended = block(0, 0, 2), block(0, 0, 3), block(0, 0, 4), block(1, 4, 8)
    for entry in (short, longer, full, intended):
        manifest.append(entry, sync=False)
    assert manifest.sealed(2) == [short]
    assert manifest.sealed(3) == [longer]
    assert manifest.sealed(4) == [full]
    assert manifest.sealed(8) == [full, intended]
    assert manifest.of_block(0, 3) == [longer, full]
    assert manifest.of_block(7, 3) == []
    for rows in (1, 5, 9, 1000):
        with pytest.raises(DamagedError, match="accounts for"):
            manifest.sealed(rows)
    assert manifest.knows_metadata([100, f"{3:016x}"])
    assert not manifest.knows_metadata([100, f"{5:016x}"])
    assert not manifest.knows_metadata([101, f"{3:016x}"])


def test_a_missing_block_is_not_passed_over(tmp_path: Path) -> None:
    manifest = Manifest.create(tmp_path / "manifest", CREATED, sync=False)
    for number in (0, 2):
        manifest.append(block(number, 4 * number, 4 * number + 4), sync=False)
    with pytest.raises(DamagedError):
        manifest.sealed(12)


def test_a_rewind_undoes_what_came_after(tmp_path: Path) -> None:
    manifest = Manifest.create(tmp_path / "manifest", CREATED, sync=False)
    for number in range(3):
        manifest.append(block(number, 4 * number, 4 * number + 4), sync=False)
    manifest.append({"kind": "rewound", "rows": 4}, sync=False)
    assert manifest.sealed(4) == [block(0, 0, 4)]
    assert not manifest.knows_metadata([100, f"{8:016x}"])
    with pytest.raises(DamagedError):
        manifest.sealed(8)
    manifest.append(block(1, 4, 6), sync=False)
    assert manifest.sealed(6) == [block(0, 0, 4), block(1, 4, 6)]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), JSON, max_size=9))
@settings(max_examples=50)
def test_any_json_round_trip(tmp_path_factory: pytest.TempPathFactory, group: dict[str, Any]) -> None:
    entries = [{**CREATED, "group": group}, {**block(0, 0, 4), "also": group}]
    path = tmp_path_factory.mktemp("manifest") / "manifest"
    path.touch()
    manifest = Manifest(path)
    for entry in entries:
        manifest.append(entry, sync=False)
    assert Manifest(path).entries == json.loads(json.dumps(entries)) == entries
