"""One run before the judge: what a prediction can ask of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from embevo.analysis.json_numbers import number_of
from embevo.analysis.measures.groups import GROUPS, GroupName
from embevo.analysis.measures.pieces import FIRST, LATER, SECOND, WHOLE
from embevo.analysis.verdicts.thresholds import Thresholds
from embevo.analysis.verdicts.verdict import Check, Expects, Reading

INFINITY: Final = math.inf
# Of what begins with the run, its second half is not asked.
FROM_THE_START: Final = (WHOLE, LATER, FIRST)
ALL_PIECES: Final = (*FROM_THE_START, SECOND)
RANDOM: Final = "random directions of the recorded steps, with the optimizer's memory"


@dataclass(frozen=True)
class Case:
    """One run before the judge."""

    series: xr.Dataset
    summary: Mapping[str, Any]
    thresholds: Thresholds

    def of(self, name: str, group: GroupName = "all") -> NDArray[np.float64]:
        """``(step,)`` series of a group."""
        return np.asarray(self.series[name].to_numpy()[:, GROUPS.index(group)], np.float64)

    def tokens(self, name: str, group: GroupName) -> NDArray[np.float64]:
        """``(token,)`` values of a group's tokens."""
        count = self.series["token_count"].to_numpy()
        return np.asarray(
            self.series[name].to_numpy()[count > 0 if group == "live" else count == 0], np.float64
        )

    def readings(
        self, found: Mapping[str, Any] | None, places: Iterable[str], *, over: str = ""
    ) -> tuple[Reading, ...]:
        """What was measured in pieces of the run that are long enough, beside its null.

        Args:
            found: by name of the piece a number, or the dict of a
                :class:`~embevo.analysis.measures.bands.Band`.
            places: names of the pieces.
            over: ``null`` takes the mean under the null off, and ``ratio`` divides by it.
        """
        pieces, least = self.summary["pieces"], self.thresholds.min_steps
        readings = []
        for place in places:
            of = (found or {}).get(place)
            if of is None or (place in pieces and pieces[place]["intervals"] < least):
                continue
            if not isinstance(of, Mapping):
                readings.append(Reading(place, number_of(of)))
                continue
            value, null, low, high = (number_of(of[name]) for name in ("value", "null", "low", "high"))
            if over == "null":
                value, low, high = value - null, low - null, high - null
            elif over == "ratio":
                value, low, high = (end / null if null else math.nan for end in (value, low, high))
            readings.append(Reading(place, value, low, high))
        return tuple(readings)

    def check(
        self,
        statistic: str,
        readings: Sequence[Reading],
        region: tuple[float, float],
        threshold: str,
        needs: str,
        *,
        null: str = "",
        expects: Expects = "",
        widest: float = math.inf,
    ) -> Check:
        """The check of whether what was measured lies where it was predicted.

        Args:
            statistic: what is measured, in words.
            readings: of the piece that decides first, and of others.
            region: where the prediction expects it.
            threshold: the name of the one that has the reason.
            needs: what is missing; empty if nothing is.
            null: what the null is, in words.
            expects: where the prediction expects it beside the null.
            widest: half of the widest band that can tell.
        """
        first = readings[0] if readings else Reading(WHOLE, math.nan)
        return Check(
            statistic,
            first.value,
            region,
            self.thresholds.reasons()[threshold],
            null=null,
            null_low=first.null_low,
            null_high=first.null_high,
            expects=expects,
            widest=widest,
            where=first.where,
            again=tuple(readings[1:]),
            needs=needs,
        )

    def walk(self, whose: str, words: str, needs: str) -> tuple[Check, ...]:
        """Whether a way is a random walk: by its exponent, its directions, and its windows."""
        limit = self.thresholds.walk_tolerance
        found = self.summary["walks"].get(whose, {})
        return tuple(
            self.check(
                f"{said} of {words}, less that of random walks",
                self.readings({place: of[name] for place, of in found.items()}, ALL_PIECES, over="null"),
                (-limit, limit),
                "walk_tolerance",
                needs,
                null=RANDOM,
                expects="inside",
                widest=self.thresholds.walk_resolution,
            )
            for name, said in (
                ("exponent", "exponent in the clock of summed squared steps"),
                ("cosine", "mean cosine between steps 50 rows apart"),
                ("windows", "mean cosine between neighbouring twentieths of the way"),
            )
        )

    def flight(self, needs: str, *, fast: bool) -> Check:
        """Whether the cloud grew in flight, or not."""
        limit = self.thresholds.flight
        return self.check(
            "share of the tokens' way that became growth, until half of the growth",
            self.readings(
                self.summary["growth"].get("all", {}).get("flight"), FROM_THE_START if fast else ALL_PIECES
            ),
            (limit, INFINITY) if fast else (-INFINITY, limit),
            "flight",
            needs,
            null=RANDOM,
            expects="above" if fast else "beyond",
        )

    @property
    def begins(self) -> str:
        """What is missing for a statement about the start."""
        first = self.summary["first_step"]
        return "" if first == 0 else f"step 0 was not recorded, the first is {first}"

    @property
    def long_enough(self) -> str:
        """What is missing for a statement about the dynamics."""
        intervals, least = self.summary["rows"] - 1, self.thresholds.min_steps
        return "" if intervals >= least else f"{intervals} recorded intervals; {least:g} are needed"

    def has(self, *groups: GroupName) -> str:
        """What is missing for a statement about groups."""
        if self.summary["live"] is None:
            return "the run does not say how often tokens occur, so none is known to be dead"
        missing = [group for group in groups if not self.summary[group]]
        return f"there are no {missing[0]} tokens" if missing else ""

    def needs(self, *groups: GroupName) -> str:
        """What is missing for a statement about how groups moved."""
        return self.begins or self.long_enough or (self.has(*groups) if groups else "")

    def half_by(self) -> str:
        """By which step half of the growth had happened, in words."""
        found = self.summary["growth"].get("all", {}).get("half_step", {}).get(WHOLE)
        return "" if found is None else f", half of it by step {number_of(found):,.0f}"

    def against_live(self) -> str:
        """How the dead tokens' way compares with the live ones', in words; empty where there are none."""
        if self.has("live"):
            return ""
        dead, live = (float(np.median(self.tokens("net_displacement", group))) for group in ("dead", "live"))
        ratio = f", {dead / live:.3g} of what live tokens did" if live > 0 else ""
        return f"dead tokens moved by {dead:.3g}{ratio} (medians)"
