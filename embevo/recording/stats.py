"""What a recorder has done, in counts and times."""

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from embevo.run.format.effort import Effort
from embevo.run.mirroring.mirror import MirrorStats

# Capture times kept for the percentiles: the latest 65,536.
_KEPT: Final = 1 << 16


@dataclass(frozen=True)
class RecorderStats:
    """What a recorder has done so far.

    Attributes:
        captured: rows captured by this recorder.
        compared: steps run again after a resume, equal in every bit to what had been recorded.
        dropped: steps that were dropped because the ring was full.
        capture_ns_p50: median nanoseconds that a capture kept the training thread, waiting excluded, over the
            latest 65,536 captures.
        capture_ns_p99: 99th percentile of the same.
        capture_ns_max: maximum over all captures.
        waits: captures that found the ring full and waited.
        waited_ns: nanoseconds the training thread has waited for room in the ring, in total.
        pending: captured rows that are not written yet, because the writer has not come to them, their
            safetensors files are still to be made, or they still cross from a device.
        deferred: rows of them that were left when :meth:`Recorder.close` began: what it was that waited.
        deferred_ns: nanoseconds that ``close`` took.
        file_maker: who makes the safetensors files now: the ``thread`` of the writer, a ``process`` beside it
            where they are many, or ``none`` where the run has none.
        ring_slots: steps that the ring holds.
        ring_bytes: size of the ring.
        waited_for: names of the arrays on a device whose copies each capture waits for, such as those on MPS:
            what is queued on the device is finished before the training goes on.
        effort: with which the last block was compressed; None before there is one.
        blocks: how many were made with each effort: ``none``, ``fast`` and ``small``.
        mirror: how far the run has been sent to object storage; None if it is not.
    """

    captured: int
    compared: int
    dropped: int
    capture_ns_p50: int
    capture_ns_p99: int
    capture_ns_max: int
    waits: int
    waited_ns: int
    pending: int
    deferred: int
    deferred_ns: int
    file_maker: Literal["none", "thread", "process"]
    ring_slots: int
    ring_bytes: int
    waited_for: tuple[str, ...]
    effort: Effort | None
    blocks: dict[Effort, int]
    mirror: MirrorStats | None = None


NOTHING: Final = RecorderStats(
    captured=0,
    compared=0,
    dropped=0,
    capture_ns_p50=0,
    capture_ns_p99=0,
    capture_ns_max=0,
    waits=0,
    waited_ns=0,
    pending=0,
    deferred=0,
    deferred_ns=0,
    file_maker="none",
    ring_slots=0,
    ring_bytes=0,
    waited_for=(),
    effort=None,
    blocks={},
)


class CaptureTimes:
    """Durations of captures in nanoseconds, in bounded memory.

    Attributes:
        longest: the longest of all.
        total: all together.
    """

    def __init__(self) -> None:
        self.longest = self.total = 0
        self._latest: deque[int] = deque(maxlen=_KEPT)

    def add(self, nanoseconds: int) -> None:
        """Add one duration."""
        self._latest.append(nanoseconds)
        self.total += nanoseconds
        # Not max(): this is on the way of every training step.
        if nanoseconds > self.longest:  # noqa: PLR1730
            self.longest = nanoseconds

    def seconds(self) -> float:
        """All together, in seconds."""
        return self.total / 1e9

    def percentile(self, percent: float) -> int:
        """A percentile of the latest 65,536 durations; 0 when there is none."""
        latest = np.array(list(self._latest), np.int64)
        return int(np.percentile(latest, percent)) if latest.size else 0
