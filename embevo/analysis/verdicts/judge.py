"""The predictions of the experiment's notebook, each as checks against :class:`Thresholds`.

Four were made for normal initialisation (N1..N4), five for singular initialisation (S1..S5). Only those of
one initialisation are judged. What a check needs and a run does not have leaves it undecided.
"""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from embevo.analysis.verdicts.case import Case
from embevo.analysis.verdicts.normal import centroid_walks, dead_near_origin, expands_and_drifts, starts_apart
from embevo.analysis.verdicts.singular import (
    dead_frozen,
    ends_as_hole,
    starts_as_one,
    supernova,
    walks_to_rest,
)
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.analysis.verdicts.verdict import Verdict
from embevo.run.format.settings import Initialisation


def judge(
    initialisation: Initialisation | None,
    series: xr.Dataset,
    summary: Mapping[str, Any],
    thresholds: Thresholds,
) -> list[Verdict]:
    """The verdicts on the predictions for an initialisation, in the notebook's order; none without one."""
    if initialisation is None:
        return []
    case = Case(series, summary, thresholds)
    if initialisation == "normal":
        return [
            starts_apart(case),
            expands_and_drifts(case),
            centroid_walks(case),
            dead_near_origin(case),
        ]
    return [
        starts_as_one(case),
        supernova(case),
        walks_to_rest(case),
        dead_frozen(case),
        ends_as_hole(case),
    ]
