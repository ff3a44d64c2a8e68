"""The scalars of a step: given with the capture, or logged before it; by value, whatever they are."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Final, SupportsFloat

from torch import Tensor

from embevo.errors import ArgumentError, RecordingWarning
from embevo.recording.numbers import number_of, shown

Scalar = SupportsFloat | Sequence[SupportsFloat] | None
_NAN: Final = math.nan
# What capture calls the second scalar of every frame, whose name is learning_rate.
_SHORT: Final = {"learning_rate": "lr"}


class Scalars:
    """Takes the values of the scalars of a frame, in its order.

    Attributes:
        logged: values for the coming step, by name; what is on a device stays there.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Read scalars of these names, as the frame has them."""
        # As capture calls them.
        self._names = tuple(_SHORT.get(name, name) for name in names)
        self.logged: dict[str, Scalar] = {}
        # Those of which it was said already that they cannot be read.
        self._unread: set[str] = set()

    def forget(self) -> None:
        """Drop what was logged: its step is not recorded."""
        self.logged.clear()

    def log(self, values: Mapping[str, Scalar]) -> None:
        """Keep values for the coming step; one on a device is copied there, so that it may change afterwards.

        Raises:
            ArgumentError: the run has no scalar of a name.
        """
        named = {_SHORT.get(name, name): value for name, value in values.items()}
        self._check_names(named)
        for name, value in named.items():
            if isinstance(value, Tensor) and _crosses(value):
                self.logged[name] = value.detach().clone()
            else:
                self.logged[name] = self.number(name, value)

    def _check_names(self, values: Mapping[str, Scalar]) -> None:
        unknown = sorted(values.keys() - set(self._names))
        if unknown:
            raise ArgumentError(
                f"no scalar {', '.join(unknown)}: the recorder was made with scalars={self._names[2:]}; name "
                "there every scalar that is to be recorded"
            )

    def take(
        self, loss: Scalar, lr: Scalar, others: Mapping[str, Scalar], *, crossing: bool
    ) -> tuple[tuple[float, ...], dict[int, Tensor]]:
        """The scalars of the step that is captured now.

        Args:
            loss: given with the capture; NaN if it was not.
            lr: likewise.
            others: likewise, by name.
            crossing: leave tensors of one element on their device where they are.

        Returns:
            All scalars as float64, and by their place those that are still on a device, which are NaN in the
            first.
        """
        self._check_names(others)
        with_capture = {name: value for name, value in (("loss", loss), ("lr", lr)) if value is not _NAN}
        given: dict[str, Scalar] = dict.fromkeys(self._names, _NAN)
        given.update(self.logged)
        given.update(others)
        given.update(with_capture)
        self.logged.clear()
        waiting = {
            place: value
            for place, value in enumerate(given.values())
            if crossing and isinstance(value, Tensor) and _crosses(value)
        }
        values = tuple(
            _NAN if place in waiting else self.number(name, value)
            for place, (name, value) in enumerate(given.items())
        )
        return values, waiting

    def number(self, name: str, value: Scalar) -> float:
        """A scalar as float64; NaN, and the first time a warning, where it cannot be read."""
        found = number_of(value)
        if found is None:
            if name not in self._unread:
                self._unread.add(name)
                warnings.warn(
                    f"{name} is {shown(value)}, which is not one number: NaN is recorded for it, now and "
                    "whenever it cannot be read. Pass a number or a tensor of one element.",
                    RecordingWarning,
                    stacklevel=4,
                )
            return _NAN
        return found


def _crosses(value: Tensor) -> bool:
    return value.device.type != "cpu" and value.numel() == 1
