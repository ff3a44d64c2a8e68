"""The numbers of a run that fit on a screen, as plain JSON values."""

from typing import Any

import xarray as xr

from embevo.analysis.json_numbers import to_plain
from embevo.analysis.measurement import Measurement
from embevo.analysis.measures.registry import told


def summarize(found: Measurement, series: xr.Dataset) -> dict[str, Any]:
    """Everything a table, a verdict or a caption needs that is one number."""
    outline = found.outline
    groups = outline.groups
    return dict(
        to_plain(
            {
                "matrix": series.attrs["matrix"],
                "dtype": str(outline.dtype),
                "rows": outline.rows,
                "tokens": outline.tokens,
                "dim": outline.dim,
                "first_step": outline.steps[0],
                "last_step": outline.steps[-1],
                "stride": outline.stride,
                "live": len(groups["live"]) if groups.known else None,
                "dead": len(groups["dead"]) if groups.known else None,
                "groups": {
                    name: _of_group(series, index, len(groups[name]))
                    for index, name in enumerate(groups.names)
                },
                **found.numbers,
            }
        )
    )


def _of_group(series: xr.Dataset, index: int, size: int) -> dict[str, Any]:
    """First and last values of what tables show of a group and was measured; empty for an empty group."""
    values: dict[str, Any] = {"tokens": size}
    for variable in told() if size else ():
        if variable.name not in series:
            continue
        column = series[variable.name].values[:, index]
        if variable.told is not None and variable.told.change:
            values[f"{variable.name}_first"] = column[0]
            values[f"{variable.name}_last"] = column[-1]
        else:
            values[variable.name] = column[-1]
    return values
