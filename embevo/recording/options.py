"""What a recorder can be asked for."""

from typing import Literal, get_args

from embevo.errors import ArgumentError
from embevo.run.format.layout import Store, ZarrDtype

WhenFull = Literal["block", "drop", "error"]
Durability = Literal["process", "power"]


def check_options(*, store: str, when_full: str, zarr_dtype: str, durability: str) -> None:
    """ArgumentError on a value that is none: a misspelt one must not mean something else."""
    for name, value, known in (
        ("store", store, get_args(Store)),
        ("when_full", when_full, get_args(WhenFull)),
        ("zarr_dtype", zarr_dtype, get_args(ZarrDtype)),
        ("durability", durability, get_args(Durability)),
    ):
        if value not in known:
            raise ArgumentError(f"{name} is {value!r}; it must be one of {', '.join(known)}")
