"""The measurement as an xarray.Dataset, every variable with what it is and in which units."""

from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.measurement import Measurement
from embevo.analysis.measures.components import Components
from embevo.analysis.measures.diffusion import LagSums
from embevo.analysis.measures.events import KINDS
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.groups import GROUPS
from embevo.analysis.measures.singularities import membership
from embevo.analysis.reading import parts
from embevo.run.reading.reader import Run

_LENGTH: Final = "embedding units"
_SQUARE: Final = "embedding units^2"

# Name: dimensions, what it is, units. docs/analysis.md has the formulas.
VARIABLES: Final[dict[str, tuple[tuple[str, ...], str, str]]] = {
    "step": (("step",), "global training step", "steps"),
    "token": (("token",), "token id", "1"),
    "group": (("group",), "tokens measured together", ""),
    "lag": (("lag",), "lag", "steps"),
    "component": (("component",), "principal component, widest first", "1"),
    "spectrum_step": (("spectrum_step",), "step of a spectrum", "steps"),
    "event": (("event",), "kind of event", ""),
    "centroid": (("step", "group", "dim"), "centroid", _LENGTH),
    "centroid_norm": (("step", "group"), "distance of the centroid from the origin", _LENGTH),
    "centroid_displacement": (("step", "group"), "distance of the centroid from its first place", _LENGTH),
    "centroid_path": (("step", "group"), "length of the centroid's path since the first row", _LENGTH),
    "token_norm_min": (("step", "group"), "smallest token norm", _LENGTH),
    "token_norm_mean": (("step", "group"), "mean token norm", _LENGTH),
    "token_norm_max": (("step", "group"), "largest token norm", _LENGTH),
    "radius_rms": (("step", "group"), "RMS distance from the group's centroid", _LENGTH),
    "radius_rms_without": (("step", "group", "part"), "RMS radius without a tenth of the tokens", _LENGTH),
    "radius_max": (("step", "group"), "largest distance from the group's centroid", _LENGTH),
    "live_dead_distance": (("step",), "distance between live and dead centroids", _LENGTH),
    "distinct_rows": (("step", "group"), "rows that differ in a bit", "tokens"),
    "distinct_values": (("step", "group"), "rows that differ, +0 and -0 being equal", "tokens"),
    "black_holes": (("step", "group"), "sets of two or more tokens with equal bits", "black holes"),
    "black_hole_population": (("step", "group"), "tokens in black holes", "tokens"),
    "black_hole_largest": (("step", "group"), "tokens in the largest black hole", "tokens"),
    "black_hole": (("token",), "black hole in the last row, by size; -1 for none", "1"),
    "event_count": (("step", "event"), "events between the row before and this one", "events"),
    "displacement": (("step", "token"), "distance from the row before", _LENGTH),
    "displacement_bulk": (("step", "group"), "distance of the centroid from the row before", _LENGTH),
    "displacement_peculiar_rms": (("step", "group"), "RMS displacement less that of the centroid", _LENGTH),
    "ulp_l1": (("step", "token"), "L1 norm of the displacement in ULPs", "ULP"),
    "ulp_l2": (("step", "token"), "L2 norm of the displacement in ULPs", "ULP"),
    "ulp_linf": (("step", "token"), "largest displacement of an element in ULPs", "ULP"),
    "last_motion": (("token",), "last step at which the token moved; -1 if it never did", "steps"),
    "msd_centroid": (("lag", "group"), "mean squared displacement of the centroid", _SQUARE),
    "msd_tokens": (("lag", "group"), "mean squared displacement of tokens", _SQUARE),
    "vacf": (("lag", "group"), "velocity autocorrelation of tokens", "1"),
    "vacf_centroid": (("lag", "group"), "velocity autocorrelation of the centroid", "1"),
    "lag_origins": (("lag",), "pairs of rows at this lag", "1"),
    "dead_coherence": (("step",), "mean cosine between displacements of dead tokens", "1"),
    "spectrum": (("spectrum_step", "component"), "variance along the step's own components", _SQUARE),
    "pca_mean": (("dim",), "centroid of what the components were fitted on", _LENGTH),
    "pca_basis": (("component", "dim"), "principal components", "1"),
    "pca_variance": (("component",), "variance along each component", _SQUARE),
    "centroid_projected": (("step", "group", "component"), "centroid along the components", _LENGTH),
    "token_norm_first": (("token",), "token norm in the first row", _LENGTH),
    "token_norm_last": (("token",), "token norm in the last row", _LENGTH),
    "radius_first": (("token",), "distance from the centroid of all in the first row", _LENGTH),
    "radius_last": (("token",), "distance from the centroid of all in the last row", _LENGTH),
    "net_displacement": (("token",), "distance between first and last row", _LENGTH),
    "net_ulp_linf": (("token",), "largest distance of an element between first and last row", "ULP"),
    "net_quanta": (("token",), "net displacement over the length of one ULP in every element", "1"),
    "loss": (("step",), "training loss", "nats"),
    "learning_rate": (("step",), "learning rate", "1"),
    "token_count": (("token",), "occurrences in the corpus", "tokens"),
}


