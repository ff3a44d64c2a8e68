"""How paths are taken from the command line."""

from pathlib import Path
from typing import Any

import click

from embevo.run.paths import looks_like_url


class PathOf(click.Path):
    """A path as :class:`pathlib.Path`: ``~`` is a home directory, an empty text is refused.

    A shell leaves the ``~`` of ``--out=~/runs`` as it is, and a variable that is not set gives an empty text,
    which would stand for the current directory.
    """

    def __init__(
        self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True, urls: bool = False
    ) -> None:
        """Take a path, or where ``urls`` are taken too, a URL, which stays a text."""
        self._urls = urls
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; click.BadParameter for an empty one, and for one that the system cannot look up."""
        text = str(value)
        if self._urls and "://" in text:
            return text
        if looks_like_url(text):
            self.fail(
                "this is a URL, and a path on the disk is wanted: embevo pull URL DIRECTORY brings a run "
                "there. embevo verify and embevo diff read it where it is, with two slashes behind the "
                "colon; embevo push, and embevo train with --mirror, send it",
                param,
                ctx,
            )
        if not text.strip():
            self.fail("the path is empty: name a file or a directory (. is the current one)", param, ctx)
        try:
            return super().convert(Path(text).expanduser(), param, ctx)
        except RuntimeError as error:
            self.fail(f"{text}: {error}", param, ctx)
        except OSError as error:
            self.fail(f"{text}: {error.strerror}", param, ctx)
