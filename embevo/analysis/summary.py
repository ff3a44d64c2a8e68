"""The numbers of a run that fit on a screen, as plain JSON values."""

import dataclasses
import math
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.json_numbers import to_plain
from embevo.analysis.measurement import Measurement
from embevo.analysis.measures.diffusion import LagSums
from embevo.analysis.measures.entropy import unigram_entropy, unigram_loss
from embevo.analysis.measures.events import KINDS
from embevo.analysis.measures.exponent import Exponent, fit_exponent
from embevo.analysis.measures.groups import GROUPS, Groups
from embevo.analysis.measures.phases import Phases
from embevo.analysis.measures.singularities import jaccard
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.run.reading.reader import Run

_KNOWN: Final = {"normal": "normal", "qwen": "singular", "qwen-unit": "singular"}


def initialisation(run: Run, series: xr.Dataset) -> str:
    """``normal`` or ``singular``: by the configuration, or by whether the first row is one point."""
    init = run.config.get("init")
    # Other programs have names of their own.
    if isinstance(init, str) and init in _KNOWN:
        return _KNOWN[init]
    return "singular" if int(series["distinct_rows"][0, 0]) == 1 and series.sizes["token"] > 1 else "normal"


def summarize(
    run: Run, found: Measurement, sums: LagSums, series: xr.Dataset, thresholds: Thresholds
) -> dict[str, Any]:
    """Everything a table, a verdict or a caption needs that is one number."""
    groups = found.groups
    counts = series["token_count"].to_numpy() if groups.known else None
    entropy = None if counts is None else unigram_entropy(counts)
    return dict(
        to_plain(
            {
                "matrix": series.attrs["matrix"],
                "dtype": str(found.dtype),
                "initialisation": initialisation(run, series),
                "rows": found.shape[0],
                "tokens": found.shape[1],
                "dim": found.shape[2],
                "first_step": found.steps[0],
                "last_step": found.steps[-1],
                "stride": found.stride,
                "live": len(groups["live"]) if groups.known else None,
                "dead": len(groups["dead"]) if groups.known else None,
                "unigram_entropy": entropy,
                "unigram_loss": None if entropy is None else unigram_loss(entropy, run.config),
                "groups": {
                    name: _of_group(series, index, len(groups[name])) for index, name in enumerate(GROUPS)
                },
                "live_dead_distance": found.separation.distance,
                "live_dead_distance_interval": found.separation.interval,
                "drift": found.drift[0],
                "drift_interval": found.drift[1:],
                "dead_coherence": _mean_known(series["dead_coherence"].to_numpy()),
                "jaccard_largest": _overlap(series, groups, largest=True),
                "jaccard_all": _overlap(series, groups, largest=False),
                "events": dict(zip(KINDS, found.event_count.sum(axis=0).tolist(), strict=True)),
                "events_listed": len(found.events),
                "phases": _phases(found),
                "freeze_step": _freeze_step(found),
                "exponents": _exponents(found, sums, thresholds),
                "lag_tokens": len(found.sampled.ids[0]),
                "loss_first": _finite(series, "loss", 0),
                "loss_last": _finite(series, "loss", -1),
            }
        )
    )


def _of_group(series: xr.Dataset, index: int, size: int) -> dict[str, Any]:
    """First and last values of what is measured of a group; empty for an empty group."""
    if not size:
        return {"tokens": 0}
    names = (
        "radius_rms", "centroid_norm", "token_norm_mean", "distinct_rows", "distinct_values",
        "black_holes", "black_hole_population", "black_hole_largest",
    )  # fmt: skip
    values: dict[str, Any] = {"tokens": size}
    for name in names:
        values[f"{name}_first"] = series[name].values[0, index]
        values[f"{name}_last"] = series[name].values[-1, index]
    values["centroid_displacement"] = series["centroid_displacement"].values[-1, index]
    values["centroid_path"] = series["centroid_path"].values[-1, index]
    return values


def _finite(series: xr.Dataset, name: str, which: int) -> float:
    """The first or last number of a scalar that was recorded; NaN if none was."""
    values = series[name].to_numpy() if name in series else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(values[which]) if len(values) else math.nan


def _mean_known(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _overlap(series: xr.Dataset, groups: Groups, *, largest: bool) -> float:
    """Jaccard index of the dead and the tokens in the largest black hole, or in all of them, at the end."""
    if not groups.known:
        return math.nan
    hole = series["black_hole"].to_numpy()
    inside: NDArray[np.int64] = np.flatnonzero(hole == 0 if largest else hole >= 0)
    return jaccard(inside, groups["dead"])


def _phases(found: Measurement) -> dict[str, Any]:
    flows = found.ulp_l2 > np.sqrt(found.shape[2])
    hops = found.ulp_linf > 1
    return {
        name: dataclasses.asdict(Phases.of(found.steps, flows[:, ids], hops[:, ids], found.last_motion[ids]))
        for name, ids in zip(GROUPS, found.groups.ids, strict=True)
    }


def _freeze_step(found: Measurement) -> int | None:
    """The last step at which a dead token moved, if it lies before the last row; else rest was not seen."""
    dead = found.groups["dead"]
    if not len(dead) or len(found.steps) < 2:
        return None
    last = int(found.last_motion[dead].max())
    return last if last < found.steps[-1] else None


def _exponents(found: Measurement, sums: LagSums, thresholds: Thresholds) -> dict[str, Any]:
    span = float(found.steps[-1] - found.steps[0])
    lags = found.lags.lags * found.stride
    fitted: dict[str, dict[str, Exponent]] = {"centroid": {}, "tokens": {}}
    for what, of in (("centroid", sums), ("tokens", found.lags)):
        for index, name in enumerate(GROUPS):
            fitted[what][name] = fit_exponent(
                lags,
                of.squares[:, :, index],
                of.origins,
                min_lag=thresholds.msd_min_lag,
                max_lag=thresholds.msd_max_share * span,
            )
    return {what: {name: dataclasses.asdict(fit) for name, fit in by.items()} for what, by in fitted.items()}
