"""The rows that every process of a training has captured, and that the whole run does not have yet."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embevo.errors import NotARunError
from embevo.run.disk.checksum import checksum
from embevo.run.format.belonging import check_belongs
from embevo.run.format.layout import Layout
from embevo.run.format.shards import Shards
from embevo.run.format.steps import describe
from embevo.run.journal.ring import Frame
from embevo.run.paths import RunPaths

if TYPE_CHECKING:
    from embevo.run.reading.reader import Run


class RankTail:
    """The runs of the processes, in the place of the journal that the whole run does not have.

    Row r of the whole is row r of each of them; of the processes that are ahead, only what all have counts,
    and where they have recorded different steps, only what comes before these.

    Attributes:
        difference: what they have recorded differently, and from which row on; empty where nothing is.
    """

    def __init__(
        self, paths: RunPaths, layout: Layout, shards: Shards, opened: Callable[[str], "Run"]
    ) -> None:
        """Open them with the function given, when they are there."""
        self.difference = ""
        self._paths = paths
        self._frame = layout.frame
        self._id = layout.id
        self._shards = shards
        self._opened = opened
        self._runs: list[Run] = []
        self._stop = 0

    def refresh(self) -> None:
        """Take in the rows that were captured since.

        Raises:
            DamagedError: metadata, manifest or journal of one are not what was written, or it is not a piece
                of this run.
        """
        if not self._runs:
            try:
                runs = [self._opened(str(self._paths.rank(rank).root)) for rank in self._shards.ranks]
            except (NotARunError, FileNotFoundError):
                # Still being made, or never finished: then nothing was captured.
                return
            for rank, run in zip(self._shards.ranks, runs, strict=True):
                check_belongs(run.attributes, rank=rank, whole=self._id, path=run.path)
            self._runs = runs
        else:
            for run in self._runs:
                run.refresh()
        stop = min(len(run.steps) for run in self._runs)
        each = np.stack([run.steps[:stop] for run in self._runs])
        differs = np.flatnonzero((each != each[0]).any(axis=0))
        self._stop = int(differs[0]) if len(differs) else stop
        self.difference = self._said(each, self._stop) if len(differs) else ""

    def _said(self, each: NDArray[np.int64], row: int) -> str:
        other = int(np.flatnonzero(each[:, row] != each[0, row])[0])
        return (
            f"from row {row} on, rank {self._shards.lead} has captured steps "
            f"{describe(each[0, row:].tolist())}, rank {self._shards.ranks[other]} steps "
            f"{describe(each[other, row:].tolist())}. Only what all have captured is read; what each has is "
            f"in its run below {self._paths.ranks}"
        )

    def steps(self, rows: int) -> list[int]:
        """The steps of the rows behind the first ``rows``."""
        return [int(step) for step in self._runs[0].steps[rows : self._stop]] if self._runs else []

    def read(self, row: int) -> Frame | None:
        """A row, put together from the pieces of all; None where there is none."""
        if row >= self._stop:
            return None
        lead, frame = self._runs[0], self._runs[0].frame
        found = [next(iter(run.images([row]))) for run in self._runs]
        step = found[0][0]
        whole = self._whole([image for _, image in found])
        scalars = np.array([np.asarray(lead[name][row]) for name in frame.scalars], np.float64)
        return Frame(row, step, scalars, whole, checksum(whole.data))

    def _whole(self, images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        whole = self._frame.image(
            {name: np.zeros(spec.shape, spec.numpy_dtype) for name, spec in self._frame.arrays}
        )
        for rank, run, image in zip(self._shards.ranks, self._runs, images, strict=True):
            for name, piece in self._shards.of(rank).items():
                self._frame.matrix(whole, name)[piece.box] = run.frame.matrix(image, name)
        return whole
