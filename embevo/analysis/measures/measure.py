"""What a measure is: variables that it declares, and how it gets them from blocks of rows.

A measure is made for a stretch of consecutive rows, takes its blocks in order, can be merged with that of
the stretch that follows, and gives its arrays when all rows of the run were seen. It holds nothing but
numbers, so stretches can be measured in other threads or processes and merged in order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.groups import GroupName, Groups
from embevo.analysis.measures.kept import Kept
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.workers import Workers

# Of what of a run a variable is made.
Source = Literal[
    "each row",
    "each row and the one before",
    "first and last row",
    "last row or all rows",
    "pairs of rows",
    "the run",
]


@dataclass(frozen=True)
class Told:
    """How tables show a variable over ``(step, group)``.

    Attributes:
        change: its first and last value; otherwise the last alone.
        groups: those that the report has a line for; the console has a column for each group.
    """

    change: bool = True
    groups: tuple[GroupName, ...] = ("all",)


@dataclass(frozen=True)
class Variable:
    """One array of the series.

    Attributes:
        name: in the dataset.
        dimensions: its axes; a variable over itself alone is a coordinate.
        label: what tables call it.
        unit: of its numbers, ``1`` for a pure number and empty for words.
        definition: formula or rule, in Markdown, for docs/analysis.md.
        source: of what of a run it is made.
        told: how tables show it; None for not at all.
    """

    name: str
    dimensions: tuple[str, ...]
    label: str
    unit: str
    definition: str
    source: Source
    told: Told | None = None


@dataclass(frozen=True)
class Number:
    """One number of the summary, or several in a dict.

    Attributes:
        name: in the summary.
        label: what tables call it.
        unit: of its number.
    """

    name: str
    label: str
    unit: str


def unheard(done: int, of: int) -> None:
    """Tell nobody how much is done."""


@dataclass(frozen=True, eq=False)
class Whole:
    """What is known when all rows of a run were seen.

    Attributes:
        first: ``(token, dim)`` values of the first row.
        last: of the last.
        snapshots: ``(measured_step, token, dim)`` values of the measured rows, of the tokens that are kept.
        arrays: what the measures have given so far, in the order of the list, by name of the variable.
        workers: threads that help.
        on_walks: is told how many steps of random walks were made, and how many will be.
    """

    first: NDArray[Any]
    last: NDArray[Any]
    snapshots: NDArray[Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    workers: Workers = field(default_factory=lambda: Workers(1))
    on_walks: Callable[[int, int], None] = unheard


class Measure(ABC):
    """Measures one stretch of rows. Arrays over steps are kept by :meth:`keep`, anything else by a subclass.

    Attributes:
        section: heading in docs/analysis.md under which its variables stand.
        variables: what it gives.
        numbers: what it adds to the summary.
        outline: of the whole matrix.
        start: number of the first row of the stretch.
        whole: what is known of the whole run, from :meth:`finish` on.
    """

    section: ClassVar[str]
    variables: ClassVar[tuple[Variable, ...]]
    numbers: ClassVar[tuple[Number, ...]] = ()
    whole: Whole

    def __init__(self, outline: Outline, start: int = 0) -> None:
        """Expect rows ``start``, ``start + 1``, ... of a matrix."""
        self.outline = outline
        self.start = start
        self._kept: dict[str, Kept] = {}

    @classmethod
    def called(cls) -> str:
        """The name by which it is chosen: that of its file."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def applies(cls, outline: Outline) -> bool:  # noqa: ARG003 - it is what others look at
        """Whether a run holds what this measures; if not, there is none of its variables."""
        return True

    @abstractmethod
    def take(self, block: Block) -> None:
        """Measure the rows of a block, which come right after those of the block before."""

    def merge(self, later: Self) -> None:
        """Take over what was measured of the stretch that comes right after this one."""
        every_row = {variable.name for variable in self.variables if variable.dimensions[:1] == ("step",)}
        for name in list(later._kept):
            rows = self.outline.rows if name in every_row else 0
            self._kept.setdefault(name, Kept()).take_over(later._kept.pop(name), rows)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """Its arrays, by name of the variable. What was kept of single blocks is given up."""
        self.whole = whole
        return {name: self._kept.pop(name).taken() for name in list(self._kept)}

    def tell(self) -> Mapping[str, Any]:
        """Its numbers, by name, once all measures have given their arrays."""
        return {}

    def keep(self, **arrays: NDArray[Any]) -> None:
        """Keep arrays over the steps of a block, by name of the variable."""
        for name, array in arrays.items():
            self._kept.setdefault(name, Kept()).append(array)

    def at_measured(
        self, block: Block, value: Callable[[int, int], float], groups: Groups | None = None
    ) -> NDArray[np.float64]:
        """``(measured_step, group)`` of the measured rows of a block; NaN for groups without tokens.

        Args:
            block: the rows.
            value: of the place of a row in the block, and the number of a group.
            groups: whose tokens are looked at; by default all of each.
        """
        places = block.measured
        found = self.by_group(len(places))
        for group, ids in enumerate((groups or self.outline.groups).ids):
            for number, place in enumerate(places if len(ids) else ()):
                found[number, group] = value(place, group)
        return found

    def by_group(self, rows: int, *shape: int) -> NDArray[np.float64]:
        """``(step, group, ...)`` NaN, to be filled in."""
        return np.full((rows, len(self.outline.groups.ids), *shape), np.nan)
