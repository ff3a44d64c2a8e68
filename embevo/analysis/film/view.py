"""What a film shows of the tokens: their places, their motion magnified, or their displacement alone."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ArgumentError


@dataclass(frozen=True)
class View:
    """How places become the points of a picture.

    Attributes:
        magnify: times by which the way of each token from its first place is enlarged; 1 leaves it as it is.
        from_start: show that way alone, all tokens starting at the origin.
    """

    magnify: float = 1.0
    from_start: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.magnify) and self.magnify > 0):
            raise ArgumentError(f"motion cannot be magnified {self.magnify:g} times: give a positive number")
        if self.from_start and self.magnify != 1:
            raise ArgumentError(
                "displacements from the start fill the picture as they are: magnify motion or show it "
                "from the start, not both"
            )

    @property
    def in_place(self) -> bool:
        """Whether tokens are shown where they are."""
        return self.magnify == 1 and not self.from_start

    def of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(frame, token, 2)`` points of the pictures, of places likewise; the first frame is the start."""
        way = points - points[:1]
        if self.from_start:
            return way
        return points if self.magnify == 1 else points[:1] + self.magnify * way

    def words(self, first_step: int) -> str:
        """What a picture must say; empty where tokens are shown in their places."""
        if self.from_start:
            return f"displacement from step {first_step:,}"
        return (
            "" if self.magnify == 1 else f"motion since step {first_step:,} magnified {self.magnify:g} times"
        )


PLACES: Final = View()
