"""Which effort the coming block gets: as much as training leaves.

What a core does for recording is taken from training where no core is idle, and from nobody where one is. So
a block may cost what the idle cores pay for, and beside that what the rest of recording leaves of a budget: a
share of the time in which a block is captured. The rest are the captures, which the training thread makes
itself, and all else that the writer does, such as making files.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from embevo.run.core_load import CoreLoad, waited_for_a_core
from embevo.run.format.effort import EFFORTS, AskedEffort, Effort

#: Of the time that a step takes.
DEFAULT_BUDGET: Final = 0.01
# Of the budget, that blocks may have where the rest of recording takes more than it leaves.
_BLOCKS_OWN: Final = 0.25
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
        captures: says how many seconds captures have kept the training thread so far.
    """

    def __init__(
        self,
        asked: AskedEffort = "small",
        budget: float = DEFAULT_BUDGET,
        *,
        load: Load | None = None,
        captures: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Choose within a budget, a share of the time that a step takes; or keep to one effort."""
        self.counts: dict[Effort, int] = dict.fromkeys(EFFORTS, 0)
        self.last: Effort | None = None
        self._asked = asked
        self._budget = budget
        self.captures = captures
        self._captured = 0.0
        self._load: Load | None = (load or CoreLoad()) if asked == "auto" else None
        self._cost = {effort: (rate, rate) for effort, rate in _EXPECTED.items()}
        self._known: set[Effort] = set()
        self._current: Effort = "small"
        self._heavier = 0

    @property
    def chooses(self) -> bool:
        """Whether it does not keep to one effort."""
        return self._asked == "auto"

    def next(self, size: int, seconds: float, beside: float = 0.0) -> Effort:
        """The effort for a block of so many bytes that was captured in so many seconds.

        Meanwhile the writer spent ``beside`` seconds of a core on all but blocks.
        """
        if self._asked != "auto":
            return self._asked
        before, self._captured = self._captured, self.captures()
        captured = self._captured - before
        idle = None if self._load is None else self._load.look()
        if seconds <= 0 or idle is None:
            return self._current
        # What the writer itself used would be idle if it did nothing.
        blocks = self._cost[self._current][0] * size if self.last else 0.0
        rest = Rest(idle + (blocks + beside) / seconds, beside / seconds, captured / seconds)
        fitting = self._fitting(size / seconds, rest, clearly=False)
        if EFFORTS.index(fitting) < EFFORTS.index(self._current) or self.last is None:
            self._current, self._heavier = fitting, 0
            return self._current
        # More of it only when that fits for a while, and one after the other: a short pause of the training,
        # or one look at a bad moment, says little.
        clearly = self._fitting(size / seconds, rest, clearly=True)
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

    def _fitting(self, rate: float, rest: "Rest", *, clearly: bool) -> Effort:
        """The most effort that fits at so many bytes a second; the least if none does."""
        share = _CLEARLY if clearly else 1.0
        for effort in reversed(EFFORTS):
            cpu, working = (cost * rate for cost in self._cost[effort])
            all_taken = rest.captures + rest.taken(rest.beside + cpu)
            fits = all_taken <= share * self._budget or rest.taken(cpu) <= share * _BLOCKS_OWN * self._budget
            if fits and working <= share * _KEEPS_UP:
                return effort
        return EFFORTS[0]


class Rest(NamedTuple):
    """What there is beside the blocks, in cores, which is to say seconds a second.

    Attributes:
        free: idle if the writer did nothing.
        beside: that the writer uses for all but blocks.
        captures: that captures take of the training thread.
    """

    free: float
    beside: float
    captures: float

    def taken(self, cores: float) -> float:
        """What is taken from training by work on so many cores.

        On a core that is idle half of the time, half of the work falls into time that training wants.
        """
        return max(cores * (1 - min(self.free, 1.0)), cores - self.free)


class Stopwatch:
    """What a thread spends on a block, and how long it waits for a core meanwhile."""

    def __init__(self) -> None:
        self._waits = False
        self._begun = time.monotonic()
        self._cpu = self._ended = self._waited = 0.0

    def begin(self, *, waits: bool) -> tuple[float, float]:
        """A block is begun: what lies between.

        With ``waits`` seconds that the thread waits for a core are counted, which opens a file each time.

        Returns:
            Seconds since the block before was begun, or since the stopwatch was made; and those of a core
            that the thread has spent since that block was done, or since it was started itself.
        """
        now = time.monotonic()
        since, self._begun = now - self._begun, now
        self._waits = waits
        self._cpu, self._waited = time.thread_time(), self._waited_so_far()
        return since, self._cpu - self._ended

    def spent(self, beside: float) -> tuple[float, float]:
        """Seconds of a core since then, with those of other threads; and seconds but for waits for a disk."""
        self._ended = time.thread_time()
        cpu = self._ended - self._cpu + beside
        waited = self._waited_so_far() - self._waited
        return cpu, min(time.monotonic() - self._begun, cpu + waited)

    def _waited_so_far(self) -> float:
        return (waited_for_a_core() or 0.0) if self._waits else 0.0
