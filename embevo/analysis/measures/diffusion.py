"""How far tokens and centroids get in a given time, and how long they keep their direction."""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block, of_group
from embevo.analysis.measures.exponent import fit_exponent
from embevo.analysis.measures.groups import Groups
from embevo.analysis.measures.lagged import LagSums
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole
from embevo.analysis.measures.outline import Outline

# What the lagged differences may keep in memory; a larger vocabulary is sampled for them.
_LAG_BYTES: Final = 128 << 20
_SQUARE: Final = "embedding units^2"


class Diffusion(Measure):
    """Mean squared displacement and velocity autocorrelation against lag."""

    section = "Motion"
    variables = (
        Variable("lag", ("lag",), "lag", "steps", "the lags below, in steps", "the run"),
        Variable(
            "msd_tokens",
            ("lag", "group"),
            "mean squared displacement of tokens",
            _SQUARE,
            r"mean over origins t and tokens of G of \|x(t+l) - x(t)\|²",
            "pairs of rows",
        ),
        Variable(
            "msd_centroid",
            ("lag", "group"),
            "mean squared displacement of the centroid",
            _SQUARE,
            r"mean over origins of \|c(t+l) - c(t)\|²",
            "pairs of rows",
        ),
        Variable(
            "vacf",
            ("lag", "group"),
            "velocity autocorrelation of tokens",
            "1",
            r"mean of v(t+l) . v(t) over mean of (\|v(t+l)\|² + \|v(t)\|²) / 2, over origins and tokens of G",
            "pairs of rows",
        ),
        Variable(
            "vacf_centroid",
            ("lag", "group"),
            "velocity autocorrelation of the centroid",
            "1",
            "`vacf` of the centroid's displacements",
            "pairs of rows",
        ),
        Variable(
            "lag_origins",
            ("lag",),
            "pairs of rows at this lag",
            "1",
            "how many pairs of rows are that far apart",
            "pairs of rows",
        ),
    )
    numbers = (
        Number("exponents.centroid", "exponent of the centroid's mean squared displacement", "1"),
        Number("exponents.tokens", "exponent of tokens' mean squared displacement", "1"),
        Number("lag_tokens", "tokens that lagged differences are taken of", "tokens"),
    )

    def __init__(self, outline: Outline, start: int = 0) -> None:
        super().__init__(outline, start)
        self._sampled = _sampled(outline)
        # Where the groups are among the sampled ids, which are what the sums will see.
        places = [np.searchsorted(self._sampled.together, ids) for ids in self._sampled.ids]
        since = outline.since_gap(start) if start < outline.rows else 0
        self._tokens = LagSums(outline.rows, places, since, compiled=outline.compiled)

    def take(self, block: Block) -> None:
        """Hand the rows on, in stretches without gaps."""
        ids = self._sampled.together
        values = of_group(block.extended, ids)
        begin = 0
        follows = self.outline.follows[block.start : block.stop]
        for end in (*np.flatnonzero(~follows).tolist(), len(block.values)):
            if end > begin:
                self._tokens.add(values[begin : end + 1], block.start + begin)
            if end < len(block.values):
                self._tokens.restart()
            begin = end

    def merge(self, later: Self) -> None:
        """Add the sums, and the pairs of a row of this stretch and one of the other."""
        super().merge(later)
        self._tokens.merge(later._tokens)

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """The curves of the tokens, and those of the centroids, whose way is known by now."""
        self._centroid = self._sums_of(whole.arrays["centroid"])
        self._tokens.settle()
        return {
            **super().finish(whole),
            "lag": self._tokens.lags * self.outline.stride,
            "msd_tokens": self._tokens.msd,
            "msd_centroid": self._centroid.msd,
            "vacf": self._tokens.vacf,
            "vacf_centroid": self._centroid.vacf,
            "lag_origins": self._tokens.origins.sum(axis=0),
        }

    def _sums_of(self, centroid: NDArray[np.float64]) -> LagSums:
        """Lagged differences of the centroids ``(step, group, dim)``, each group's as a token of its own."""
        rows = len(centroid)
        groups = [np.array([group]) for group in range(centroid.shape[1])]
        sums = LagSums(rows, groups, compiled=self.outline.compiled)
        values = np.concatenate([centroid[:1], centroid])
        starts = [0, *np.flatnonzero(~self.outline.follows).tolist(), rows]
        for start, stop in pairwise(starts):
            sums.restart()
            for first in range(start, stop, 1024):
                last = min(first + 1024, stop)
                sums.add(values[first : last + 1], first)
        sums.settle()
        return sums

    def tell(self) -> Mapping[str, Any]:
        """The exponents of the curves."""
        steps = self.outline.steps
        span = float(steps[-1] - steps[0])
        exponents = {
            what: {
                name: dataclasses.asdict(
                    fit_exponent(
                        self.whole.arrays["lag"],
                        sums.squares[:, :, group],
                        sums.origins,
                        min_lag=self.outline.min_lag,
                        max_lag=self.outline.max_share * span,
                    )
                )
                for group, name in enumerate(self.outline.groups.names)
            }
            for what, sums in (("centroid", self._centroid), ("tokens", self._tokens))
        }
        return {"exponents": exponents, "lag_tokens": len(self._sampled.ids[0])}


def _sampled(outline: Outline) -> Groups:
    """The tokens over which lagged differences are averaged."""
    levels = max(1, int(np.ceil(np.log2(max(outline.rows, 2)))) - 4)
    # Sixty-four rows of positions and velocities a level, in float64.
    bytes_a_token = levels * 64 * outline.dim * 16
    return outline.groups.sampled(max(1, min(outline.tokens, _LAG_BYTES // bytes_a_token)))
