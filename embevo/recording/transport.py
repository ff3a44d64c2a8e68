"""How arrays cross from a device to the host while training goes on."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Buffers for this many bytes on the device and as many on the host, but at least two, so that one step can be
# taken while another crosses, and at most 64.
_BYTES: Final = 64 << 20
_LEAST: Final = 2
_MOST: Final = 64


class Transport(Protocol):
    """A fixed number of buffers, each of which carries one step across.

    A step is put into its buffer array by array, when each of them is to be taken, and then started.

    Attributes:
        buffers: how many.
    """

    buffers: int

    def put(self, buffer: int, index: int, tensor: Tensor | None) -> None:
        """Keep an array as it is now; None for NaN. Nothing is on its way in the buffer."""

    def start(self, buffer: int, scalars: Mapping[int, Tensor]) -> None:
        """Begin to carry the arrays, and scalars of one element by their place; waits for nothing."""

    def has_landed(self, buffer: int) -> bool:
        """Whether the copies are on the host."""

    def wait(self, buffer: int) -> None:
        """Return when the copies are on the host."""

    def matrices(self, buffer: int) -> Sequence[NDArray[np.uint8]]:
        """The bytes of each array, ``(byte,)``, once they have landed."""

    def scalars(self, buffer: int) -> NDArray[np.float64]:
        """``(scalar,)`` by place, once they have landed; those that did not cross are of no meaning."""


class CudaTransport:
    """Carries tensors from one CUDA device, through buffers on it and pinned ones on the host, on a stream.

    An array is first copied on the device, by the training stream, so that nothing that is queued later, the
    next optimizer step above all, can change what was captured; no stream and no thread of the training waits
    for the way to the host.
    """

    def __init__(self, likes: Sequence[Tensor], scalars: int) -> None:
        """Make buffers for arrays like these, all on one device, and for a number of scalars."""
        self._device = likes[0].device
        size = sum(like.numel() * like.element_size() for like in likes)
        self.buffers = max(_LEAST, min(_MOST, _BYTES // size))
        # The last of each buffer holds the scalars.
        shapes = [(like.shape, like.dtype) for like in likes] + [(torch.Size([scalars]), torch.float64)]
        self._kept = [
            [torch.empty(shape, dtype=dtype, device=self._device) for shape, dtype in shapes]
            for _ in range(self.buffers)
        ]
        self._pinned = [
            [torch.empty(shape, dtype=dtype, pin_memory=True) for shape, dtype in shapes]
            for _ in range(self.buffers)
        ]
        self._stream = torch.cuda.Stream(self._device)
        self._landed = [torch.cuda.Event() for _ in range(self.buffers)]

    def put(self, buffer: int, index: int, tensor: Tensor | None) -> None:
        """Queue the copy on the device, behind what the training stream has been given so far."""
        kept = self._kept[buffer][index]
        if tensor is None:
            kept.fill_(float("nan"))
        else:
            kept.copy_(tensor.detach(), non_blocking=True)

    def start(self, buffer: int, scalars: Mapping[int, Tensor]) -> None:
        """Queue the way to the host on the stream of its own."""
        kept, pinned = self._kept[buffer], self._pinned[buffer]
        for place, value in scalars.items():
            kept[-1][place : place + 1].copy_(value.detach().reshape(1), non_blocking=True)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for target, source in zip(pinned, kept, strict=True):
                target.copy_(source, non_blocking=True)
            self._landed[buffer].record()

    def has_landed(self, buffer: int) -> bool:
        """Asks the event."""
        return bool(self._landed[buffer].query())

    def wait(self, buffer: int) -> None:
        """Waits for the event, without the interpreter lock."""
        self._landed[buffer].synchronize()

    def matrices(self, buffer: int) -> Sequence[NDArray[np.uint8]]:
        """Views of the pinned memory."""
        return [tensor.view(-1).view(torch.uint8).numpy() for tensor in self._pinned[buffer][:-1]]

    def scalars(self, buffer: int) -> NDArray[np.float64]:
        """A copy of them."""
        values: NDArray[np.float64] = self._pinned[buffer][-1].numpy().copy()
        return values
