"""A verdict: what was predicted, what was measured, and whether the one agrees with the other."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from embevo.analysis.json_numbers import to_plain

Hypothesis = Literal["normal", "singular"]
Outcome = Literal["supported", "refuted", "undecided"]


@dataclass(frozen=True)
class Check:
    """One comparison of a statistic with a region.

    Attributes:
        statistic: what is measured, in words.
        value: of the statistic; NaN where it cannot be measured.
        low: lower end of its 95 % interval; NaN where there is none.
        high: upper end.
        region: from where to where the prediction expects it, ends included.
        reason: why the region is what it is.
        interval_by: how the interval was found; empty where there is none.
        needs: what is missing for a decision; empty if nothing is.
    """

    statistic: str
    value: float
    region: tuple[float, float]
    reason: str
    low: float = math.nan
    high: float = math.nan
    interval_by: str = ""
    needs: str = ""

    @property
    def outcome(self) -> Outcome:
        """Supported if the interval lies in the region, refuted if it lies outside, undecided if in both.

        Without an interval the value alone decides.
        """
        if self.needs or math.isnan(self.value):
            return "undecided"
        low, high = (self.low, self.high) if self.interval_by else (self.value, self.value)
        if math.isnan(low) or math.isnan(high):
            return "undecided"
        if self.region[0] <= low and high <= self.region[1]:
            return "supported"
        return "refuted" if high < self.region[0] or low > self.region[1] else "undecided"

    @property
    def threshold(self) -> str:
        """The region in words."""
        low, high = self.region
        if low == high:
            return f"= {low:g}"
        if math.isinf(high):
            return f">= {low:g}" if low > 1e-300 else "> 0"
        if math.isinf(low):
            return f"<= {high:g}"
        return f"{low:g} to {high:g}"

    @property
    def uncertainty(self) -> str:
        """The interval of the value in words; empty where there is none."""
        if not self.interval_by or math.isnan(self.low):
            return ""
        return f"interval {self.low:.4g} to {self.high:.4g} ({self.interval_by})"

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if self.outcome == "undecided" and (self.needs or math.isnan(self.value)):
            return f"{self.statistic}: {self.needs or 'cannot be measured'}"
        interval = f" ({self.low:.4g} to {self.high:.4g})" if self.uncertainty else ""
        return f"{self.statistic} is {self.value:.4g}{interval}; predicted {self.threshold}"


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
        found = [check.outcome for check in self.checks]
        if "refuted" in found:
            return "refuted"
        return "undecided" if "undecided" in found else "supported"

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
            "explanation": self.explanation,
            "checks": [
                {**to_plain(dataclasses.asdict(check)), "outcome": check.outcome} for check in self.checks
            ],
        }
