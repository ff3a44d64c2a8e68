"""From a line of the manifest to its entry: the lines are untrusted.

After these checks an entry names no file outside of the run, and asks for no more memory than it has bytes.
"""

import json
import re
from typing import Any, Final

from embevo.run.disk.checksum import Digest
from embevo.run.format.layout import GROUP_METADATA
from embevo.run.format.steps import count
from embevo.run.manifest.entry import Annotated, Block, Compacted, Created, Entry, Files, Rewound

_METADATA: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]{0,127}/)?zarr\.json")
_CHUNK: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}/c\.[0-9]{1,19}(\.[0-9]{1,19}){0,3}")
_DIGITS: Final = re.compile(r"[0-9a-f]{16}")
_IMAGES: Final = re.compile(r"([0-9a-f]{16})*")
_KINDS: Final = ("created", "block", "rewound", "annotated", "compacted")
_MOST: Final = 2**63


def parse_entry(text: bytes, *, first: bool) -> Entry:
    """The entry of a line, if it has the fields that its kind has.

    Raises:
        ValueError: it has not, or is no JSON; the message says what is wrong with it.
        RecursionError: it is nested deeper than any entry is.
    """
    entry = json.loads(text)
    if not isinstance(entry, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - a damaged file, not a wrong call
    kind = entry.get("kind")
    if (kind == "created") != first or kind not in _KINDS:
        raise ValueError(f"its kind is {kind!r}")
    if kind == "rewound":
        if not _is_size(entry.get("rows")):
            raise ValueError(f"its rows are {entry.get('rows')!r}")
        return Rewound(entry["rows"])
    if kind == "annotated":
        if "file" not in entry:
            raise ValueError("it has no digest of a file")
        return Annotated(None if entry["file"] is None else _digest("tokens.json", entry["file"]))
    files = _files(entry.get("files"), _CHUNK)
    if kind == "compacted":
        if not _are_sizes([entry.get("block"), entry.get("stop")], 2):
            raise ValueError(f"its block is {entry.get('block')!r}, up to row {entry.get('stop')!r}")
        return Compacted(entry["block"], entry["stop"], files)
    metadata = _files(entry.get("metadata"), _METADATA)
    if GROUP_METADATA not in metadata:
        raise ValueError("it has no digest of the group's metadata")
    if kind == "created":
        if not isinstance(entry.get("group"), dict):
            raise ValueError("it has no metadata of a group")
        return Created(files, metadata, entry["group"])
    return _block(entry, files, metadata)


def _block(entry: dict[str, Any], files: Files, metadata: Files) -> Block:
    rows: Any = entry.get("rows")
    steps: Any = entry.get("steps")
    images: Any = entry.get("images")
    if not _is_size(entry.get("block")):
        raise ValueError(f"its block is {entry.get('block')!r}")
    if not _are_sizes(rows, 2) or rows[0] >= rows[1]:
        raise ValueError(f"its rows are {rows!r}")
    length = rows[1] - rows[0]
    if not isinstance(images, str) or len(images) != 16 * length or not _IMAGES.fullmatch(images):
        raise ValueError(f"it does not have {length} checksums of images")
    if not isinstance(steps, list) or not all(_are_sizes(part, 3) for part in steps):
        raise ValueError("its steps are not ranges")
    last = -1
    for first, end, stride in steps:
        if not last < first <= end or stride < 1 or (end - first) % stride:
            raise ValueError(f"its steps have the range {[first, end, stride]}")
        last = end
    if count(steps) != length:
        raise ValueError(f"it has {count(steps)} steps and {length} rows")
    compacted = entry.get("compacted", False)
    if not isinstance(compacted, bool):
        raise ValueError(f"whether it was compacted is {compacted!r}")  # noqa: TRY004
    return Block(entry["block"], rows[0], rows[1], steps, files, metadata, images, compacted)


def _files(files: object, name: re.Pattern[str]) -> Files:
    if not isinstance(files, dict):
        raise ValueError("it has no digests of files")  # noqa: TRY004
    for key in files:
        if not name.fullmatch(key):
            raise ValueError(f"it names the file {key!r}")
    return {key: _digest(key, written) for key, written in files.items()}


def _digest(key: str, written: Any) -> Digest:
    whole = isinstance(written, list) and len(written) == 2 and _is_size(written[0])
    if not whole or not isinstance(written[1], str) or not _DIGITS.fullmatch(written[1]):
        raise ValueError(f"the digest of {key} is {written!r}")
    return Digest(*written)


def _is_size(value: object) -> bool:
    # bool is an int to Python, not to JSON.
    return type(value) is int and 0 <= value < _MOST


def _are_sizes(values: object, number: int) -> bool:
    return isinstance(values, list) and len(values) == number and all(map(_is_size, values))
