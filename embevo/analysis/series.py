"""The measurement as an xarray.Dataset, every variable with what it is and in which units."""

import xarray as xr

from embevo.analysis.measurement import Measurement
from embevo.analysis.measures.registry import VARIABLES


def build_series(found: Measurement, matrix: str) -> xr.Dataset:
    """Put the dataset together: what the registry declares and the measures have found.

    Args:
        found: the measurement.
        matrix: its name.
    """
    described = {
        name: (
            variable.dimensions,
            found.arrays[name],
            {"long_name": variable.label, "units": variable.unit},
        )
        for name, variable in VARIABLES.items()
        if name in found.arrays
    }
    axes = {name for name in described if VARIABLES[name].dimensions == (name,)}
    return xr.Dataset(
        {name: value for name, value in described.items() if name not in axes},
        coords={name: value for name, value in described.items() if name in axes},
        attrs={"matrix": matrix},
    )
