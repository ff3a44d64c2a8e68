"""A transport that lands when the test says: what a device does, on the CPU."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class SlowTransport:
    """Takes arrays as a device copy does, at once, and lands them when it is allowed to."""

    def __init__(self, likes: Sequence[Tensor], scalars: int, buffers: int = 4) -> None:
        self.buffers = buffers
        self._kept = [[torch.empty_like(like) for like in likes] for _ in range(buffers)]
        self._scalars = np.full((buffers, scalars), np.nan)
        self._crossing = [False] * buffers
        self.gate = threading.Event()
        self.started = 0
        self.fails = False

    def put(self, buffer: int, index: int, tensor: Tensor | None) -> None:
        assert not self._crossing[buffer], "the buffer is still in use"
        with torch.no_grad():
            kept = self._kept[buffer][index]
            if tensor is None:
                kept.fill_(float("nan"))
            else:
                self._kept[buffer][index] = tensor.detach().clone()

    def start(self, buffer: int, scalars: Mapping[int, Tensor]) -> None:
        assert not self._crossing[buffer], "the buffer is still in use"
        for place, value in scalars.items():
            self._scalars[buffer, place] = value.item()
        self._crossing[buffer] = True
        self.started += 1

    def has_landed(self, buffer: int) -> bool:
        assert self._crossing[buffer]
        if self.fails:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return self.gate.is_set()

    def wait(self, buffer: int) -> None:
        assert self._crossing[buffer]
        if self.fails:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self.gate.wait()

    def matrices(self, buffer: int) -> Sequence[NDArray[np.uint8]]:
        assert self.gate.is_set()
        self._crossing[buffer] = False
        return [kept.contiguous().view(torch.uint8).numpy().reshape(-1).copy() for kept in self._kept[buffer]]

    def scalars(self, buffer: int) -> NDArray[np.float64]:
        return self._scalars[buffer].copy()
