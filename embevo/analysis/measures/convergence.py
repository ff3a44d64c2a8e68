"""Do frequent tokens come to their place earlier? What is left of the way, by how often tokens occur."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.block import Block
from embevo.analysis.measures.geometry import norms
from embevo.analysis.measures.measure import Measure, Number, Variable, Whole
from embevo.analysis.measures.outline import Outline

DECILES: Final = 10
_CLOSE: Final = 0.1


class Convergence(Measure):
    """The distance to the last vector over that of the first, in deciles of the frequency."""

    section = "Similarity"
    variables = (
        Variable(
            "decile",
            ("decile",),
            "tenth of the live tokens, by how often they occur",
            "1",
            "1 to 10: tenths of the live tokens in ascending order of their counts, equal ones by id",
            "the run",
        ),
        Variable(
            "decile_count",
            ("decile",),
            "median count in a tenth of the tokens",
            "tokens",
            "median of `token_count` over the tokens of a decile",
            "the run",
        ),
        Variable(
            "way_left",
            ("measured_step", "decile"),
            "distance to the last vector over that of the first",
            "1",
            r"median over the tokens of a decile of \|x(t) - x(last)\| / \|x(first) - x(last)\|, of those "
            "that are not at the end where they began: 1 in the first row, 0 in the last; above 1 they went "
            "astray",
            "each row",
        ),
        Variable(
            "way_made",
            ("decile",),
            "measured step from which a tenth of the way is left",
            "steps",
            f"first measured step from which on `way_left` is at most {_CLOSE:g}; -1 where none of them "
            f"moved",
            "each row",
        ),
    )
    numbers = (
        Number("way_made_rare", "step from which a tenth of the way is left to the rarest", "steps"),
        Number(
            "way_made_frequent", "step from which a tenth of the way is left to the most frequent", "steps"
        ),
    )

    @classmethod
    def applies(cls, outline: Outline) -> bool:
        """Counts are known, and each tenth has two tokens at least."""
        return outline.token_count is not None and len(outline.kept["live"]) >= 2 * DECILES

    def take(self, block: Block) -> None:
        """The rows that are compared are kept by others."""

    def finish(self, whole: Whole) -> Mapping[str, NDArray[Any]]:
        """What is left of the way at all measured steps."""
        outline, rows = self.outline, whole.snapshots
        live = outline.kept["live"]
        counts = np.zeros(0, np.int64) if outline.token_count is None else outline.token_count[live]
        tenths = np.array_split(np.argsort(counts, kind="stable"), DECILES)
        places = outline.kept_places[outline.groups.names.index("live")]
        last = rows[-1][places].astype(np.float64)
        whole_way = norms(rows[0][places].astype(np.float64) - last)
        left = np.full((len(rows), DECILES), np.nan)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for number, row in enumerate(rows):
                share = norms(row[places].astype(np.float64) - last) / whole_way
                for decile, tenth in enumerate(tenths):
                    went = tenth[whole_way[tenth] != 0]
                    if len(went):
                        left[number, decile] = np.median(share[went])
        steps = outline.steps[outline.measured]
        far = ~(left <= _CLOSE)
        # The row after the last that is far; without any it is the first.
        near_from = np.where(far.any(axis=0), len(far) - far[::-1].argmax(axis=0), 0)
        return {
            **super().finish(whole),
            "decile": np.arange(1, DECILES + 1),
            "decile_count": np.array([np.median(counts[tenth]) for tenth in tenths]),
            "way_left": left,
            "way_made": np.append(steps, -1)[near_from],
        }

    def tell(self) -> Mapping[str, Any]:
        """The steps of both ends."""
        made = self.whole.arrays["way_made"].tolist()
        return {"way_made_rare": made[0], "way_made_frequent": made[-1]}
