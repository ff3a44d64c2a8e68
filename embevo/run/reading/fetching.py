"""Files of a run that lie elsewhere, and are brought when they are read."""

from pathlib import Path
from typing import Final, Protocol


class Fetch(Protocol):
    """Brings a file."""

    def __call__(self, name: str, *, again: bool = False) -> None:
        """Have a file, by its name below the run, on the disk, if it is there where it is brought from.

        With ``again`` also one that is on the disk already: it may have been replaced there since.
        """


# By the directory into which they are brought: what brings them, and from where.
_FETCHERS: Final[dict[Path, tuple[Fetch, str]]] = {}


def _here(name: str, *, again: bool = False) -> None:
    """Nothing: the files of the run are on the disk, or nowhere."""


def fetcher_of(root: Path) -> Fetch:
    """What brings the files of a run; for most it does nothing."""
    return _FETCHERS.get(root, (_here, ""))[0]


def url_of(root: Path) -> str:
    """Where the files of a run are brought from; empty where they are on the disk."""
    return _FETCHERS.get(root, (_here, ""))[1]


def fetch_into(root: Path, fetch: Fetch, url: str) -> None:
    """Have the files of the run in a directory brought by this, from a URL."""
    _FETCHERS[root] = fetch, url


def forget(root: Path) -> None:
    """Bring nothing more into a directory."""
    _FETCHERS.pop(root, None)
