"""What was found of two recordings: series over steps, the first element that differs, and all the rest."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.differing.said import SettingDifference
from embevo.analysis.json_numbers import to_plain

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
SERIES: Final = {
    "distance": "Frobenius norm of the difference",
    "equal": "share of elements whose bits are equal",
    "cosine": "cosine of all elements as one vector",
    "rotated": "least Frobenius norm of the difference up to a rotation",
}


@dataclass(frozen=True)
class FirstDifference:
    """The first element that differs.

    Attributes:
        step: global step.
        place: where along each axis, by its name; of ``token`` its id.
        one: the first side's value and its bits, such as ``0.5 (0x3f000000)``.
        other: the second side's.
        ulps: how many representable numbers apart, in the dtype in which they are compared; None where one is
            not a number, or they are whole numbers.
        how: what there is to know of it: that they differ in the sign of zero, or as NaNs; else empty.
    """

    step: int
    place: Mapping[str, int]
    one: str
    other: str
    ulps: int | None
    how: str


@dataclass(frozen=True, eq=False)
class ArrayDifference:
    """Of one array.

    Attributes:
        name: in the first recording.
        other_name: in the second.
        dtypes: in which the two have it.
        shape: of what was compared at a step.
        distance: ``(step,)`` Frobenius norm of the difference; elements of equal bits are no distance apart.
        equal: ``(step,)`` share of the elements whose bits are equal.
        cosine: ``(step,)`` of all elements as one vector; NaN where one has no length or is not finite.
        rotated: ``(step,)`` least distance up to a rotation; None where it was not asked for.
        differing: how many elements differ, over all steps.
        zero_signs: of these, how many are +0 and -0.
        nan_payloads: of these, how many are NaN in both.
        first: the first that differs; None where all bits are equal.
    """

    name: str
    other_name: str
    dtypes: tuple[str, str]
    shape: tuple[int, ...]
    distance: Floats
    equal: Floats
    cosine: Floats
    rotated: Floats | None
    differing: int
    zero_signs: int
    nan_payloads: int
    first: FirstDifference | None

    @property
    def is_equal(self) -> bool:
        """Whether all bits are, at every step that both have."""
        return self.first is None

    def series(self) -> dict[str, Floats]:
        """What there is over steps, by name of :data:`SERIES`."""
        return {name: values for name in SERIES if (values := getattr(self, name)) is not None}


@dataclass(frozen=True, eq=False)
class Difference:
    """Where two recordings part.

    Attributes:
        one: where the first lies.
        other: where the second lies.
        kinds: what they are, in words.
        steps: ``(step,)`` int64 global steps that both have.
        arrays: each that was compared.
        settings: that differ.
        remarks: what they do not share, and what was taken for granted; whole sentences.
    """

    one: str
    other: str
    kinds: tuple[str, str]
    steps: NDArray[np.int64]
    arrays: tuple[ArrayDifference, ...]
    settings: tuple[SettingDifference, ...]
    remarks: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether every bit of what they share is equal."""
        return all(array.is_equal for array in self.arrays)

    @property
    def first(self) -> tuple[ArrayDifference, FirstDifference] | None:
        """The array that differs first, and where; None where all is equal. Of one step, in their order."""
        parted = [(array, array.first) for array in self.arrays if array.first is not None]
        return min(parted, key=lambda found: found[1].step) if parted else None

    def __getitem__(self, name: str) -> ArrayDifference:
        """The array of a name in the first recording; KeyError lists those compared."""
        for array in self.arrays:
            if array.name == name:
                return array
        raise KeyError(f"{name} was not compared; {', '.join(array.name for array in self.arrays)} were")

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values; null where there is no number."""
        arrays = [
            {
                "name": array.name,
                "other_name": array.other_name,
                "dtypes": array.dtypes,
                "shape": array.shape,
                "is_equal": array.is_equal,
                "differing": array.differing,
                "zero_signs": array.zero_signs,
                "nan_payloads": array.nan_payloads,
                "first": None if array.first is None else asdict(array.first),
                **array.series(),
            }
            for array in self.arrays
        ]
        plain: dict[str, Any] = to_plain(
            {
                "one": self.one,
                "other": self.other,
                "kinds": self.kinds,
                "is_equal": self.is_equal,
                "steps": self.steps,
                "arrays": arrays,
                "settings": [asdict(setting) for setting in self.settings],
                "remarks": self.remarks,
            }
        )
        return plain

    def to_xarray(self) -> "xr.Dataset":
        """The series over ``(array, step)``, with what each is; needs xarray."""
        import xarray as xr  # noqa: PLC0415 - most need no xarray

        nothing = np.full(len(self.steps), np.nan)
        kept = [name for name in SERIES if any(name in array.series() for array in self.arrays)]
        data = {
            name: (
                ("array", "step"),
                np.stack([array.series().get(name, nothing) for array in self.arrays]),
                {"long_name": SERIES[name]},
            )
            for name in kept
        }
        coordinates = {"array": [array.name for array in self.arrays], "step": self.steps}
        return xr.Dataset(data, coords=coordinates, attrs={"one": self.one, "other": self.other})

    def to_csv(self) -> str:
        """The series as a table: a line for each array and step, numbers to the last bit."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        kept = [name for name in SERIES if any(name in array.series() for array in self.arrays)]
        writer.writerow(["array", "step", *kept])
        for array in self.arrays:
            columns = [array.series().get(name) for name in kept]
            for row, step in enumerate(self.steps.tolist()):
                cells = ["" if column is None else repr(float(column[row])) for column in columns]
                writer.writerow([array.name, step, *cells])
        return file.getvalue()
