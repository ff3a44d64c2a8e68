"""What is read from the header of a safetensors file, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from embevo.errors import NotSafetensorsError
from embevo.run.format.safetensors_header import read_header
from support.saved import saved

MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)


def file_of(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_tensors_are_found_where_the_library_put_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    arrays = {"wide": MATRIX.astype(np.float64), "narrow": MATRIX, "counts": np.arange(4), "none": MATRIX[:0]}
    path.write_bytes(saved(arrays, {"made": "by hand"}))
    entries = read_header(path)
    assert entries.keys() == arrays.keys()
    data = path.read_bytes()
    for name, array in arrays.items():
        entry = entries[name]
        assert entry.shape == array.shape
        assert data[entry.start : entry.start + entry.nbytes] == array.tobytes()


@pytest.mark.parametrize(
    ("header", "data", "complaint"),
    [
        (b"[1, 2]", b"", "a list, not an object"),
        (b"{", b"", "damaged safetensors header"),
        (b"\xff\xfe", b"", "damaged safetensors header"),
        (b"[" * 100_000, b"", "damaged safetensors header"),
        ({"a": 3}, b"", "needs exactly dtype, shape and data_offsets"),
        ({"a": {"dtype": "F32", "shape": [1]}}, b"", "needs exactly dtype, shape and data_offsets"),
        ({"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}, bytes(4), "unknown dtype 'F31'"),
        ({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, bytes(4), "unknown dtype"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4), "shape"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4), "shape"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, bytes(4), "data_offsets"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4), "takes 8 bytes"),
        ({"a": {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4]}}, bytes(4), "takes 4,000"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8), "without holes"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(8), "without holes"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(3), "without holes"),
        (
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
            },
            bytes(6),
            "overlaps",
        ),
        (
            b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}',
            b"",
            "a name occurs twice",
        ),
    ],
)
def test_damaged_headers_are_refused_by_name(
    tmp_path: Path, header: object, data: bytes, complaint: str
) -> None:
    path = file_of(tmp_path / "step_0000007.safetensors", header, data)
    with pytest.raises(NotSafetensorsError, match="step_0000007") as caught:
        read_header(path)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("length", [0, 1, 2**40, 2**64 - 1])
def test_a_length_is_never_believed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(length.to_bytes(8, "little"))
    with pytest.raises(NotSafetensorsError, match=r"8 bytes|damaged"):
        read_header(path)


def test_a_header_shorter_than_its_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes((50).to_bytes(8, "little") + b"{}")
    with pytest.raises(NotSafetensorsError, match="it has 10 bytes, of which its header claims 50"):
        read_header(path)


@pytest.mark.parametrize("size", [0, 7])
def test_a_file_too_short_for_a_length_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(size))
    with pytest.raises(NotSafetensorsError, match=f"it has {size} bytes"):
        read_header(path)


@given(data=st.data())
def test_what_is_accepted_the_library_accepts_too(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any byte of a file changed, or the file cut: we are never more lenient than safetensors itself."""
    whole = bytearray(saved({"embeddings": MATRIX, "other": MATRIX[:1]}))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.sampled_from([len(whole), at]))])
    path = tmp_path_factory.mktemp("header") / "a"
    path.write_bytes(cut)
    try:
        entries = read_header(path)
    except NotSafetensorsError:
        return
    try:
        theirs = dict(deserialize(cut))
    except SafetensorError:
        pytest.fail(f"safetensors refuses {cut[:120]!r}")
    assert {name: tensor["shape"] for name, tensor in theirs.items()} == {
        name: list(entry.shape) for name, entry in entries.items()
    }
