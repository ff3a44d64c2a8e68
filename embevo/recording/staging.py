"""How a matrix leaves the device: every byte is copied out before the optimizer can change it.

A matrix in CPU memory is copied straight into its slot of the ring.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from embevo.errors import FrameMismatchError
from embevo.recording.sources import Take, check_recordable
from embevo.run.format.frame import FrameSpec
from embevo.run.journal.ring import Journal

_DTYPE_NAMES: Final = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.int16: "int16",
    torch.int8: "int8",
    torch.uint64: "uint64",
    torch.uint32: "uint32",
    torch.uint16: "uint16",
    torch.uint8: "uint8",
    torch.bool: "bool",
}
_TORCH_DTYPES: Final = {name: dtype for dtype, name in _DTYPE_NAMES.items()}
# Below this a plain memory copy that keeps the interpreter lock is over sooner than the lock could change
# hands (a thread that gives it up may wait 5 ms to get it back). Above it, torch copies with all cores and
# without the lock.
_SMALL_BYTES: Final = 1 << 20


def frame_of(matrices: Mapping[str, Tensor], scalars: tuple[str, ...]) -> FrameSpec:
    """The frame that these tensors, each ``(token, dim)``, and scalars make.

    Raises:
        FrameMismatchError: a tensor has a shape or dtype that is not recorded.
    """
    for name, tensor in matrices.items():
        check_recordable(name, tensor)
        if tensor.dtype not in _DTYPE_NAMES:
            conversion = "abs" if tensor.is_complex() else "float"
            raise FrameMismatchError(
                f"{name} is {tensor.dtype}; embevo records {', '.join(_DTYPE_NAMES.values())}. Give a "
                f"callable that converts it at every capture, such as lambda: tensor.{conversion}()"
            )
    described = {
        name: (_DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in matrices.items()
    }
    return FrameSpec.of(described, scalars)


def check_matches(name: str, tensor: Tensor, frame: FrameSpec) -> None:
    """Raise FrameMismatchError unless the tensor is what the run records under this name."""
    found = (_DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
    spec = frame.by_name[name]
    expected = (spec.dtype, spec.shape)
    if found != expected:
        raise FrameMismatchError(
            f"{name} is now {found[0]} {found[1]}; this run records {expected[0]} {expected[1]}. "
            "A matrix keeps its shape and dtype for a whole run: record the new one in a new run."
        )


class HostStaging:
    """Copies matrices in CPU memory (or, blocking, from a device without a staging of its own)."""

    def __init__(self, sources: Mapping[str, Take], journal: Journal) -> None:
        """Copy what is taken from these sources into the slots of the journal."""
        self._journal = journal
        self._takes = [(sources[name], name) for name, _ in journal.frame.matrices]
        self._small = journal.frame.image_bytes <= _SMALL_BYTES
        self._slots: list[list[memoryview]] = []
        if self._small:
            names = [name for _, name in self._takes]
            self._slots = [[journal.payload(slot, name) for name in names] for slot in range(journal.slots)]
        # Where and how each tensor lay when it was last looked at closely; ``param.data = ...`` changes it.
        self._seen: list[tuple[object, ...]] = [()] * len(self._takes)
        self._sources: list[memoryview | None] = [None] * len(self._takes)

    def copy(self, row: int) -> None:
        """Copy every matrix into the slot of a row."""
        for index, (take, name) in enumerate(self._takes):
            tensor = take()
            # With the strides of a contiguous matrix, the number of elements says its shape, and costs less.
            now = (tensor.data_ptr(), tensor.stride(), tensor.numel(), tensor.dtype)
            if now != self._seen[index]:
                self._attach(index, tensor, name)
                self._seen[index] = now
            source = self._sources[index]
            if source is not None:
                self._slots[row % self._journal.slots][index][:] = source
            else:
                slot_tensor(self._journal, row, name).copy_(tensor.detach())

    def _attach(self, index: int, tensor: Tensor, name: str) -> None:
        check_recordable(name, tensor)
        check_matches(name, tensor, self._journal.frame)
        plain = self._small and tensor.device.type == "cpu" and tensor.is_contiguous()
        self._sources[index] = tensor.detach().view(torch.uint8).numpy().data.cast("B") if plain else None

    def close(self) -> None:
        """Let go of the slots."""
        for slot in self._slots:
            for view in slot:
                view.release()


def slot_tensor(journal: Journal, row: int, name: str) -> Tensor:
    """One matrix in the slot of a row, as a tensor ``(token, dim)`` over the mapping."""
    spec = journal.frame.by_name[name]
    return torch.frombuffer(journal.payload(row, name), dtype=_TORCH_DTYPES[spec.dtype]).view(spec.shape)
