"""The image of a frame is the file that safetensors itself would have written."""

import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embevo.errors import FrameMismatchError
from embevo.run.format.frame import FrameSpec
from support import encoded, written

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: name not in {"step", "token", "dim", "token_count"}
)
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def frames(draw: st.DrawFn, dtypes: tuple[str, ...] = tuple(encoded.DTYPES)) -> FrameSpec:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    shape = draw(SHAPES)
    count = draw(st.integers(1, len(names)))
    matrices = {name: (draw(st.sampled_from(dtypes)), shape) for name in names[:count]}
    return FrameSpec.of(matrices, tuple(names[count:]))


def encode(frame: FrameSpec, step: int) -> dict[str, np.ndarray[Any, Any]]:
    return {
        name: encoded.matrix(step, frame.shape, dtype, seed=index)
        for index, (name, dtype) in enumerate(frame.matrices)
    }


@given(frames(dtypes=("float64", "float32", "float16")), st.integers(0, 1000))
def test_the_image_is_what_safetensors_saves(frame: FrameSpec, step: int) -> None:
    matrices = encode(frame, step)
    assert frame.image(matrices).tobytes() == safetensors.numpy.save(matrices)


@given(frames(), st.integers(0, 1000))
def test_safetensors_reads_back_every_bit(frame: FrameSpec, step: int) -> None:
    matrices = encode(frame, step)
    image = frame.image(matrices).tobytes()
    length = int.from_bytes(image[:8], "little")
    assert length % 8 == 0
    header = json.loads(image[8 : 8 + length])
    assert header.keys() == matrices.keys()
    for name, values in matrices.items():
        start, end = header[name]["data_offsets"]
        assert header[name]["shape"] == list(frame.shape)
        assert image[8 + length :][start:end] == values.tobytes()
    assert len(image) == frame.image_bytes == 8 + length + sum(v.nbytes for v in matrices.values())


@given(frames())
def test_matrices_are_views_of_the_image(frame: FrameSpec) -> None:
    matrices = encode(frame, 3)
    image = frame.image(matrices)
    for name, values in matrices.items():
        view = frame.matrix(image, name)
        assert encoded.same_bits(view, values)
        assert np.shares_memory(view, image)


@given(frames())
def test_json_round_trip(frame: FrameSpec) -> None:
    assert FrameSpec.from_json(json.loads(json.dumps(frame.to_json()))) == frame


@given(st.data())
def test_the_image_takes_matrices_of_any_memory_order(data: st.DataObject) -> None:
    frame = written.frame_of((4, 6))
    values = data.draw(hnp.arrays(np.float32, (6, 4), elements=st.floats(width=32)))
    assert (
        frame.image({"embeddings": values.T}).tobytes()
        == frame.image({"embeddings": np.ascontiguousarray(values.T)}).tobytes()
    )


@pytest.mark.parametrize(
    ("matrices", "scalars", "message"),
    [
        ({}, (), "nothing to record"),
        ({"a/b": ("float32", (2, 2))}, (), "'a/b' cannot name an array"),
        ({"../up": ("float32", (2, 2))}, (), "cannot name an array"),
        ({"": ("float32", (2, 2))}, (), "cannot name an array"),
        ({"step": ("float32", (2, 2))}, (), "'step' cannot name"),
        ({"token": ("float32", (2, 2))}, (), "'token' cannot name"),
        ({"w\n": ("float32", (2, 2))}, (), "cannot name an array"),
        ({"w": ("float32", (2, 2))}, ("w",), "a name of its own"),
        ({"w": ("float32", (2, 2))}, ("loss", "loss"), "a name of its own"),
        ({"w": ("float32", ())}, (), "arrays of 1 to 3 axes"),
        ({"w": ("float32", (2, 2, 2, 2))}, (), "arrays of 1 to 3 axes"),
        ({"w": ("float32", (0, 2))}, (), "none of them empty"),
        ({"w": ("float32", (-2, -2))}, (), "none of them empty"),
        ({"a..b": ("float32", (2, 2))}, (), "cannot name an array"),
        ({"a.": ("float32", (2, 2))}, (), "cannot name an array"),
        ({"w.partial": ("float32", (2, 2))}, (), "cannot name an array"),
        ({"w": ("float32", (2, 2)), "W": ("float32", (2,))}, (), "but for upper and lower case"),
        ({"w": ("complex64", (2, 2))}, (), "w is complex64"),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    matrices: dict[str, tuple[str, tuple[int, ...]]], scalars: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FrameMismatchError, match=message):
        FrameSpec.of(matrices, scalars)
