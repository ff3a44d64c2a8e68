"""A run as it goes to other programs: its groups, names and the rows that were chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.groups import Groups
from embevo.run.exchange.exporting import select_steps
from embevo.viewer.opened import OpenedRun


@dataclass(frozen=True)
class Exported:
    """What is exported of one matrix.

    Attributes:
        opened: the run, of which the chosen rows alone are seen.
        ids: ``(token,)`` of its tokens.
        labels: ``(token,)`` their printable names.
        counts: ``(token,)`` how often they occur in the training data; None where that is not known.
        groups: names of groups to ``(member,)`` positions: the live and the dead, else all; then the user's.
    """

    opened: OpenedRun
    ids: NDArray[np.int64]
    labels: Sequence[str]
    counts: NDArray[np.int64] | None
    groups: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, path: Path, steps: slice, matrix: str | None = None) -> Self:
        """Open a run for an export of some of its step numbers.

        Raises:
            NotARunError: the path is not a run.
            AnalysisError: it has no steps, or no such matrix.
            ExportError: none of the steps was recorded.
            DamagedError: metadata, manifest or journal are not what was written.
        """
        opened = OpenedRun.of(path, path.absolute().name, matrix)
        with opened.reading() as run:
            opened.chosen = np.array(select_steps(run, steps), np.int64)
            ids, labels, known = run.frame.token_ids, run.token_names.labels, run.tokens
            own = {name: np.searchsorted(ids, members) for name, members in run.groups.items()}
        found = Groups.of(len(ids), known, own)
        named = dict(zip(found.names, found.ids, strict=True))
        everybody = named.pop("all")
        groups = {name: members for name, members in named.items() if len(members)}
        if not groups.keys() & {"live", "dead"}:
            groups = {"all": everybody, **groups}
        return cls(opened, ids, labels, None if known is None else known.count, groups)

    def words(self, token: int) -> str:
        """The groups of a token, with commas between."""
        return ", ".join(name for name, members in self.groups.items() if token in members)
