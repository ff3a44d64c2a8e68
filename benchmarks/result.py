"""What a benchmark found: a table, ratios with what they have to reach, and every sample."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """One ratio, taken in every round of a run.

    Attributes:
        what: is compared, in words.
        rounds: the ratio of each round.
        must: a bound, such as ``<= 2`` or ``>= 12``; empty where there is none.
        aim: the bound that is hoped for.
    """

    what: str
    rounds: tuple[float, ...]
    must: str = ""
    aim: str = ""

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.rounds)

    def reaches(self, bound: str) -> bool | None:
        """Whether the median keeps a bound; None where there is none."""
        if not bound:
            return None
        sign, number = bound.split()
        return self.median <= float(number) if sign == "<=" else self.median >= float(number)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "what": self.what,
            "median": self.median,
            "min": min(self.rounds),
            "max": max(self.rounds),
            "rounds": list(self.rounds),
            "must": self.must,
            "must_reached": self.reaches(self.must),
            "aim": self.aim,
            "aim_reached": self.reaches(self.aim),
        }


@dataclass
class Result:
    """One part of the benchmarks.

    Attributes:
        title: of the part.
        about: what was done, in a sentence or two.
        columns: of the table.
        rows: of the table, as text.
        ratios: between rows.
        samples: raw, by name; seconds unless the name says otherwise.
        skipped: what could not be measured, and why.
    """

    title: str
    about: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "title": self.title,
            "about": self.about,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "ratios": [ratio.to_json() for ratio in self.ratios],
            "samples": self.samples,
            "skipped": self.skipped,
        }


def ratios(over: Iterable[float], under: Iterable[float]) -> tuple[float, ...]:
    """Round by round."""
    return tuple(a / b for a, b in zip(over, under, strict=True))


def percentile(samples: Sequence[float], percent: float) -> float:
    """Of samples in any order."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def medians(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each list."""
    return {name: statistics.median(values) for name, values in samples.items()}


def duration(seconds: float) -> str:
    """Three digits, in the unit that fits."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, size = next((known for known in units if seconds >= known[1]), units[-1])
    value = seconds / size
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
