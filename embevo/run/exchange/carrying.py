"""What is said of tokens, carried from run to run: texts, counts and groups."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError
from embevo.run.disk.malformed import MALFORMED
from embevo.run.disk.regular_file import read_regular
from embevo.run.format.token_names import MOST_BYTES, MOST_GROUPS, Annotations
from embevo.run.reading.reader import Run

# Beside exported files, as in a run.
TOKENS: Final = "tokens.json"


def said_of(run: Run, ids: NDArray[np.int64]) -> Annotations:
    """What a run says of some of its recorded tokens, also of their counts where the recorder was given them.

    Args:
        run: the run.
        ids: ``(token,)`` of recorded tokens, ascending.

    Raises:
        DamagedError: it is not what was written.
    """
    said = run.annotations
    counts = None if run.tokens is None else run.tokens.count
    places = np.searchsorted(run.frame.token_ids, ids)
    groups = {name: np.intersect1d(members, ids) for name, members in said.groups.items()}
    return Annotations(
        None if said.strings is None else tuple(said.strings[place] for place in places.tolist()),
        None if counts is None else counts[places],
        {name: members for name, members in groups.items() if len(members)},
    )


def said_beside(folder: Path, ids: NDArray[np.int64]) -> tuple[Annotations, str]:
    """What ``tokens.json`` in a folder of files says of their tokens, and why it is not taken, if so.

    Raises:
        OSError: it cannot be read.
    """
    path = folder / TOKENS
    try:
        return Annotations.parse(read_regular(path, MOST_BYTES), ids), ""
    except FileNotFoundError:
        return Annotations(), ""
    except (*MALFORMED, DamagedError) as error:
        return Annotations(), f"{path} is not what embevo writes of these {len(ids):,} tokens: {error}"


def agreed(said: Sequence[Annotations]) -> tuple[Annotations, list[str]]:
    """What some say of the same tokens and none contradicts, and the names of what they contradict.

    Counts are those of one corpus: they agree only where all have them.
    """
    contradicted = []
    strings, same = _one([each.strings for each in said if each.strings is not None], _equal)
    if not same:
        contradicted.append("token texts")
    counts = [each.token_count for each in said if each.token_count is not None]
    count, same = _one(counts, np.array_equal)
    if not same or 0 < len(counts) < len(said):
        count = None
        contradicted.append("token_count")
    groups: dict[str, NDArray[np.int64]] = {}
    for name in dict.fromkeys(name for each in said for name in each.groups):
        members, same = _one([each.groups[name] for each in said if name in each.groups], np.array_equal)
        if same and len(groups) < MOST_GROUPS:
            groups[name] = members
        else:
            contradicted.append(f"group {name}")
    return replace(Annotations(), strings=strings, token_count=count, groups=groups), contradicted


def _one(values: Sequence[Any], equal: Callable[[Any, Any], bool]) -> tuple[Any, bool]:
    """The value that all are; None and False where they differ, None and True where there is none."""
    if not all(equal(value, values[0]) for value in values):
        return None, False
    return (values[0] if values else None), True


def _equal(one: object, other: object) -> bool:
    return one == other
