"""One chart of the page: lines over the rows of a run."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# More rows than a chart has pixels are thinned out to so many, evenly; the page says so.
_MOST_ROWS: Final = 20_000


@dataclass(frozen=True, eq=False)
class Chart:
    """What is drawn in one.

    Attributes:
        name: of the variable.
        title: what people call it.
        unit: of its numbers; empty for pure ones.
        rows: ``(place,)`` the rows of the run that it has values for, ascending.
        lines: by group, or under "", ``(place,)`` values.
        of: how many rows the run has.
    """

    name: str
    title: str
    unit: str
    rows: NDArray[np.int64]
    lines: dict[str, NDArray[Any]]
    of: int

    @classmethod
    def of_all(cls, name: str, title: str, unit: str, lines: dict[str, NDArray[Any]]) -> "Chart":
        """One with a value for every row."""
        count = len(next(iter(lines.values())))
        return cls(name, title, unit, np.arange(count), lines, count)

    def head(self) -> dict[str, str]:
        """What it is, for a list of charts."""
        return {"name": self.name, "title": self.title, "unit": self.unit}

    def tell(self) -> dict[str, Any]:
        """What the page is sent; ``rows`` is None where every row of the run has a value."""
        count = len(self.rows)
        kept = np.unique(np.linspace(0, count - 1, min(count, _MOST_ROWS)).round().astype(np.int64))
        return {
            **self.head(),
            # Every row, from the first on, needs no list.
            "rows": None if len(kept) == self.of else self.rows[kept].tolist(),
            "thinned": len(kept) < count,
            "lines": {group: _plain(values[kept]) for group, values in self.lines.items()},
        }


def _plain(values: NDArray[Any]) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]
