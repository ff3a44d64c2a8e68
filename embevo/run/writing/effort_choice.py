"""Which effort the coming block gets: as much as training leaves.

What a core does for recording is taken from training where no core is idle, and from nobody where one is. So
a block may cost what the idle cores pay for, and beside that a budget: a share of the time in which a block
is captured.
"""

import time
from typing import Final, Literal, Protocol

from embevo.run.core_load import CoreLoad, waited_for_a_core
from embevo.run.format.effort import EFFORTS, Effort

AskedEffort = Literal["auto", "none", "fast", "small"]
#: Of the time that a step takes.
DEFAULT_BUDGET: Final = 0.02
# Seconds of a core for a byte before any block was made: zstd at 300 MB/s, LZ4 at 1.2 GB/s, a copy at 3 GB/s.
_EXPECTED: Final[dict[Effort, float]] = {"none": 0.33e-9, "fast": 0.85e-9, "small": 3.3e-9}
# How much of a new measurement goes into what is known of an effort.
_WEIGHT: Final = 0.3
# More effort is taken up only if it needs no more than this part of what it may, so many blocks in a row.
_CLEARLY: Final = 0.6
_IN_A_ROW: Final = 3
# Of the time in which a block is captured, that making one may take: beyond it the ring would fill.
_KEEPS_UP: Final = 0.6


class Load(Protocol):
    """What says how many cores are idle."""

    def look(self) -> float | None:
        """Idle cores lately; None where that is not known."""


class EffortChoice:
    """Chooses the effort of each block, or keeps to one.

    Attributes:
        counts: how many blocks were made with each.
        last: the effort of the last block; None before there is one.
    """

    def __init__(
        self,
        asked: AskedEffort = "small",
        budget: float = DEFAULT_BUDGET,
        *,
        load: Load | None = None,
    ) -> None:
        """Choose within a budget, a share of the time that a step takes; or keep to one effort."""
        self.counts: dict[Effort, int] = dict.fromkeys(EFFORTS, 0)
        self.last: Effort | None = None
        self._asked = asked
        self._budget = budget
        self._load: Load | None = (load or CoreLoad()) if asked == "auto" else None
        self._cost = {effort: (rate, rate) for effort, rate in _EXPECTED.items()}
        self._known: set[Effort] = set()
        self._current: Effort = "small"
        self._heavier = 0

    @property
    def chooses(self) -> bool:
        """Whether it does not keep to one effort."""
        return self._asked == "auto"

    def next(self, size: int, seconds: float) -> Effort:
        """The effort for a block of so many bytes that was captured in so many seconds."""
        if self._asked != "auto":
            return self._asked
        idle = None if self._load is None else self._load.look()
        if seconds <= 0 or idle is None:
            return self._current
        # What the writer itself used would be idle if it did nothing.
        own = self._cost[self._current][0] * size / seconds if self.last else 0.0
        fitting = self._fitting(size, seconds, idle + own, clearly=False)
        if EFFORTS.index(fitting) < EFFORTS.index(self._current) or self.last is None:
            self._current, self._heavier = fitting, 0
            return self._current
        # More of it only when that fits for a while, and one after the other: a short pause of the training,
        # or one look at a bad moment, says little.
        clearly = self._fitting(size, seconds, idle + own, clearly=True)
        if EFFORTS.index(clearly) > EFFORTS.index(self._current):
            self._heavier += 1
            if self._heavier >= _IN_A_ROW:
                self._current = EFFORTS[EFFORTS.index(self._current) + 1]
                self._heavier = 0
        else:
            self._heavier = 0
        return self._current

    def made(self, effort: Effort, size: int, cpu: float, working: float) -> None:
        """Learn what a block took.

        Args:
            effort: that it was made with.
            size: bytes of its matrices, as they were captured.
            cpu: seconds of a core.
            working: seconds from begin to end, without those in which it waited for the disk.
        """
        self.counts[effort] += 1
        self.last = effort
        if not size:
            return
        found = cpu / size, working / size
        before = self._cost[effort]
        if effort not in self._known:
            self._known.add(effort)
            self._expect_alike(effort, found)
            before = found
        self._cost[effort] = (
            before[0] + _WEIGHT * (found[0] - before[0]),
            before[1] + _WEIGHT * (found[1] - before[1]),
        )

    def _expect_alike(self, effort: Effort, found: tuple[float, float]) -> None:
        """What was never tried here costs in proportion to what was."""
        for other in set(EFFORTS) - self._known:
            ratio = _EXPECTED[other] / _EXPECTED[effort]
            self._cost[other] = found[0] * ratio, found[1] * ratio

    def _fitting(self, size: int, seconds: float, free: float, *, clearly: bool) -> Effort:
        """The most effort that fits; the least if none does."""
        share = _CLEARLY if clearly else 1.0
        for effort in reversed(EFFORTS):
            cpu, working = (cost * size / seconds for cost in self._cost[effort])
            # On a core that is idle half of the time, half of the work falls into time that training wants.
            taken = max(cpu * (1 - min(free, 1.0)), cpu - free)
            if taken <= share * self._budget and working <= share * _KEEPS_UP:
                return effort
        return EFFORTS[0]


class Stopwatch:
    """What a thread spends on a block, and how long it waits for a core meanwhile."""

    def __init__(self) -> None:
        self._waits = False
        self._begun = time.monotonic()
        self._cpu = self._waited = 0.0

    def begin(self, *, waits: bool) -> float:
        """A block is begun: seconds since the one before was, or since the stopwatch was made.

        With ``waits`` those for a core are counted, which opens a file each time.
        """
        now = time.monotonic()
        since, self._begun = now - self._begun, now
        self._waits = waits
        self._cpu, self._waited = time.thread_time(), self._waited_so_far()
        return since

    def spent(self, beside: float) -> tuple[float, float]:
        """Seconds of a core since then, with those of other threads; and seconds but for waits for a disk."""
        cpu = time.thread_time() - self._cpu + beside
        waited = self._waited_so_far() - self._waited
        return cpu, min(time.monotonic() - self._begun, cpu + waited)

    def _waited_so_far(self) -> float:
        return (waited_for_a_core() or 0.0) if self._waits else 0.0
