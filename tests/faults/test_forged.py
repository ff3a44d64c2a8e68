"""Manifests, metadata, journals and safetensors files made by hand, with every checksum right."""

import contextlib
import copy
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from embevo.errors import EmbevoError
from embevo.run.disk.checksum import checksum
from embevo.run.exchange.importing import import_snapshots, inspect_folder
from embevo.run.format.layout import Store
from embevo.run.journal.ring import Journal
from embevo.run.reading.reader import Run
from support import encoded
from support.faults.hostile import FILES, bounded_memory, copied, originals, read_everything, use
from support.faults.oracle import tree
from support.faults.rig import FULL, count
from support.saved import write_folder

EXAMPLES = 100 if FULL else 12


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    with bounded_memory():
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[Store, Path]:
    return originals(tmp_path_factory.mktemp("original"))


def forge(path: Path, entries: list[Any], group: Any) -> None:
    """Write a manifest and a group's metadata that agree with each other."""
    data = json.dumps(group).encode()
    (path / "trajectory.zarr" / "zarr.json").write_bytes(data)
    digest = [len(data), f"{checksum(data):016x}"]
    entries = copy.deepcopy(entries)
    if isinstance(entries[-1], dict) and isinstance(entries[-1].get("metadata"), dict):
        entries[-1]["metadata"]["zarr.json"] = digest
    last, lines = 0, []
    for entry in entries:
        text = json.dumps(entry, separators=(",", ":")).encode()
        last = checksum(text, last)
        lines.append(text + b" %016x\n" % last)
    (path / "manifest").write_bytes(b"".join(lines))


def parts(path: Path) -> tuple[list[Any], Any]:
    entries = [json.loads(line[:-17]) for line in (path / "manifest").read_bytes().splitlines()]
    return entries, json.loads((path / "trajectory.zarr" / "zarr.json").read_bytes())


LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from([2**31, 2**63, 2**64, 10**18, 10**30, -(2**63), 1e308, 0.5]),
    st.sampled_from(
        [
            "",
            "x",
            "../../../outside",
            "/etc/passwd",
            "step",
            "embeddings",
            "float32",
            "bfloat16",
            "NaN",
            "\0",
            "é",
            "0" * 64,
        ]
    ),
    st.sampled_from([[], {}, [[]], [[0, 10**15, 1]], [[0, 5, 0]], [[5, 0, -1]], [0], [0, 10**15], {"a": {}}]),
)


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one node replaced, removed, repeated or renamed."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 9)):
        changed = copy.copy(value)
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        action = draw(st.sampled_from(["into", "into", "into", "into", "remove", "replace", "repeat"]))
        if action == "into":
            changed[key] = draw(mutated(value[key]))
        elif action == "remove":
            del changed[key]
        elif action == "replace":
            changed[key] = draw(LEAVES)
        elif isinstance(changed, list):
            changed.insert(key, value[key])
        else:
            changed[draw(st.sampled_from(["../x", "x", "embeddings", "step", ""]))] = value[key]
        return changed
    return draw(LEAVES)


FORGING = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # The same examples every time: what is found here is found on every machine or on none.
    derandomize=True,
    database=None,
    # A failing example is small enough as it is, and each takes a tenth of a second.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", ["both", "zarr", "safetensors"])
@pytest.mark.parametrize("what", ["manifest", "group", "both"])
def test_forged_metadata(original: dict[Store, Path], tmp_path: Path, store: Store, what: str) -> None:
    entries, group = parts(original[store])

    @FORGING
    @given(st.data())
    def forged(data: st.DataObject) -> None:
        path = copied(original[store], tmp_path / "forged")
        new_entries = data.draw(mutated(entries)) if what != "group" else entries
        new_group = data.draw(mutated(group)) if what != "manifest" else group
        if not isinstance(new_entries, list) or not new_entries:
            new_entries = [new_entries]
        forge(path, new_entries, new_group)
        outside = tree(tmp_path / "forged" / "inside")
        use(path)
        after = tree(tmp_path / "forged" / "inside")
        count("forged runs used")
        strangers = {name for name in after if name not in outside and not name.startswith("run/")}
        assert not strangers, f"written outside of the run: {strangers}"

    forged()


