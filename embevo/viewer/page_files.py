"""The files of the page itself, as they are in the package."""

from importlib.resources import files
from pathlib import Path
from typing import Final

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def static_names() -> list[str]:
    """All of them."""
    folder = files("embevo.viewer").joinpath("static")
    return sorted(entry.name for entry in folder.iterdir() if Path(entry.name).suffix in TYPES)


def module_names() -> list[str]:
    """Those that are JavaScript."""
    return [name for name in static_names() if name.endswith(".js")]


def text_of(name: str) -> str:
    """What is in one."""
    return files("embevo.viewer").joinpath("static").joinpath(name).read_text("utf-8")
