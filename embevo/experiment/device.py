"""Where the training runs, and what it takes there to get the same bits twice."""

import os
from dataclasses import dataclass

import torch

from embevo.errors import DeviceError


@dataclass(frozen=True)
class FoundDevice:
    """A device that is there.

    Attributes:
        device: for torch.
        description: for the person at the terminal, such as ``CUDA (NVIDIA H100)``.
    """

    device: torch.device
    description: str


def find_device(name: str) -> FoundDevice:
    """Find the device that a configuration asks for, and make its arithmetic reproducible.

    Args:
        name: ``auto`` (the first there is of cuda, mps, cpu), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        DeviceError: the name is unknown, or the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device is {name!r}; it must be auto, cpu, cuda, cuda:N or mps.") from error
    if device.type == "cpu":
        return FoundDevice(device, "CPU")
    if device.type == "mps" and torch.backends.mps.is_available():
        return FoundDevice(device, "MPS (Apple Silicon)")
    if device.type == "cuda" and (device.index or 0) < torch.cuda.device_count():
        # cuBLAS reads this when it starts; without it, and with atomic additions in the embedding's gradient,
        # two runs differ in their last bits.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        return FoundDevice(device, f"CUDA ({torch.cuda.get_device_name(device)})")
    if device.type in {"cuda", "mps"}:
        raise DeviceError(f"there is no {name} device here; use --device auto or --device cpu.")
    raise DeviceError(f"device is {name!r}; it must be auto, cpu, cuda, cuda:N or mps.")


def check_compiles(device: torch.device) -> None:
    """Compile a small function, to know before anything is written whether PyTorch can here.

    Raises:
        DeviceError: it cannot, for want of a compiler, say.
    """

    def double(values: torch.Tensor) -> torch.Tensor:
        return values + values

    try:
        torch.compile(double)(torch.zeros(1, device=device))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise DeviceError(
            f"torch.compile does not work here: {reason}. Install what it asks for, a C++ compiler on CPUs, "
            "or train without --compile."
        ) from error
