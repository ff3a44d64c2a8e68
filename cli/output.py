"""Standard output and error as every command needs them: any character, any terminal, a disk that is full."""

import errno
import io
import os
import sys
from typing import Final, TextIO

import click

_STANDARD: Final = (0, 1, 2)


class OutputError(click.ClickException):
    """What a command prints cannot be written; what it did is done."""

    exit_code = 2


class Output(io.TextIOWrapper):
    """A standard stream that writes the escape of a character that its encoding does not have.

    After a failed write the rest goes to nowhere, so that nothing fails a second time when the process ends.

    Attributes:
        raising: whether a failed write raises OutputError, or BrokenPipeError where the reader has gone.
        failure: the first error, or None.
    """

    def __init__(self, stream: TextIO, *, raising: bool) -> None:
        # UTF-8 has every character; there only what the bytes of a file's name are is left to Python.
        as_bytes = stream.encoding.lower() == "utf-8" and stream.errors == "surrogateescape"
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="surrogateescape" if as_bytes else "backslashreplace",
            line_buffering=stream.isatty(),
        )
        self.raising = raising
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write; see the class for what becomes of errors."""
        try:
            return super().write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """Flush; see the class for what becomes of errors."""
        try:
            super().flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        first = self.failure is None
        self.failure = self.failure or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self.raising and first:
            if error.errno == errno.EPIPE:
                raise error
            raise OutputError(f"cannot write the output: {error.strerror}") from error


def prepare() -> None:
    """Make this process's standard streams into :class:`Output`.

    A standard stream that was closed is opened to nowhere: else the next file that is opened, such as a
    journal, would get its number, and whatever a library prints would be written into it.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None:
        sys.stdout = Output(sys.stdout, raising=True)
    if sys.stderr is not None:
        sys.stderr = Output(sys.stderr, raising=False)


def go_on_without_output() -> None:
    """From here on the work matters more than what is printed: a failed write of it raises nothing."""
    if isinstance(sys.stdout, Output):
        sys.stdout.raising = False


def say_if_output_failed(what: str) -> None:
    """After :func:`go_on_without_output`: say on stderr that the output is not whole, and what is.

    A reader that closed its end of a pipe has seen what it wanted, and is told nothing.
    """
    failure = sys.stdout.failure if isinstance(sys.stdout, Output) else None
    if failure is not None and failure.errno != errno.EPIPE:
        click.echo(f"The output could not be written ({failure.strerror}). {what}", err=True)
