"""The state of every random number generator that training could draw from."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, as the notebook and the Trainer do."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - it is the state that a library would draw from
    torch.manual_seed(seed)


def rng_state(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The generators of torch (CPU, and the device's own), numpy and Python.

    Returns:
        Tensors by name, and the rest as plain JSON values.
    """
    tensors = {"rng.torch": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        tensors["rng.mps"] = torch.mps.get_rng_state()
    # The legacy generator: it is numpy's global one.
    algorithm, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    version, words, next_gauss = random.getstate()
    tensors["rng.numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    tensors["rng.python"] = torch.tensor(words, dtype=torch.int64)
    numbers = {
        "numpy": [str(algorithm), int(position), int(has_gauss), float(gauss)],
        "python": [version, next_gauss],
    }
    return tensors, numbers


def restore_rng(tensors: dict[str, Tensor], numbers: dict[str, Any], device: torch.device) -> None:
    """Set the generators to an :func:`rng_state`."""
    torch.set_rng_state(tensors["rng.torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(tensors["rng.mps"])
    algorithm, position, has_gauss, gauss = numbers["numpy"]
    keys = tensors["rng.numpy"].numpy().astype(np.uint32)
    np.random.set_state((algorithm, keys, position, has_gauss, gauss))  # noqa: NPY002
    version, next_gauss = numbers["python"]
    random.setstate((version, tuple(tensors["rng.python"].tolist()), next_gauss))