@pytest.mark.timeout(1800)
def test_forged_journals(original: dict[Store, Path], tmp_path: Path) -> None:
    content = (original["both"] / "journal").read_bytes()
    length = struct.unpack("<Q", content[8:16])[0]
    header = json.loads(content[24 : 24 + length])

    @FORGING
    @given(mutated(header))
    def forged(changed: Any) -> None:
        path = copied(original["both"], tmp_path / "forged")
        text = json.dumps(changed).encode()
        prefix = b"EMBEVO-J" + struct.pack("<QQ", len(text), checksum(text)) + text
        (path / "journal").write_bytes(prefix + content[len(prefix) :])
        count("forged runs used")
        use(path)

    forged()


@pytest.mark.timeout(1800)
def test_forged_slots(original: dict[Store, Path], tmp_path: Path) -> None:
    """Words of the slots replaced, with seals that are right: an attacker's rows, or none."""
    run = Run(original["both"])
    journal = run._rows._holder
    assert isinstance(journal, Journal)
    starts = [journal._start(row) for row in range(8)]
    content = (original["both"] / "journal").read_bytes()

    @FORGING
    @given(
        st.sampled_from(starts),
        st.integers(0, 5),
        st.one_of(st.integers(0, 30), st.integers(0, 2**64 - 1)),
        st.one_of(st.none(), st.integers(0, 40)),
    )
    def forged(start: int, word: int, value: int, resealed_as: int | None) -> None:
        path = copied(original["both"], tmp_path / "forged")
        data = bytearray(content)
        data[start + 8 * word : start + 8 * word + 8] = value.to_bytes(8, "little")
        if resealed_as is not None:
            seal = checksum(bytes(data[start + 16 : start + 48]), resealed_as)
            data[start + 8 : start + 16] = seal.to_bytes(8, "little")
        (path / "journal").write_bytes(data)
        count("forged runs used")
        use(path)

    forged()


@pytest.mark.timeout(1800)
def test_truncated_and_spliced_files(original: dict[Store, Path], tmp_path: Path) -> None:
    """Any file cut anywhere, or with a piece of it put elsewhere: an error, or the right data."""
    expected = read_everything(original["both"])

    @FORGING
    @given(st.data())
    def spliced(data: st.DataObject) -> None:
        path = copied(original["both"], tmp_path / "spliced")
        file = path / data.draw(st.sampled_from(FILES))
        content = file.read_bytes()
        a, b, c = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 3)))
        action = data.draw(st.sampled_from(["cut", "remove", "repeat", "move", "zero"]))
        changed = {
            "cut": content[:a],
            "remove": content[:a] + content[b:],
            "repeat": content[:b] + content[a:],
            "move": content[:a] + content[b:c] + content[a:b] + content[c:],
            "zero": content[:a] + bytes(b - a) + content[b:],
        }[action]
        file.write_bytes(changed)
        count("files cut and spliced")
        found = use(path)
        # Without the end of the manifest or the journal, fewer rows; never other ones.
        if found is not None:
            rows = len(found["steps"])
            assert found["steps"] == expected["steps"][:rows]
            assert found["images"] == expected["images"][:rows]
            values = encoded.matrices(found["steps"], (5, 3), "float32")
            assert found["arrays"]["embeddings"] == values.tobytes()
            assert rows >= 10

    spliced()


@pytest.mark.timeout(1800)
def test_forged_safetensors_headers(tmp_path: Path) -> None:
    """In a folder that is imported: refused, or taken in without anything written elsewhere."""
    folder = write_folder(tmp_path / "folder", [0, 1, 2])
    file = folder / "step_0000001.safetensors"
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    before = tree(tmp_path)

    @FORGING
    @given(
        mutated(header),
        st.one_of(st.none(), st.integers(0, 2**64 - 1)),
        st.sampled_from(["embeddings", "embeddings", "../x", "a/b", ""]),
    )
    def forged(changed: Any, claimed: int | None, key: str) -> None:
        text = json.dumps(changed).encode()
        size = len(text) if claimed is None else claimed
        file.write_bytes(size.to_bytes(8, "little") + text + content[8 + length :])
        with contextlib.suppress(EmbevoError):
            import_snapshots(inspect_folder(folder, {"embeddings": key}), tmp_path / "inside", overwrite=True)
        after = tree(tmp_path)
        assert not [name for name in after if name not in before and not name.startswith("inside/")]
        count("forged safetensors headers")

    forged()
