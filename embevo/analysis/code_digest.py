"""What stands for the code that made what is kept in a run: code that is other now finds none of it."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from embevo.run.disk.checksum import checksum

_PACKAGE: Final = Path(__file__).parents[1]
# Those that decide which numbers an analysis finds.
_MEASURING: Final = ("analysis/*.py", "analysis/measures/*.py", "analysis/compiled/*.py")


def _installed() -> str:
    """The version that is installed; empty where the source is used as it lies."""
    try:
        return version("embevo")
    except PackageNotFoundError:
        return ""


@cache
def code_digest(*patterns: str, package: Path = _PACKAGE) -> str:
    """Changes with the version of embevo, and with any byte of the files of some patterns in its package.

    Where it is installed without its source, that is the version alone.
    """
    files = sorted({path for pattern in patterns for path in package.glob(pattern)})
    told = [(path.relative_to(package).as_posix(), checksum(path.read_bytes())) for path in files]
    return f"{checksum(repr((_installed(), told)).encode()):016x}"


# Of the files from which modules are loaded now, and not of those that an upgrade puts there while it runs.
_AS_LOADED: Final = code_digest(*_MEASURING)


def measuring_digest() -> str:
    """That of the code that measures runs."""
    return _AS_LOADED
