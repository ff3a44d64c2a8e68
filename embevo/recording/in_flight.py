"""Steps on their way from a device: begun by the training thread, put into the journal by the writer."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from torch import Tensor

from embevo.recording.transport import Transport
from embevo.run.journal.ring import Journal

_LOOK_SECONDS: Final = 1e-4


class Departure(NamedTuple):
    """A step that has begun to cross.

    Attributes:
        row: of the trajectory.
        step: global step.
        scalars: in the order of the frame.
        loss_crosses: whether the first of them is still on the device.
    """

    row: int
    step: int
    scalars: tuple[float, ...]
    loss_crosses: bool


class InFlight:
    """The steps that have begun to cross and are not in the journal yet, oldest first.

    Row r crosses in buffer r modulo their number, so that nothing has to be handed back.

    Attributes:
        landed: rows that the journal holds; stored by the writer thread.
    """

    def __init__(self, transport: Transport, journal: Journal, names: Sequence[str], *, row: int) -> None:
        """Carry matrices of these names, the first of them to ``row``."""
        self.landed = row
        self._transport = transport
        self._journal = journal
        self._names = names
        self._departed: deque[Departure] = deque()

    @property
    def next_row(self) -> int:
        """The row that departs next; for the training thread."""
        try:
            return self._departed[-1].row + 1
        except IndexError:
            # The writer stores this before it takes the last departure away.
            return self.landed

    @property
    def has_buffer(self) -> bool:
        """Whether a row can depart at once."""
        return self.next_row < self.landed + self._transport.buffers

    def wait_for_buffer(self) -> None:
        """Until one is free, or for a moment: the writer may have failed."""
        until = time.monotonic() + 100 * _LOOK_SECONDS
        while not self.has_buffer and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def depart(
        self, step: int, tensors: Sequence[Tensor], scalars: tuple[float, ...], loss: Tensor | None
    ) -> None:
        """Begin with the next row, for which there is a buffer; waits for nothing."""
        row = self.next_row
        self._transport.start(row % self._transport.buffers, tensors, loss)
        self._departed.append(Departure(row, step, scalars, loss is not None))

    def land(self, *, wait: bool) -> int:
        """Put what has landed into the journal, in order; with ``wait``, all that has departed so far.

        Returns:
            The row after the last that the journal holds.
        """
        for _ in range(len(self._departed)):
            row, step, scalars, loss_crosses = self._departed[0]
            buffer = row % self._transport.buffers
            if wait:
                self._transport.wait(buffer)
            elif not self._transport.has_landed(buffer):
                break
            self._journal.begin(row)
            for name, matrix in zip(self._names, self._transport.matrices(buffer), strict=True):
                self._journal.payload(row, name)[:] = matrix.data
            if loss_crosses:
                scalars = (self._transport.loss(buffer), *scalars[1:])
            self._journal.commit(row, step, scalars, seal=self._journal.seals_at_capture)
            self.landed = row + 1
            self._departed.popleft()
        return self.landed
