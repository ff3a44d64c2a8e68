"""A verdict: what was predicted, what was measured, and whether the one agrees with the other."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from embevo.analysis.json_numbers import to_plain

Hypothesis = Literal["normal", "singular"]
Outcome = Literal["supported", "refuted", "undecided"]
# Where a value must lie beside its region: anywhere; above the band of the null; below it; in it; or, to
# refute, out of it.
Expects = Literal["", "above", "below", "inside", "beyond"]
_WHOLE: Final = "the whole run"


@dataclass(frozen=True)
class Reading:
    """A statistic at one place of a run, beside what the null makes of it.

    Attributes:
        where: of what piece of the run it is, in words.
        value: as measured; NaN where it cannot be.
        null_low: lower end of the band in which it lies where the null is true; NaN where there is none.
        null_high: upper end.
    """

    where: str
    value: float
    null_low: float = math.nan
    null_high: float = math.nan


@dataclass(frozen=True)
class Check:
    """One comparison of a statistic with a region, and with a null.

    Attributes:
        statistic: what is measured, in words.
        value: of the statistic; NaN where it cannot be measured.
        region: from where to where the prediction expects it, ends included.
        reason: why the region is what it is.
        null: what the null is, in words; empty where there is none.
        null_low: lower end of the band in which the value lies where the null is true.
        null_high: upper end.
        expects: where the prediction expects the value beside that band.
        widest: half of the width up to which a band tells what is predicted from what is not.
        where: of what piece of the run the value is.
        again: the same of other pieces of the run: a decision must hold of them, too.
        low: lower end of an interval; NaN where there is none. Of one run there is none: its tokens are the
            whole vocabulary, and its steps are one path.
        high: upper end.
        interval_by: what the interval is over, and how it was found; empty where there is none.
        needs: what is missing for a decision; empty if nothing is.
        decided: what single runs decided together; None where the value decides.
        each: how often single runs decided what, in words, where they do not agree.
    """

    statistic: str
    value: float
    region: tuple[float, float]
    reason: str
    null: str = ""
    null_low: float = math.nan
    null_high: float = math.nan
    expects: Expects = ""
    widest: float = math.inf
    where: str = _WHOLE
    again: tuple[Reading, ...] = ()
    low: float = math.nan
    high: float = math.nan
    interval_by: str = ""
    needs: str = ""
    decided: Outcome | None = None
    each: str = ""

    @property
    def readings(self) -> tuple[Reading, ...]:
        """All of them, that of the value first; of the others those that could be measured."""
        first = Reading(self.where, self.value, self.null_low, self.null_high)
        return (first, *(reading for reading in self.again if not math.isnan(reading.value)))

    def decide(self, reading: Reading) -> Outcome:
        """What one reading by itself decides.

        Without a null, whether the value lies in the region. With one, where the prediction expects the value

        - ``above`` or ``below`` the band: supported in the region and beyond the band; refuted out of the
          region, unless it is in a band that reaches into the region and cannot tell;
        - ``inside``: supported in a band that is narrow enough, refuted out of the band and the region;
        - ``beyond`` what is predicted: supported in the region, refuted out of it and above the band.
        """
        value, low, high = reading.value, reading.null_low, reading.null_high
        if math.isnan(value) or (self.expects and math.isnan(low)):
            return "undecided"
        inside, within = self.region[0] <= value <= self.region[1], low <= value <= high
        found: Outcome = "supported" if inside else "refuted"
        if self.expects == "inside":
            if within:
                found = "supported" if (high - low) / 2 <= self.widest else "undecided"
            elif inside:
                found = "undecided"
        elif self.expects == "beyond":
            if not inside and value <= high:
                found = "undecided"
        elif self.expects and inside:
            found = "supported" if (value > high if self.expects == "above" else value < low) else "undecided"
        elif self.expects and within and low <= self.region[1] and high >= self.region[0]:
            # The null reaches into the region, so that what it makes says nothing against the prediction.
            found = "undecided"
        return found

    @property
    def outcome(self) -> Outcome:
        """What all readings decide; undecided where they do not agree."""
        if self.needs or math.isnan(self.value):
            return "undecided"
        if self.decided is not None:
            return self.decided
        found = {self.decide(reading) for reading in self.readings}
        return found.pop() if len(found) == 1 else "undecided"

    def outcome_of(self, piece: str) -> Outcome:
        """What one piece of the run decides by itself; where it is not asked, the first that is."""
        if self.needs or self.decided is not None:
            return self.outcome
        return self.decide(next((of for of in self.readings if of.where == piece), self.readings[0]))

    @property
    def survival(self) -> str:
        """What is decided where, in words; empty where all readings decide alike, or all runs."""
        if self.needs or math.isnan(self.value) or self.decided is not None:
            return self.each
        found: dict[Outcome, list[str]] = {}
        for reading in self.readings:
            found.setdefault(self.decide(reading), []).append(reading.where)
        if len(found) == 1:
            return ""
        return "; ".join(f"{outcome} for {listed(places)}" for outcome, places in found.items())

    @property
    def threshold(self) -> str:
        """The region in words."""
        low, high = self.region
        if low == high:
            return f"= {low:g}"
        if math.isinf(high):
            return f">= {low:g}"
        if math.isinf(low):
            return f"<= {high:g}"
        return f"{low:g} to {high:g}"

    @property
    def uncertainty(self) -> str:
        """The interval of the value in words; empty where there is none."""
        if not self.interval_by or math.isnan(self.low):
            return ""
        return f"{self.low:.4g} to {self.high:.4g} ({self.interval_by})"

    @property
    def beside(self) -> str:
        """The band of the null in words; empty where there is none."""
        if not self.null or math.isnan(self.null_low):
            return ""
        return f"{self.null_low:.4g} to {self.null_high:.4g} ({self.null})"

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if self.outcome == "undecided" and (self.needs or math.isnan(self.value)):
            return f"{self.statistic}: {self.needs or 'cannot be measured'}"
        interval = f" ({self.low:.4g} to {self.high:.4g})" if self.uncertainty else ""
        beside = f", {self.null_low:.4g} to {self.null_high:.4g} under the null" if self.beside else ""
        said = f"{self.statistic} is {self.value:.4g}{interval}{beside}; predicted {self.threshold}"
        return f"{said}; {self.survival}" if self.survival else said


@dataclass(frozen=True)
class Verdict:
    """On one prediction. A prediction of several parts is refuted by any of them, and supported by all.

    Attributes:
        id: N1..N4 or S1..S5.
        hypothesis: which of the two.
        prediction: what was foreseen, in short.
        checks: the parts.
        effect: how large the effect is, in words.
    """

    id: str
    hypothesis: Hypothesis
    prediction: str
    checks: tuple[Check, ...]
    effect: str = ""

    @property
    def outcome(self) -> Outcome:
        """Whether the prediction as a whole is supported, refuted or undecided."""
        return _of_parts([check.outcome for check in self.checks])

    def outcome_of(self, piece: str) -> Outcome | None:
        """What the prediction would be by one piece of the run alone; None where no part is asked of it.

        Parts that are not asked of the piece have the outcome of the first that they are asked of.
        """
        if not any(of.where == piece for check in self.checks for of in check.readings):
            return None
        return _of_parts([check.outcome_of(piece) for check in self.checks])

    @property
    def deciding(self) -> Check:
        """The part that the outcome is due to: the first refuted, else undecided, else the first."""
        return next(check for check in self.checks if check.outcome == self.outcome)

    @property
    def statistic(self) -> str:
        """What is measured, in words, in the part that decides."""
        return self.deciding.statistic

    @property
    def value(self) -> float:
        """What was measured in the part that decides; NaN where nothing could be."""
        return self.deciding.value

    @property
    def threshold(self) -> str:
        """The region in which the prediction expects the value of the part that decides, in words."""
        return self.deciding.threshold

    @property
    def reason(self) -> str:
        """Why the region of the part that decides is what it is."""
        return self.deciding.reason

    @property
    def uncertainty(self) -> str:
        """The interval of the part that decides, in words; empty where there is none."""
        return self.deciding.uncertainty

    @property
    def survival(self) -> str:
        """What the part that decides says of pieces of the run, where it does not say one thing of all."""
        return self.deciding.survival

    @property
    def explanation(self) -> str:
        """One sentence: every part, and what follows."""
        parts = "; ".join(f"{check.sentence} ({check.outcome})" for check in self.checks)
        return f"{self.outcome.capitalize()}: {parts}."

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON values; the derived fields are there for readers of the file."""
        return {
            "id": self.id,
            "hypothesis": self.hypothesis,
            "prediction": self.prediction,
            "outcome": self.outcome,
            "statistic": self.statistic,
            "value": to_plain(self.value),
            "threshold": self.threshold,
            "reason": self.reason,
            "effect": self.effect,
            "uncertainty": self.uncertainty,
            "survival": self.survival,
            "explanation": self.explanation,
            "checks": [
                {
                    **to_plain(dataclasses.asdict(check)),
                    "outcome": check.outcome,
                    "survival": check.survival,
                }
                for check in self.checks
            ],
        }


def _of_parts(outcomes: Sequence[Outcome]) -> Outcome:
    if "refuted" in outcomes:
        return "refuted"
    return "undecided" if "undecided" in outcomes else "supported"


def counted(outcomes: Iterable[str]) -> str:
    """How often each outcome, in words."""
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(Counter(outcomes).items()))


def listed(words: Sequence[str]) -> str:
    """Words with commas, and an *and* before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
