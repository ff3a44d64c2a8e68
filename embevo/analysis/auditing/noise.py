"""A recorded optimizer that steps on noise in the place of gradients: what it makes of nothing at all."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embevo.analysis.auditing.recorded import GRADIENT
from embevo.analysis.auditing.settings import settings_of
from embevo.analysis.auditing.updates import Rule, State, updated
from embevo.analysis.nulls.trajectory import Trajectory, rounded, wide
from embevo.errors import AnalysisError
from embevo.run.format.dtypes import NUMPY_DTYPES
from embevo.run.format.steps import describe
from embevo.run.reading.reader import Run
from embevo.run.reading.tensors import tensor_of

_RATE = "learning_rate"
_BFLOAT16 = NUMPY_DTYPES["bfloat16"]


class Noise:
    """Begins with the run's first state and an optimizer that has made no step, and steps as the run did.

    The gradient of a token at a step is white noise, as long on average as the one recorded there, or of
    variance 1 per element where none is recorded: a token without a gradient gets none here. It is rounded to
    the dtype of the weights, as are the moments, and torch's own optimizer does the rest on the CPU, with the
    recorded learning rates and settings. A step whose recorded gradient is NaN throughout is passed over.

    Attributes:
        settings: of the optimizer.
        arrays: names of the arrays that are made: the matrix, and beside it the gradient and the moments,
            where the run records them.
    """

    def __init__(self, of: Trajectory, optimizer: Mapping[str, Any] | None = None) -> None:
        """Look at what the run says of its optimizer.

        Raises:
            AnalysisError: it does not say it, or has gaps, or no learning rate.
            ArgumentError: a setting that is given is none.
        """
        run, name = of.run, of.name
        said = settings_of(run, name, optimizer)
        self.settings = replace(said, device="cpu", first_step=int(run.steps[0]), steps_done=0)
        self._of = of
        self._rates = _rates(run)
        self._start = run[name].native[:1]
        gradient = f"{name}.{GRADIENT}"
        self._gradient = gradient if gradient in run.frame.by_name else None
        kept = [f"{name}.{moment}" for moment in self.settings.moments]
        kept = [array for array in kept if array in run.frame.by_name]
        self.arrays = (name, *([gradient] if self._gradient else []), *kept)
        self._scales = None if self._gradient is None else _scales(run, self._gradient)

    def blocks(self, drawn: np.random.Generator) -> Iterator[Mapping[str, NDArray[Any]]]:
        """One training on noise."""
        rows, dtype = self._of.shape[0], self._of.dtype
        rule = Rule(self.settings)
        state = State(_tensor(self._start[0]))
        nothing = rounded(np.full(self._of.shape[1:], np.nan), dtype)
        first = dict.fromkeys(self.arrays, nothing) | {self._of.name: self._start[0]}
        made = [first]
        count = 0
        for row in range(1, rows):
            noise = drawn.standard_normal(self._of.shape[1:])
            if self._scales is not None:
                noise *= self._scales[row][:, None]
            gradient = rounded(noise, dtype)
            if not np.isnan(noise).all():
                count += 1
                state = updated(rule, state, _tensor(gradient), count, float(self._rates[row]))
            made.append(self._row(state, gradient, nothing))
            if len(made) == self._of.rows_at_once:
                yield _stacked(made)
                made = []
        if made:
            yield _stacked(made)

    def _row(self, state: State, gradient: NDArray[Any], nothing: NDArray[Any]) -> dict[str, NDArray[Any]]:
        name = self._of.name
        found = {name: _array(state.weights)}
        for array in self.arrays[1:]:
            key = array.removeprefix(f"{name}.")
            if array == self._gradient:
                found[array] = gradient
            else:
                found[array] = _array(state.moments[key]) if key in state.moments else nothing
        return found


def _rates(run: Run) -> NDArray[np.float64]:
    if _RATE not in run.frame.scalars:
        raise AnalysisError(
            f"{run.path} records no {_RATE}, by which an optimizer steps: recorder.capture(step, lr=...) does"
        )
    steps, rates = run.steps, run[_RATE][:]
    gaps = np.flatnonzero(np.diff(steps) != 1)
    if len(gaps):
        after = steps[gaps + 1].tolist()
        raise AnalysisError(
            f"{run.path} has gaps before steps {describe(after)}, and what an optimizer does there "
            "depends on learning rates that are not recorded: record every step, or choose another kind"
        )
    missing = steps[1:][~np.isfinite(rates[1:])]
    if len(missing):
        raise AnalysisError(f"{run.path} has no learning rate at steps {describe(missing.tolist())}")
    return np.asarray(rates, np.float64)


def _scales(run: Run, gradient: str) -> NDArray[np.float64]:
    """``(row, token)`` root mean square of recorded gradients; 0 in place of what is not all finite."""
    found = []
    rows = run.layout.block_steps
    for start in range(0, len(run.steps), rows):
        values = wide(run[gradient].native[start : start + rows])
        with np.errstate(invalid="ignore", over="ignore"):
            scale = np.sqrt(np.square(values).mean(axis=2))
        none = np.asarray(np.isnan(values).all(axis=(1, 2)))
        scale = np.where(np.isfinite(scale), scale, 0.0)
        scale[none] = np.nan
        found.append(scale)
    return np.concatenate(found)


def _stacked(rows: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _tensor(values: NDArray[Any]) -> Tensor:
    return tensor_of(lambda _: values, values.dtype, "native")


def _array(values: Tensor) -> NDArray[Any]:
    """The values of a tensor, copied; bfloat16 is that of ml_dtypes."""
    if values.dtype == torch.bfloat16:
        return values.view(torch.uint16).numpy().copy().view(_BFLOAT16)
    return values.numpy().copy()
