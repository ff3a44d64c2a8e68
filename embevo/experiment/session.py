"""Whether a sweep is at work: a file that all who train for it look at, on whatever machine they are.

A sweep makes a file of its own, ``sweep/session-ID``, before it gives out any run, and removes those of all
sweeps before it when it ends. One that is killed leaves its file: what it has begun goes on.
"""

import os
import signal
import time
import uuid
from pathlib import Path
from typing import Final

from embevo.run.disk.atomic import write_file

_PREFIX: Final = "session-"
_LOOK_SECONDS: Final = 0.25


class Session:
    """One sweep at work, from construction to :meth:`end`.

    Attributes:
        file: there as long as what was begun is to go on.
    """

    def __init__(self, folder: Path) -> None:
        """Begin.

        Args:
            folder: of the sweep's own files; made if it is not there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{_PREFIX}{uuid.uuid4().hex}"
        write_file(self.file, b"", sync=True)

    def end(self) -> None:
        """Have everything end that trains for this sweep, and for those before it that were killed."""
        for file in self.file.parent.glob(f"{_PREFIX}*"):
            file.unlink(missing_ok=True)


class Leash:
    """What a training is done for; when that is gone, it ends as if it had been told to, all of it sealed.

    Attributes:
        file: of the session.
        process: number of a process of this machine without which the training has no purpose either.
    """

    def __init__(self, file: Path, process: int | None = None) -> None:
        """Nothing is looked at yet."""
        self.file, self.process = file, process
        self._due = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether the session or the process has ended; a file system that does not answer ends nothing."""
        try:
            # Opened, not only looked for: a network file system then asks its server.
            os.close(os.open(self.file, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            return True
        except OSError:
            pass
        if self.process is None:
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False

    def look(self) -> None:
        """Now and then look, and send this process SIGTERM if there is nothing left to train for."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _LOOK_SECONDS
            if self.is_gone:
                signal.raise_signal(signal.SIGTERM)
