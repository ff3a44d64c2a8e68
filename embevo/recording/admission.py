"""Room for the coming step, in the ring and in a buffer of the device, and what happens without it."""

import time

from embevo.errors import RecordingError, RingFullError
from embevo.recording.in_flight import InFlight
from embevo.recording.options import WhenFull
from embevo.recording.writer import Writer


class Admission:
    """Follows the policy for a full ring; for the training thread.

    Attributes:
        refused: whether the policy has dropped the coming step already, when its first sources were to be
            taken.
        dropped: steps that were dropped.
        waits: how often a step had to wait.
        waited_ns: for how long in all.
    """

    def __init__(
        self,
        writer: Writer,
        slots: int,
        in_flight: InFlight | None,
        when_full: WhenFull,
    ) -> None:
        """Admit to a ring of so many slots, which a writer empties."""
        self.refused = False
        self.dropped = 0
        self.waits = 0
        self.waited_ns = 0
        self._writer = writer
        self._slots = slots
        self._in_flight = in_flight
        self._when_full = when_full

    def slot(self, row: int, step: int | None) -> int | None:
        """Wait for the slot of a row that is not free: nanoseconds waited, or None for a dropped step.

        Raises:
            RingFullError: as the policy says.
            RecordingError: the writer has failed.
        """
        if self._when_full != "block":
            # A frame is there with all its arrays or not at all: what was not taken before the step is not
            # taken now.
            self.refused = False
            self._refuse(step, f"all {self._slots} slots of the ring wait to be written")
            return None
        waited = self._writer.wait_for_room(row)
        self._count(waited)
        self._look_at_writer()
        return waited

    def buffer(self, in_flight: InFlight, step: int | None) -> int | None:
        """Wait for a buffer of the device: nanoseconds waited, or None where the step is dropped.

        Raises:
            RingFullError: as the policy says.
            RecordingError: the writer has failed.
        """
        if in_flight.has_buffer:
            return 0
        if self._when_full != "block":
            self._refuse(step, "every buffer is on its way from the device")
            return None
        began = time.perf_counter_ns()
        while not in_flight.has_buffer:
            self._look_at_writer()
            self._writer.wake()
            in_flight.wait_for_buffer()
        waited = time.perf_counter_ns() - began
        self._count(waited)
        return waited

    def before_step(self, row: int) -> bool:
        """Whether the first sources of the coming step can be taken now; it may wait for that.

        A step that is dropped is counted when it is captured.

        Raises:
            RingFullError: as the policy says.
            RecordingError: the writer has failed.
        """
        full = row >= self._writer.released + self._slots
        self.refused = self._when_full == "drop" and (
            full or (self._in_flight is not None and not self._in_flight.has_buffer)
        )
        if self.refused:
            return False
        if full:
            self.slot(row, None)
        if self._in_flight is not None:
            self.buffer(self._in_flight, None)
        return True

    def _look_at_writer(self) -> None:
        error = self._writer.error
        if error is not None:
            raise RecordingError(str(error)) from error.__cause__

    def _count(self, waited: int) -> None:
        self.waits += 1
        self.waited_ns += waited

    def _refuse(self, step: int | None, why: str) -> None:
        if self._when_full == "error":
            which = "the coming step" if step is None else f"step {step}"
            raise RingFullError(
                f"{which} was not captured: {why}. The disk is slower than the training; record fewer "
                "steps, or let capture block."
            )
        self.dropped += 1
