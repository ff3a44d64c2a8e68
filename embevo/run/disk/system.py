"""What the operating system must have: file locks and shared mappings, as on Linux and macOS."""

import sys

from embevo.errors import UnsupportedError

try:
    import fcntl
except ImportError as error:
    raise UnsupportedError(
        "embevo runs on Linux and macOS: it needs file locks and shared memory-mapped files as there. "
        f"This is {sys.platform}. On Windows, use it in WSL 2 (wsl --install), with the runs inside of it."
    ) from error

__all__ = ["fcntl"]
