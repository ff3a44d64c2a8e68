"""Many commands in the time of one: forks of one process that has imported what they need."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Each argument but the first is a command, a line a word; "" as the first is a file for each. The exit codes
# are printed. A command runs with the streams that the interpreter has made, to the end of the interpreter.
_EACH = """
import gc, os, sys
from embevo_cli.main import main
import embevo.analysis
gc.freeze()
_, output, *commands = sys.argv
for number, command in enumerate(commands):
    if not os.fork():
        for stream, file in ((1, output or f"{number}.out"), (2, f"{number}.err")):
            os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), stream)
        sys.argv[1:] = command.split("\\n")
        main()
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


class Done(NamedTuple):
    """What has become of a command; no output where all have gone to one file."""

    code: int
    output: bytes
    errors: str


def each(
    commands: Sequence[Sequence[str]],
    folder: Path,
    *,
    env: dict[str, str] | None = None,
    output: str = "",
    before: Sequence[str] = (),
) -> list[Done]:
    """Run commands one after the other.

    Args:
        commands: the words of each, without line ends.
        folder: where they run; what they print is left there.
        env: added to the environment.
        output: the file that all write to; by default each writes to one of its own.
        before: what comes before the command that starts them, as in ``setpriv ...``.
    """
    words = ["\n".join(command) for command in commands]
    done = subprocess.run(
        [*before, sys.executable, "-c", _EACH, output, *words],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        check=True,
    )
    codes = [int(line) for line in done.stdout.splitlines()]
    assert len(codes) == len(commands)
    return [
        Done(
            code,
            b"" if output else (folder / f"{number}.out").read_bytes(),
            (folder / f"{number}.err").read_text(errors="replace"),
        )
        for number, code in enumerate(codes)
    ]