def build_series(run: Run, found: Measurement, pca: Components, sums: LagSums, matrix: str) -> xr.Dataset:
    """Put the dataset together.

    Args:
        run: for its scalars and token counts.
        found: the measurement.
        pca: the components that were fitted.
        sums: lagged differences of the centroids.
        matrix: its name.
    """
    centroid = found.centroid
    bulk = np.nan_to_num(found.bulk[:1], nan=0.0), found.bulk[1:]
    path = np.cumsum(np.concatenate(bulk), axis=0)
    path[:, [not len(ids) for ids in found.groups.ids]] = np.nan
    values: dict[str, NDArray[Any]] = {
        "step": found.steps,
        "token": np.arange(found.shape[1]),
        "group": np.array(GROUPS, dtype=object),
        "lag": found.lags.lags * found.stride,
        "component": np.arange(len(pca.variance)),
        "spectrum_step": found.steps[found.spectrum_rows],
        "event": np.array(KINDS, dtype=object),
        "centroid": centroid,
        "centroid_norm": norms(centroid),
        "centroid_displacement": norms(centroid - centroid[:1]),
        "centroid_path": path,
        "token_norm_min": found.norm_min,
        "token_norm_mean": found.norm_mean,
        "token_norm_max": found.norm_max,
        "radius_rms": found.radius_rms,
        "radius_rms_without": found.radius_without,
        "radius_max": found.radius_max,
        "live_dead_distance": norms(centroid[:, 1] - centroid[:, 2]),
        "distinct_rows": found.distinct_rows,
        "distinct_values": found.distinct_values,
        "black_holes": found.holes,
        "black_hole_population": found.population,
        "black_hole_largest": found.largest,
        "black_hole": membership(found.representative),
        "event_count": found.event_count,
        "displacement": found.displacement,
        "displacement_bulk": found.bulk,
        "displacement_peculiar_rms": found.peculiar,
        "ulp_l1": found.ulp_l1,
        "ulp_l2": found.ulp_l2,
        "ulp_linf": found.ulp_linf,
        "last_motion": found.last_motion,
        "msd_centroid": sums.msd,
        "msd_tokens": found.lags.msd,
        "vacf": found.lags.vacf,
        "vacf_centroid": sums.vacf,
        "lag_origins": found.lags.origins.sum(axis=0),
        "dead_coherence": found.coherence,
        "spectrum": found.spectrum,
        "pca_mean": pca.mean,
        "pca_basis": pca.basis,
        "pca_variance": pca.variance,
        "centroid_projected": (centroid - pca.mean) @ pca.basis.T,
        "token_norm_first": found.norm_first,
        "token_norm_last": found.norm_last,
        "radius_first": found.radius_first,
        "radius_last": found.radius_last,
        "net_displacement": found.net_displacement,
        "net_ulp_linf": found.net_ulp_linf,
        "net_quanta": found.net_quanta,
    }
    values |= {
        scalar: run[scalar][: len(found.steps)]
        for scalar in ("loss", "learning_rate")
        if scalar in run.frame.scalars
    }
    tokens = run.tokens
    if tokens is not None:
        values["token_count"] = tokens.count
    described = {
        variable: (
            VARIABLES[variable][0],
            array,
            {"long_name": VARIABLES[variable][1], "units": VARIABLES[variable][2]},
        )
        for variable, array in values.items()
    }
    coordinates = {"step", "token", "group", "lag", "component", "spectrum_step", "event"}
    return xr.Dataset(
        {variable: value for variable, value in described.items() if variable not in coordinates},
        coords={variable: value for variable, value in described.items() if variable in coordinates},
        attrs={"matrix": matrix},
    )


def fit_components(run: Run, found: Measurement, name: str, on: str) -> Components:
    """The components of the last row, or of all rows taken together (a second pass)."""
    if on == "final":
        return Components.of(found.last.astype(np.float64))
    count = found.shape[0] * found.shape[1]
    mean = found.centroid[:, 0].mean(axis=0)
    covariance = np.zeros((found.shape[2], found.shape[2]))
    for _, values in parts(run, name):
        apart = values.astype(np.float64).reshape(-1, found.shape[2]) - mean
        covariance += apart.T @ apart
    if not np.isfinite(covariance).all():
        return Components.nowhere(*found.shape[1:])
    return Components.of_covariance(mean, covariance / count, len(found.spectrum[0]))
