"""null_distribution(): a number of the summary, of a run and of many surrogates of it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.json_numbers import to_plain
from embevo.analysis.measurement import Measurement, outline_of
from embevo.analysis.measures.registry import COSTLY, SIMULATED, USUAL
from embevo.analysis.nulls.kinds import Kind, surrogates_of
from embevo.analysis.nulls.measuring import bare, measured
from embevo.analysis.nulls.surrogates import check_seed, drawing
from embevo.analysis.nulls.trajectory import Trajectory
from embevo.analysis.reading import matrix_of
from embevo.analysis.series import build_series
from embevo.analysis.stretches import jobs_of, measure, single_threaded
from embevo.analysis.summary import summarize
from embevo.errors import AnalysisError, ArgumentError
from embevo.run.paths import PathLike
from embevo.run.reading.reader import Run, open_run

_SUGGESTED: Final = 12


@dataclass(frozen=True, eq=False)
class NullDistribution:
    """What chance makes of a number.

    Attributes:
        measure: which number of the summary.
        kind: of the surrogates.
        seed: of the surrogates.
        value: the run's own.
        values: ``(surrogate,)`` float64; NaN of a surrogate that has no such number.
    """

    measure: str
    kind: str
    seed: int
    value: float
    values: NDArray[np.float64]

    @property
    def below(self) -> int:
        """How many surrogates have a smaller number than the run: its rank, counted from 0."""
        return int((self.values < self.value).sum())

    @property
    def equal(self) -> int:
        """How many have the same one."""
        return int((self.values == self.value).sum())

    @property
    def known(self) -> int:
        """How many have a number at all."""
        return int(np.isfinite(self.values).sum())

    @property
    def p_low(self) -> float:
        """Probability, by chance, of a number as small as the run's or smaller.

        (1 + how many are) / (1 + how many there are): A. C. Davison, D. V. Hinkley, "Bootstrap Methods and
        their Application" (1997), section 4.2. It is never less than 1 / (1 + how many there are).
        """
        return (1 + self.below + self.equal) / (1 + self.known)

    @property
    def p_high(self) -> float:
        """Probability, by chance, of a number as large as the run's or larger; see :attr:`p_low`."""
        return (1 + self.known - self.below) / (1 + self.known)

    def quantiles(self, *shares: float) -> list[float]:
        """Quantiles of the surrogates' numbers; NaN where none has one."""
        known = self.values[np.isfinite(self.values)]
        return np.quantile(known, shares).tolist() if len(known) else [np.nan] * len(shares)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        plain: dict[str, Any] = to_plain(
            {
                **dataclasses.asdict(self),
                "below": self.below,
                "equal": self.equal,
                "known": self.known,
                "p_low": self.p_low,
                "p_high": self.p_high,
            }
        )
        return plain

    @classmethod
    def from_json(cls, data: Any) -> "NullDistribution":
        """The inverse of :meth:`to_json`.

        Raises:
            ArgumentError: the values are not such as ``embevo null --measure NAME --json`` prints.
        """
        try:
            values = np.array([np.nan if value is None else float(value) for value in data["values"]])
            found = cls(
                str(data["measure"]), str(data["kind"]), int(data["seed"]), float(data["value"]), values
            )
            told = int(data["below"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"this is not what embevo null --measure NAME --json prints: {error!r}"
            ) from error
        if not found.known or found.below != told:
            raise ArgumentError("this is no null distribution: its counts are not those of its numbers")
        return found


def numbers_of(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """All numbers of a summary by name, whose parts are joined by dots; None where there is no value."""
    return dict(_flat(summary, ""))


def null_distribution(
    run: Run | PathLike,
    measure_name: str,
    kind: Kind,
    count: int,
    seed: int = 0,
    *,
    matrix: str | None = None,
    optimizer: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> NullDistribution:
    """Measure a run and surrogates of it in memory, one after the other; nothing is written.

    Args:
        run: the run, or where it lies.
        measure_name: a number of the summary, its parts joined by dots: ``exponents.centroid.all.value``,
            ``groups.live.radius_rms_last``.
        kind: as for :func:`surrogates`.
        count: how many surrogates.
        seed: likewise.
        matrix: which matrix; by default the embeddings, or the run's first one.
        optimizer: as for :func:`surrogates`.
        jobs: how many are measured at once; by default as many as there are cores. The numbers do not depend
            on it.
        on_rows: called after each surrogate with how many are done, of how many.

    Raises:
        ArgumentError: there is no such number or kind, or a count is less than 1.
        AnalysisError: the run does not hold what the kind needs, or has no such number.
    """
    if count < 1:
        raise ArgumentError(f"count={count}: how many surrogates to measure is at least 1")
    check_seed(seed)
    threads = jobs_of(jobs)
    opened = run if isinstance(run, Run) else open_run(run)
    of = Trajectory(opened, matrix_of(opened, matrix))
    outline = dataclasses.replace(
        outline_of(opened, of.name, measures=_wanted(measure_name)), without=_unneeded(measure_name)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        own = _number(measure(opened, of.name, None, outline, threads), of.name, measure_name)
    if own is None:
        raise AnalysisError(f"{opened.path} has no number {measure_name}: nothing can be set against chance")
    makes = surrogates_of(of, kind, optimizer)
    outline = bare(outline)

    def one(index: int) -> float:
        with np.errstate(invalid="ignore", over="ignore"):
            found = _number(measured(outline, of, makes, drawing(seed, index)), of.name, measure_name)
        return np.nan if found is None else found

    values = np.empty(count)
    with single_threaded(), ThreadPoolExecutor(threads, "embevo-null") as pool:
        for index, value in enumerate(pool.map(one, range(count))):
            values[index] = value
            if on_rows is not None:
                on_rows(index + 1, count)
    return NullDistribution(measure_name, kind, seed, own, values)


def _wanted(name: str) -> tuple[str, ...]:
    """The measures to take beside those that always are, so that a number is among the summary's."""
    parts = {part.removesuffix(end) for part in name.split(".") for end in ("", "_first", "_last")}
    return tuple(
        of.called()
        for of in (*USUAL, *COSTLY)
        if any(variable.name in parts for variable in of.variables)
        or any(f"{name}.".startswith(f"{number.name}.") for number in of.numbers)
    )


def _unneeded(name: str) -> tuple[str, ...]:
    """The measures that simulate chance, but for one that has the number."""
    return tuple(
        of.called()
        for of in SIMULATED
        if not any(f"{name}.".startswith(f"{number.name}.") for number in of.numbers)
    )


def _number(found: Measurement, matrix: str, name: str) -> float | None:
    """A number of the summary; None where it has no value.

    Raises:
        ArgumentError: the summary has no such number.
    """
    numbers = numbers_of(summarize(found, build_series(found, matrix)))
    if name not in numbers:
        like = get_close_matches(name, numbers, _SUGGESTED, 0.3) or list(numbers)[:_SUGGESTED]
        raise ArgumentError(f"the summary has no number {name!r}; it has, for example, {', '.join(like)}")
    return numbers[name]


def _flat(summary: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float | None]]:
    for name, value in summary.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield f"{prefix}{name}", None if value is None else float(value)
