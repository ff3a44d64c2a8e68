"""What besides the configuration decides the bits: libraries, device, processor, threads."""

import platform
from importlib.metadata import version
from typing import Final

import torch

from embevo.experiment.device import FoundDevice

_LIBRARIES: Final = ("embevo", "torch", "transformers", "numpy", "safetensors", "zarr")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that make a run."""
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def deciding_environment(found: FoundDevice) -> dict[str, str]:
    """What must be the same for the same configuration to give the same bits, by name."""
    return {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "device": found.description,
        # Kernels are chosen by instruction set, and reductions are split by threads.
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
    }
