"""What stands for the code that made what is kept in a run: code that is other now finds none of it."""

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from embevo.run.disk.checksum import checksum

_PACKAGE: Final = Path(__file__).parents[1]
# Those that decide which numbers an analysis finds.
_MEASURING: Final = ("analysis/*.py", "analysis/measures/*.py", "analysis/compiled/*.py")


def measuring_digest() -> str:
    """That of the code that measures runs."""
    return code_digest(*_MEASURING)


@cache
def code_digest(*patterns: str, package: Path = _PACKAGE) -> str:
    """Changes with the version of embevo, and with any byte of the files of some patterns in its package.

    Where it is installed without its source, that is the version alone.
    """
    files = sorted({path for pattern in patterns for path in package.glob(pattern)})
    told = [(path.relative_to(package).as_posix(), checksum(path.read_bytes())) for path in files]
    return f"{checksum(repr((version('embevo'), told)).encode()):016x}"
