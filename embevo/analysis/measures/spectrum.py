"""How wide the cloud of all tokens is along its own principal components, at some steps."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.components import Components
from embevo.analysis.measures.grid import spaced_rows
from embevo.analysis.measures.measure import Measure, Variable, Whole

_SPECTRA: Final = 16


class Spectrum(Measure):
    """The spectra of the first row, the last, and some between, evenly spaced in the logarithm."""

    section = "Geometry"
    variables = (
        Variable(
            "spectrum_step",
            ("spectrum_step",),
            "step of a spectrum",
            "steps",
            "global steps of the rows that have a spectrum",
            "the run",
        ),
        Variable(
            "spectrum",
            ("spectrum_step", "component"),
            "variance along the step's own components",
            "embedding units^2",
            "variances along the principal components of all tokens of that row, widest first: eigenvalues "
            "of mean (x - c)(x - c)'. They add up to the squared `radius_rms`, where all are kept",
            "each row",
        ),
    )

    def take(self, block: Block) -> None:
        """The spectra of those rows that have one."""
        chosen = spectrum_rows(self.outline.rows)
        for row in chosen[(chosen >= block.start) & (chosen < block.stop)]:
            self.keep(spectrum=Components.of(block.points[row - block.start]).variance[None])

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """All spectra, and their steps."""
        steps = self.outline.steps[spectrum_rows(self.outline.rows)]
        return {"spectrum_step": steps, **super().finish(whole)}


def spectrum_rows(rows: int) -> NDArray[np.int64]:
    """Rows whose spectrum is taken."""
    return spaced_rows(rows, _SPECTRA)
