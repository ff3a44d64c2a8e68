"""Steps on their way from a device: begun by the training thread, put into the journal by the writer."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from embevo.recording.framing import check_can_be_missing, check_matches, gathered, say_never_taken
from embevo.recording.phased import Phase, Phased
from embevo.recording.sources import Take, check_recordable
from embevo.recording.transport import Transport
from embevo.run.journal.ring import Journal

_LOOK_SECONDS: Final = 1e-4
_FIRST_TO_WARN_OF: Final = 2


class Departure(NamedTuple):
    """A step that has begun to cross.

    Attributes:
        row: of the trajectory.
        step: global step.
        scalars: in the order of the frame.
        crossing: places of those that are still on the device.
    """

    row: int
    step: int
    scalars: tuple[float, ...]
    crossing: tuple[int, ...]


class InFlight:
    """The steps that have begun to cross and are not in the journal yet, oldest first.

    Row r crosses in buffer r modulo their number, so that nothing has to be handed back.

    Attributes:
        landed: rows that the journal holds; stored by the writer thread.
    """

    def __init__(
        self, transport: Transport, journal: Journal, sources: Mapping[str, Take], *, row: int
    ) -> None:
        """Carry what these sources give, the first of them to ``row``."""
        self.landed = row
        self._transport = transport
        self._journal = journal
        frame = journal.frame
        self._names = [name for name, _ in frame.arrays]
        self._gathers = frozenset(
            name for name, spec in frame.arrays if frame.tokens is not None and spec.dimensions[0] == "token"
        )
        takes = [(index, name, sources[name]) for index, name in enumerate(self._names)]
        self._before = [
            (index, name, take)
            for index, name, take in takes
            if isinstance(take, Phased) and take.phase is Phase.BEFORE
        ]
        early = {index for index, _, _ in self._before}
        self._after = [taken for taken in takes if taken[0] not in early]
        # The row into whose buffer the sources of before the optimizer's step have been put.
        self._opened = -1
        self._was_opened = False
        self._unopened = 0
        # The ids of the chosen tokens on each device.
        self._ids: dict[torch.device, Tensor] = {}
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
        """Wait until a buffer is free, or for a moment: the writer may have failed."""
        until = time.monotonic() + 100 * _LOOK_SECONDS
        while not self.has_buffer and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def before(self) -> None:
        """Take what is taken before the optimizer's step, for the next row, for which there is a buffer."""
        row = self.next_row
        for index, name, take in self._before:
            self._put(row, index, name, take())
        self._opened, self._was_opened = row, True

    def forget_before(self) -> None:
        """Drop what was taken before a step that does not depart."""
        self._opened = -1

    def depart(self, step: int, scalars: tuple[float, ...], crossing: Mapping[int, Tensor]) -> None:
        """Begin with the next row, for which there is a buffer; waits for nothing.

        Args:
            step: global step.
            scalars: in the order of the frame.
            crossing: those of one element that are still on the device, by their place.

        Raises:
            FrameMismatchError: a tensor has changed its shape or dtype; the row has not begun.
        """
        row = self.next_row
        # A row that fails is used again: what was taken for one step is never another's.
        opened, self._opened = self._opened, -1
        for index, name, take in self._after:
            self._put(row, index, name, take())
        if opened != row:
            for index, name, _ in self._before:
                self._put(row, index, name, None)
            self._unopened += 1
            # The state before the first step has no gradient.
            if self._unopened == _FIRST_TO_WARN_OF and not self._was_opened and self._before:
                say_never_taken([name for _, name, _ in self._before])
        self._transport.start(row % self._transport.buffers, crossing)
        self._departed.append(Departure(row, step, scalars, tuple(crossing)))

    def _put(self, row: int, index: int, name: str, tensor: Tensor | None) -> None:
        if tensor is None:
            check_can_be_missing(name, self._journal.frame)
        else:
            check_recordable(name, tensor)
            check_matches(name, tensor, self._journal.frame)
            if name in self._gathers:
                if tensor.device not in self._ids:
                    ids = torch.from_numpy(self._journal.frame.token_ids)
                    self._ids[tensor.device] = ids.to(tensor.device)
                tensor = gathered(tensor, self._ids[tensor.device])
        self._transport.put(row % self._transport.buffers, index, tensor)

    def land(self, *, wait: bool) -> int:
        """Put what has landed into the journal, in order; with ``wait``, all that has departed so far.

        Returns:
            The row after the last that the journal holds.
        """
        for _ in range(len(self._departed)):
            row, step, scalars, crossing = self._departed[0]
            buffer = row % self._transport.buffers
            if wait:
                self._transport.wait(buffer)
            elif not self._transport.has_landed(buffer):
                break
            self._journal.begin(row)
            for name, matrix in zip(self._names, self._transport.matrices(buffer), strict=True):
                self._journal.payload(row, name)[:] = matrix.data
            if crossing:
                landed = self._transport.scalars(buffer)
                scalars = tuple(
                    float(landed[place]) if place in crossing else value
                    for place, value in enumerate(scalars)
                )
            self._journal.commit(row, step, scalars, seal=self._journal.seals_at_capture)
            self.landed = row + 1
            self._departed.popleft()
        return self.landed
