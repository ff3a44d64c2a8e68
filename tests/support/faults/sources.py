"""The tensors of a plan, which take on the values of one row after another."""

from typing import Any

import numpy as np
import torch

from support.faults.drawn_arrays import scalar_of
from support.faults.oracle import Plan


class Sources:
    """What a plan hands to a recorder.

    Attributes:
        tensors: by name.
        arguments: of the recorder, as the plan asks: which tokens, which steps, which scalars.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        frame = plan.frame
        steps = plan.all_steps
        self.tensors = {
            array.name: torch.zeros(array.shape, dtype=getattr(torch, array.dtype)) for array in frame.arrays
        }
        self._views = {name: tensor.view(torch.uint8) for name, tensor in self.tensors.items()}
        # Made before the first step, so that only the recorder is at work between captures.
        self._values = {
            array.name: torch.from_numpy(array.source(steps).view(np.uint8)) for array in frame.arrays
        }
        self.arguments: dict[str, Any] = {}
        if plan.drawn >= 0:
            self.arguments = {
                "dimensions": {array.name: array.dimensions for array in frame.arrays},
                "scalars": frame.scalars,
                "tokens": None if frame.ids is None else list(frame.ids),
                "steps": plan.schedule,
            }

    def put(self, index: int) -> None:
        """Give the tensors the values of a row."""
        for name, view in self._views.items():
            view.copy_(self._values[name][index])

    def spoil(self) -> None:
        """Give them others; of a bool, one that is a bool."""
        for name, view in self._views.items():
            view.fill_(1 if self.tensors[name].dtype == torch.bool else 0x5A)

    def scalars(self, step: int) -> dict[str, float]:
        """What is handed over with a step beside the loss; nothing where the oracle expects NaN."""
        found = {name: scalar_of(name, step, self._plan.seed) for name in self._plan.frame.scalars}
        return {name: value for name, value in found.items() if value == value}
