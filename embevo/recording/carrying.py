"""What carries the arrays of a frame to the host, also where they lie on several devices.

Each device has a transport of its own, and a step has landed when it has from all of them. Devices whose
copies cannot be trusted to go on beside the training have none: PyTorch's copies from MPS that do not block
have been seen to give other numbers (pytorch/pytorch issues 139550 and 189690), so those block.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embevo.recording.transport import CudaTransport, Transport
from embevo.run.format.frame import FrameSpec

_CARRIED: Final = frozenset(("cuda", "cpu"))


class HostTransport:
    """Copies arrays in CPU memory when they are to be taken: beside those of a device, which cross."""

    def __init__(self, likes: Sequence[Tensor], scalars: int, buffers: int) -> None:
        """Make buffers for arrays like these, and for a number of scalars."""
        self.buffers = buffers
        self._kept = [[torch.empty(like.shape, dtype=like.dtype) for like in likes] for _ in range(buffers)]
        self._scalars = np.full((buffers, scalars), np.nan)

    def put(self, buffer: int, index: int, tensor: Tensor | None) -> None:
        """Copy it now."""
        kept = self._kept[buffer][index]
        if tensor is None:
            kept.fill_(float("nan"))
        else:
            kept.copy_(tensor.detach())

    def start(self, buffer: int, scalars: Mapping[int, Tensor]) -> None:
        """Read the scalars; the arrays are there already."""
        for place, value in scalars.items():
            self._scalars[buffer, place] = float(value)

    def has_landed(self, buffer: int) -> bool:
        """At once."""
        del buffer
        return True

    def wait(self, buffer: int) -> None:
        """There is nothing to wait for."""

    def matrices(self, buffer: int) -> Sequence[NDArray[np.uint8]]:
        """Views of the buffer."""
        return [kept.view(-1).view(torch.uint8).numpy() for kept in self._kept[buffer]]

    def scalars(self, buffer: int) -> NDArray[np.float64]:
        """A copy of them."""
        values: NDArray[np.float64] = self._scalars[buffer].copy()
        return values


class Part(NamedTuple):
    """What one device has of a frame.

    Attributes:
        device: where it lies.
        transport: what carries it.
        places: of its arrays among those of the frame.
    """

    device: torch.device
    transport: Transport
    places: tuple[int, ...]


class SeveralDevices:
    """Carries a step in several parts, one a device; it has landed when all of them have.

    Attributes:
        buffers: of the part that has the fewest.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        """Carry what these parts carry, every array of the frame in one of them."""
        self.buffers = min(part.transport.buffers for part in parts)
        self._parts = list(parts)
        self._where = {
            place: (part.transport, index) for part in parts for index, place in enumerate(part.places)
        }
        # Which scalars cross in which part, by buffer.
        self._crossing: list[list[list[int]]] = [[[] for _ in parts] for _ in range(self.buffers)]

    def put(self, buffer: int, index: int, tensor: Tensor | None) -> None:
        """Hand an array to the part that it belongs to."""
        transport, own = self._where[index]
        transport.put(buffer, own, tensor)

    def start(self, buffer: int, scalars: Mapping[int, Tensor]) -> None:
        """Start every part, each with the scalars that lie on its device."""
        shares: list[dict[int, Tensor]] = [{} for _ in self._parts]
        devices = [part.device for part in self._parts]
        for place, value in scalars.items():
            own = devices.index(value.device) if value.device in devices else 0
            shares[own][place] = value
        for part, share in zip(self._parts, shares, strict=True):
            part.transport.start(buffer, share)
        self._crossing[buffer] = [list(share) for share in shares]

    def has_landed(self, buffer: int) -> bool:
        """Asks every part."""
        return all(part.transport.has_landed(buffer) for part in self._parts)

    def wait(self, buffer: int) -> None:
        """Waits for one part after the other."""
        for part in self._parts:
            part.transport.wait(buffer)

    def matrices(self, buffer: int) -> Sequence[NDArray[np.uint8]]:
        """The bytes of each array, in the order of the frame."""
        found: dict[int, NDArray[np.uint8]] = {}
        for part in self._parts:
            found.update(zip(part.places, part.transport.matrices(buffer), strict=True))
        return [found[place] for place in sorted(found)]

    def scalars(self, buffer: int) -> NDArray[np.float64]:
        """Those of all parts, by place."""
        parts = [part.transport.scalars(buffer) for part in self._parts]
        values: NDArray[np.float64] = np.full_like(parts[0], np.nan)
        for part, places in zip(parts, self._crossing[buffer], strict=True):
            values[places] = part[places]
        return values


def transport_for(likes: Sequence[Tensor], scalars: int) -> Transport | None:
    """What carries arrays like these; None where they are best copied by the training thread itself.

    Args:
        likes: tensors of the shape and dtype of each array, on its device.
        scalars: how many scalars may cross beside them.
    """
    devices = list(dict.fromkeys(like.device for like in likes))
    kinds = {device.type for device in devices}
    if "cuda" not in kinds or not kinds <= _CARRIED:
        return None
    places = {
        device: tuple(place for place, like in enumerate(likes) if like.device == device)
        for device in devices
    }
    shares = {device: [likes[place] for place in places[device]] for device in devices}
    parts = [
        Part(device, CudaTransport(share, scalars), places[device])
        for device, share in shares.items()
        if device.type == "cuda"
    ]
    buffers = min(part.transport.buffers for part in parts)
    parts += [
        Part(device, HostTransport(share, scalars, buffers), places[device])
        for device, share in shares.items()
        if device.type == "cpu"
    ]
    return parts[0].transport if len(parts) == 1 else SeveralDevices(parts)


def copied_by_waiting(frame: FrameSpec, likes: Sequence[Tensor]) -> tuple[str, ...]:
    """Names of the arrays of a frame that lie on a device, where nothing carries them."""
    named = zip(frame.arrays, likes, strict=True)
    return tuple(name for (name, _), like in named if like.device.type != "cpu")
