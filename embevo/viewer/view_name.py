"""What a view of the cloud is called, in addresses and on the page, and what that name means."""

import re
from dataclasses import dataclass
from typing import Final, Literal, Self

from embevo.errors import ArgumentError

Kind = Literal["final", "all", "step", "raw", "sky-origin", "sky-centroid"]
_NAME: Final = re.compile(
    r"(?:of-(\d{1,3})-)?(final|all|raw|sky-origin|sky-centroid|step-(\d{1,18}))-(\d{1,6})-(\d{1,6})-(\d{1,6})"
)
_SKIES: Final = ("sky-origin", "sky-centroid")


@dataclass(frozen=True)
class ViewName:
    """Three axes through the space of a matrix.

    Attributes:
        kind: ``final``, ``all``, ``step``: principal components of the last step, of all steps together, of
            one step; ``raw``: the matrix's own dimensions; ``sky-origin``, ``sky-centroid``: directions, seen
            from the origin or from the centroid of all tokens at each step, along components of the last
            step, in the projection of Mollweide.
        axes: numbers of the components, or dimensions, from 0 on.
        step: of the components, for ``step``.
        of: number of the run whose components they are; None for the run's own.
    """

    kind: Kind
    axes: tuple[int, int, int]
    step: int | None = None
    of: int | None = None

    @classmethod
    def parse(cls, name: str) -> Self:
        """What a name means, such as ``final-0-1-2``, ``step-100-0-1-2`` or ``of-0-raw-4-5-6``.

        Raises:
            ArgumentError: it is none.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise ArgumentError(
                f"{name!r} is no view: final-0-1-2, all-0-1-2, step-100-0-1-2, raw-0-1-2, sky-origin-0-1-2 "
                "and sky-centroid-0-1-2 are, with any three components"
            )
        of = None if found[1] is None else int(found[1])
        axes = (int(found[4]), int(found[5]), int(found[6]))
        if found[3] is not None:
            return cls("step", axes, int(found[3]), of)
        kinds: dict[str, Kind] = {
            "final": "final", "all": "all", "raw": "raw",
            "sky-origin": "sky-origin", "sky-centroid": "sky-centroid",
        }  # fmt: skip
        return cls(kinds[found[2]], axes, None, of)

    def __str__(self) -> str:
        kind = self.kind if self.step is None else f"step-{self.step}"
        of = [] if self.of is None else [f"of-{self.of}"]
        return "-".join([*of, kind, *map(str, self.axes)])

    @property
    def is_sky(self) -> bool:
        """Whether it shows directions, and no places."""
        return self.kind in _SKIES
