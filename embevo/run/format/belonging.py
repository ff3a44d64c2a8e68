"""Whether the run of a process is a piece of the whole run that it lies below.

The whole run is called by an ID that is drawn when it is made, and each of its pieces says the ID and its
rank. So the run of another rank, or of another training with the same arrays and settings, is not taken for
the one that should be there.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embevo.errors import DamagedError


def new_id() -> str:
    """The name of a whole run, which no other has."""
    return secrets.token_hex(8)


def id_of(attributes: object) -> str:
    """The name of the whole run with these attributes of its group; empty for one that has none."""
    return str(_own(attributes).get("id", ""))


def host_of(attributes: object) -> str:
    """Where the run of a process was begun; empty where its attributes do not say."""
    return str(_part(attributes).get("host", ""))


def check_belongs(attributes: object, *, rank: int, whole: str, path: Path) -> None:
    """Raise DamagedError unless a run is that of one process of a whole run.

    Args:
        attributes: of its group.
        rank: the process.
        whole: the name of the whole run; empty where that was made before runs had names.
        path: of the run of the process.
    """
    part = _part(attributes)
    if part.get("rank") == rank and part.get("of", "") == whole:
        return
    if not part:
        found = "is not the run of one process of several"
    elif part.get("of", "") == whole:
        found = f"is the run of rank {part.get('rank')}"
    else:
        found = f"is the run of rank {part.get('rank')} of another training"
    raise DamagedError(
        f"{path} {found}, and that of rank {rank} of this one was expected: their rows do not belong "
        f"together. Nothing was joined. Put back the run of rank {rank}; or move this one away: then what "
        "all processes had sealed of the whole run can be recovered and read."
    )


def _own(attributes: object) -> Mapping[str, Any]:
    own = attributes.get("embevo") if isinstance(attributes, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def _part(attributes: object) -> Mapping[str, Any]:
    part = _own(attributes).get("part")
    return part if isinstance(part, Mapping) else {}
