"""How matrices cross from a device to the host while training goes on."""

from collections.abc import Sequence
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

    Attributes:
        buffers: how many.
    """

    buffers: int

    def start(self, buffer: int, tensors: Sequence[Tensor], loss: Tensor | None) -> None:
        """Begin to carry the matrices, and the loss, as they are now; waits for nothing."""

    def has_landed(self, buffer: int) -> bool:
        """Whether they are on the host."""

    def wait(self, buffer: int) -> None:
        """Until they are."""

    def matrices(self, buffer: int) -> Sequence[NDArray[np.uint8]]:
        """The bytes of each matrix, ``(byte,)``, once they have landed."""

    def loss(self, buffer: int) -> float:
        """The loss, once it has landed."""


class CudaTransport:
    """From one CUDA device, through buffers on it and pinned ones on the host, on a stream of its own.

    The matrix is first copied on the device, by the training stream, so that nothing that is queued later,
    the next optimizer step above all, can change what was captured; no stream and no thread of the training
    waits for the way to the host.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        """Make buffers for tensors like these, all contiguous or not, on one device."""
        self._device = tensors[0].device
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.buffers = max(_LEAST, min(_MOST, _BYTES // size))
        # Beside each step's matrices travels its loss.
        shapes = [(tensor.shape, tensor.dtype) for tensor in tensors] + [(torch.Size([1]), torch.float64)]
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

    def start(self, buffer: int, tensors: Sequence[Tensor], loss: Tensor | None) -> None:
        """Queue both copies. The buffer must be one that has landed, or has never been used."""
        kept, pinned = self._kept[buffer], self._pinned[buffer]
        training = torch.cuda.current_stream(self._device)
        sources = [*tensors, *([] if loss is None else [loss.view(1)])]
        with torch.no_grad():
            for target, source in zip(kept, sources, strict=False):
                target.copy_(source, non_blocking=True)
            self._stream.wait_stream(training)
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
        return [tensor.view(torch.uint8).view(-1).numpy() for tensor in self._pinned[buffer][:-1]]

    def loss(self, buffer: int) -> float:
        """From the pinned memory."""
        return float(self._pinned[buffer][-1].item())


def transport_for(tensors: Sequence[Tensor]) -> Transport | None:
    """What carries these tensors; None where they are best copied by the training thread itself."""
    devices = {tensor.device for tensor in tensors}
    if len(devices) == 1 and tensors[0].device.type == "cuda":
        return CudaTransport(tensors)
    return None
