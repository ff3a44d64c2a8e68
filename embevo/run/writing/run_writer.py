"""Taking a run up again."""

import numpy as np

from embevo.run.disk.checksum import checksum
from embevo.run.journal.ring import Frame, Journal
from embevo.run.reading.reader import Run


def refill(journal: Journal, run: Run, rows: list[int]) -> None:
    """Put sealed rows of a short last block back into the ring, so that the block can be taken up again."""
    for row, (step, image) in zip(rows, run.images(rows), strict=True):
        scalars = np.array([run[name][row] for name in run.frame.scalars])
        journal.put(Frame(row, step, scalars, image, checksum(image.data)))
