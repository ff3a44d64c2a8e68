"""What a recorder can be asked for."""

import math
import operator
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, SupportsIndex, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from embevo.errors import ArgumentError, WeakerPromiseWarning
from embevo.recording.numbers import number_of, shown
from embevo.run.format.effort import AskedEffort
from embevo.run.format.layout import Store, ZarrDtype
from embevo.run.format.schedule import Schedule
from embevo.run.journal.place import journal_directory
from embevo.run.limits import disk_room
from embevo.run.paths import PathLike

WhenFull = Literal["block", "drop", "error"]
Durability = Literal["process", "power"]


def check_options(*, store: str, when_full: str, zarr_dtype: str, durability: str, effort: str) -> None:
    """ArgumentError on a value that is none: a misspelt one must not mean something else."""
    for name, value, known in (
        ("store", store, get_args(Store)),
        ("when_full", when_full, get_args(WhenFull)),
        ("zarr_dtype", zarr_dtype, get_args(ZarrDtype)),
        ("durability", durability, get_args(Durability)),
        ("effort", effort, get_args(AskedEffort)),
    ):
        if not isinstance(value, str) or value not in known:
            raise ArgumentError(f"{name} is {shown(value)}; it must be one of {', '.join(known)}")


def ring_directory(given: PathLike | None, run: Path, *, sync: bool) -> Path | None:
    """The directory for rings, as of :func:`journal_directory`; one that does not keep what is asked is said.

    Args:
        given: what the recorder was given.
        run: directory of the run.
        sync: whether what is captured is to survive a power cut.
    """
    found = journal_directory(given)
    if sync and _is_in_memory(run):
        _warn_of_memory(f"the run lies in {run}", "nothing of it survives a power cut")
    elif sync and found is not None and _is_in_memory(found):
        what = "what is captured survives a power cut only when its block is sealed"
        _warn_of_memory(f"the ring lies in {found}", what)
    return found


def _is_in_memory(directory: Path) -> bool:
    """Whether what is, or would be, in a directory is on a disk in memory."""
    path = directory.absolute()
    return disk_room(next(there for there in (path, *path.parents) if there.is_dir())).in_memory


def _warn_of_memory(where: str, what: str) -> None:
    warnings.warn(
        f'durability="power" was asked for, and {where}, a disk in memory: {what}. '
        "Name a directory on a disk.",
        WeakerPromiseWarning,
        stacklevel=4,
    )


def check_resume(*, resume: object, overwrite: object, rewind_to: int | None) -> None:
    """ArgumentError where it is not clear what shall become of a run that is there."""
    if not isinstance(overwrite, bool):
        raise ArgumentError(f"overwrite is {shown(overwrite)}; it must be True or False")
    if not isinstance(resume, bool) and not (isinstance(resume, str) and resume == "auto"):
        raise ArgumentError(f'resume is {shown(resume)}; it must be True, False or "auto"')
    if resume and overwrite:
        raise ArgumentError(
            "resume continues the run that is there, and overwrite deletes it: pass one of them"
        )
    if rewind_to is not None and not resume:
        raise ArgumentError(
            f"rewind_to is {rewind_to}, and only a run that is resumed is rewound: pass resume=True"
        )


def check_schedule(given: Schedule | None, begun: Schedule | None) -> None:
    """ArgumentError where a resumed run was begun with another schedule than the one that is given."""
    if given is not None and given != begun:
        raise ArgumentError(
            "steps= is not the schedule that the run was begun with, and a resumed run keeps its own: leave "
            "steps= out"
        )


def whole(name: str, value: object, *, least: int) -> int | None:
    """A whole number, or None for none.

    Raises:
        ArgumentError: it is neither, or less than ``least``.
    """
    if value is None:
        return None
    try:
        if not isinstance(value, bool | np.bool_):
            found = operator.index(cast("SupportsIndex", value))
            if least <= found < 2**63:
                return found
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ArgumentError(f"{name} is {shown(value)}; it must be a whole number of at least {least}")


def seconds(name: str, value: object) -> float:
    """A duration; ArgumentError if it is none."""
    found = None if value is None or isinstance(value, bool) else number_of(value)
    if found is None or not math.isfinite(found) or found < 0:
        raise ArgumentError(f"{name} is {shown(value)}; it must be a number of seconds, 0 or more")
    return found


def share(name: str, value: object) -> float:
    """A share; ArgumentError if it is none."""
    found = None if value is None or isinstance(value, bool) else number_of(value)
    if found is None or not 0 <= found <= 1:
        raise ArgumentError(f"{name} is {shown(value)}; it must be a share of a step, from 0 to 1")
    return found


def scalar_names(names: object) -> tuple[str, ...]:
    """The names of scalars; ArgumentError on one string, whose letters would be taken for names."""
    if isinstance(names, str):
        raise ArgumentError(f"scalars is {names!r}; pass the names in a tuple or list, ({names!r},)")
    found = list(names) if isinstance(names, Iterable) else [None]
    if not all(isinstance(name, str) for name in found):
        raise ArgumentError(f"scalars is {shown(names)}; pass the names in a tuple or list")
    return tuple(str(name) for name in found)


def counts_of(counts: ArrayLike, tokens: int) -> NDArray[np.int64]:
    """Token counts ``(token,)`` as int64, from an array, a tensor or a list.

    Raises:
        ArgumentError: they are not whole numbers from 0, one for each token.
    """
    try:
        found = counts.numpy(force=True) if isinstance(counts, Tensor) else np.asarray(counts)
        whole_numbers = found.dtype.kind in "iu" or (found.dtype.kind == "f" and bool((found % 1 == 0).all()))
    except (TypeError, ValueError, RuntimeError):
        found, whole_numbers = np.zeros(0), False
    if not whole_numbers or (found < 0).any() or (found >= 2.0**63).any():
        raise ArgumentError(
            f"token_count is {shown(counts)}; it must be how often each of the {tokens} tokens occurs: whole "
            "numbers from 0"
        )
    if found.shape != (tokens,):
        raise ArgumentError(f"token_count has shape {found.shape}; the matrices have {tokens} tokens")
    return found.astype(np.int64)
