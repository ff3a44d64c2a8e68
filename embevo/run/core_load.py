"""How many cores a process finds idle, and how long a thread waits for one."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from embevo.run.limits import available_cores

# The kernel counts in hundredths of a second: over less than this, they say little.
_SHORTEST_SECONDS: Final = 0.2
# Over about so many seconds, what is found is averaged.
_MEMORY_SECONDS: Final = 2.0


class CoreLoad:
    """Idle cores, from one look to the next: those of the machine, or what a control group leaves of them.

    Attributes:
        cores: that the process may use.
        idle: how many of them were idle lately; None before the second look.
    """

    def __init__(self, root: Path = Path("/"), *, clock: Callable[[], float] = time.monotonic) -> None:
        """Look for the first time.

        Args:
            root: where ``proc`` and ``sys`` lie.
            clock: seconds.
        """
        self._root = root
        self._clock = clock
        limit = available_cores(root)
        self.cores = limit.amount
        self.idle: float | None = None
        # The group that grants less than there is, if it says what it has used.
        kind, _, group = limit.source.partition(" of ")
        self._usage = Path(group) / "cpu.stat" if kind == "cpu.max" else None
        self._looked_at = clock()
        self._idle_before, self._used_before = self._idle_seconds(), self._used_seconds()

    def look(self) -> float | None:
        """Idle cores, averaged over the last seconds; None where that is not known yet."""
        now = self._clock()
        seconds = now - self._looked_at
        if seconds < _SHORTEST_SECONDS:
            return self.idle
        idle_now, used_now = self._idle_seconds(), self._used_seconds()
        if idle_now is None or self._idle_before is None:
            found = self.cores - os.getloadavg()[0]
        else:
            found = (idle_now - self._idle_before) / seconds
        if used_now is not None and self._used_before is not None:
            found = min(found, self.cores - (used_now - self._used_before) / seconds)
        found = min(max(found, 0.0), self.cores)
        weight = 1.0 if self.idle is None else min(1.0, seconds / _MEMORY_SECONDS)
        self.idle = found if self.idle is None else self.idle + weight * (found - self.idle)
        self._looked_at, self._idle_before, self._used_before = now, idle_now, used_now
        return self.idle

    def _idle_seconds(self) -> float | None:
        """What the cores that the process may run on have idled since the machine was started."""
        try:
            lines = (self._root / "proc" / "stat").read_text().splitlines()
            own = {f"cpu{core}" for core in os.sched_getaffinity(0)}
            fields = [line.split() for line in lines if line.split(maxsplit=1)[0] in own]
            # Idle, and idle while somebody waits for a disk.
            ticks = sum(int(field[4]) + int(field[5]) for field in fields)
        except (OSError, ValueError, IndexError, AttributeError):
            return None
        return ticks / os.sysconf("SC_CLK_TCK") if fields else None

    def _used_seconds(self) -> float | None:
        """What the control group has used."""
        if self._usage is None:
            return None
        try:
            words = self._usage.read_text().split()
            return int(words[words.index("usage_usec") + 1]) / 1e6
        except (OSError, ValueError, IndexError):
            return None


def waited_for_a_core(root: Path = Path("/")) -> float | None:
    """Seconds that the calling thread has been ready to run and waited for a core; None if nobody counts."""
    try:
        return int((root / "proc" / "thread-self" / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
