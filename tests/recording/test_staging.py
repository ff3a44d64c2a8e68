"""What is copied is the matrix as it is now, however its tensor lies in memory by then."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from embevo.errors import FrameMismatchError
from embevo.recording.framing import frame_of
from embevo.recording.sources import sources_of
from embevo.recording.staging import HostStaging
from embevo.run.journal.ring import Journal
from support import encoded, tensors

SHAPE = (6, 6)


@pytest.fixture(params=[6, 600], ids=["copied as bytes", "copied by torch"])
def shape(request: pytest.FixtureRequest) -> tuple[int, int]:
    return (request.param, request.param)


class Staged:
    """A parameter, a ring, and the staging between them."""

    def __init__(self, path: Path, values: torch.Tensor) -> None:
        self.parameter = torch.nn.Parameter(values)
        matrices = {"w": self.parameter}
        self.journal = Journal.create(path, frame_of(matrices, ()), 3)
        self.staging = HostStaging(sources_of(matrices), self.journal)
        self.row = 0

    def copy(self) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        self.row += 1
        self.staging.copy(self.row)
        return np.array(self.journal.frame.matrix(self.journal.image(self.row), "w"))

    def check(self) -> None:
        expected = self.parameter.detach().contiguous().numpy()
        assert encoded.same_bits(self.copy(), expected)


@pytest.fixture
def staged(tmp_path: Path, shape: tuple[int, int]) -> Iterator[Staged]:
    found = Staged(tmp_path / "journal", tensors.matrix(1, shape, "float32"))
    found.check()
    yield found
    found.staging.close()
    found.journal.close()


def test_the_two_ways_of_copying_are_both_tested(staged: Staged, shape: tuple[int, int]) -> None:
    assert staged.staging._small == (shape == (6, 6))


def test_values_that_change_in_place(staged: Staged, shape: tuple[int, int]) -> None:
    for step in range(2, 9):
        with torch.no_grad():
            staged.parameter.copy_(tensors.matrix(step, shape, "float32"))
        staged.check()


def test_a_parameter_whose_data_was_replaced(staged: Staged, shape: tuple[int, int]) -> None:
    for step in range(2, 9):
        staged.parameter.data = tensors.matrix(step, shape, "float32")
        staged.check()


def test_a_parameter_whose_data_was_transposed_where_it_lies(staged: Staged) -> None:
    pointer = staged.parameter.data_ptr()
    staged.parameter.data = staged.parameter.data.t()
    assert staged.parameter.data_ptr() == pointer
    staged.check()
    staged.parameter.data = staged.parameter.data.t()
    staged.check()


def test_parameters_that_are_not_contiguous(staged: Staged, shape: tuple[int, int]) -> None:
    wide = tensors.matrix(5, (2 * shape[0], 2 * shape[1]), "float32")
    staged.parameter.data = wide[::2, ::2]
    staged.check()
    staged.parameter.data = wide.t()[: shape[0], : shape[1]]
    staged.check()
    staged.parameter.data = wide[:1, : shape[1]].expand(shape)
    staged.check()


@pytest.mark.parametrize(
    "change", ["fewer tokens", "fewer dims", "flat", "other dtype", "same size of dtype"]
)
def test_another_shape_or_dtype_is_refused_even_where_the_old_one_lay(
    tmp_path: Path, shape: tuple[int, int], change: str
) -> None:
    staged = Staged(tmp_path / "journal", tensors.matrix(1, shape, "bfloat16"))
    staged.copy()
    data = staged.parameter.data
    pointer = data.data_ptr()
    staged.parameter.data = {
        "fewer tokens": data[:-1],
        "fewer dims": data[:, :-1],
        "flat": data.reshape(-1),
        "other dtype": data.reshape(-1).view(torch.float32)[: shape[0]].unsqueeze(0),
        "same size of dtype": data.view(torch.float16),
    }[change]
    assert staged.parameter.data_ptr() == pointer
    for _ in range(2):
        with pytest.raises(FrameMismatchError, match=r"w is now .*; this run records bfloat16"):
            staged.copy()
    staged.parameter.data = data
    staged.copy()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.complex128])
def test_dtypes_that_are_not_recorded_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(
        FrameMismatchError, match=r"w is .*; embevo records .*float64, float32, .*bfloat16, float16"
    ):
        frame_of({"w": torch.zeros(2, 2, dtype=dtype)}, ())
