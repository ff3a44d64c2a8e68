"""How an array leaves the device: every byte is copied out before the optimizer can change it.

An array in CPU memory is copied straight into its slot of the ring.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from embevo.recording.framing import check_can_be_missing, check_matches, say_never_taken
from embevo.recording.phased import Phase, Phased
from embevo.recording.sources import Take, check_recordable
from embevo.recording.tensor_dtypes import TORCH_DTYPES
from embevo.run.journal.ring import Journal

# Below this a plain memory copy that keeps the interpreter lock is over sooner than the lock could change
# hands (a thread that gives it up may wait 5 ms to get it back). Above it, torch copies with all cores and
# without the lock.
_SMALL_BYTES: Final = 1 << 20
_FIRST_TO_WARN_OF: Final = 2


class HostStaging:
    """Copies arrays in CPU memory (or, blocking, from a device without a staging of its own).

    A tensor that was handed over as such is copied with as few calls as can be; what has to be looked up, or
    of which only some rows are recorded, goes through torch.
    """

    def __init__(self, sources: Mapping[str, Take], journal: Journal) -> None:
        """Copy what is taken from these sources into the slots of the journal."""
        self._journal = journal
        frame = journal.frame
        self._gathers = frozenset(
            name for name, spec in frame.arrays if frame.tokens is not None and spec.dimensions[0] == "token"
        )
        ordered = [(sources[name], name) for name, _ in frame.arrays]
        # Names of the arrays that did not exist, of the steps since this was last emptied.
        self.missing: set[str] = set()
        self._before = [
            (take, name) for take, name in ordered if isinstance(take, Phased) and take.phase is Phase.BEFORE
        ]
        # What is likely to lie where it lay at the capture before.
        self._takes = [
            (take, name)
            for take, name in ordered
            if not isinstance(take, Phased) and name not in self._gathers
        ]
        self._numbered = [(index, take, name) for index, (take, name) in enumerate(self._takes)]
        there = {name for _, name in (*self._before, *self._takes)}
        self._looked_up = [(take, name) for take, name in ordered if name not in there]
        self._has_others = bool(self._looked_up or self._before)
        self._count = journal.slots
        # The row into whose slot the sources of before the optimizer's step have been copied.
        self._opened = -1
        self._was_opened = False
        self._unopened = 0
        self._small = frame.image_bytes <= _SMALL_BYTES
        self._slots: list[list[memoryview]] = []
        if self._small:
            names = [name for _, name in self._takes]
            self._slots = [[journal.payload(slot, name) for name in names] for slot in range(journal.slots)]
        # Where and how each tensor lay when it was last looked at closely; ``param.data = ...`` changes it.
        self._seen: list[tuple[object, ...]] = [()] * len(self._takes)
        self._sources: list[memoryview | None] = [None] * len(self._takes)
        # Of what kind each array that is looked up was when it was last checked.
        self._kinds: dict[str, tuple[object, ...]] = {}
        # Slots as tensors, made when they are first used, and the ids of the tokens on each device.
        self._targets: dict[tuple[int, str], Tensor] = {}
        self._ids: dict[torch.device, Tensor] = {}

    @property
    def takes_before(self) -> bool:
        """Whether there are sources that are taken before the optimizer's step."""
        return bool(self._before)

    def before(self, row: int) -> None:
        """Copy what is taken before the optimizer's step into the slot of a row, which holds no row."""
        for take, name in self._before:
            self._put(row, name, take())
        self._opened, self._was_opened = row, True

    def copy(self, row: int) -> None:
        """Copy every array into the slot of a row but for what :meth:`before` has copied there."""
        if self._has_others:
            self._copy_others(row)
        seen, sources = self._seen, self._sources
        for index, take, name in self._numbered:
            tensor = take()
            if tensor is None:
                self._fill(row, name)
                continue
            # With the strides of a contiguous array, the number of elements says its shape, and costs less.
            now = (tensor.data_ptr(), tensor.stride(), tensor.numel(), tensor.dtype)
            if now != seen[index]:
                self._attach(index, tensor, name)
                seen[index] = now
            source = sources[index]
            if source is not None:
                self._slots[row % self._count][index][:] = source
            else:
                slot_tensor(self._journal, row, name).copy_(tensor.detach())

    def _copy_others(self, row: int) -> None:
        # A row that is compared, or fails, is used again: what was taken for one step is never another's.
        opened, self._opened = self._opened, -1
        for take, name in self._looked_up:
            self._put(row, name, take())
        if opened != row:
            for _, name in self._before:
                self._fill(row, name)
            self._unopened += 1
            # The state before the first step has no gradient.
            if self._unopened == _FIRST_TO_WARN_OF and not self._was_opened and self._before:
                say_never_taken([name for _, name in self._before])

    def _attach(self, index: int, tensor: Tensor, name: str) -> None:
        check_recordable(name, tensor)
        check_matches(name, tensor, self._journal.frame)
        plain = self._small and tensor.device.type == "cpu" and tensor.is_contiguous()
        self._sources[index] = tensor.detach().view(torch.uint8).numpy().data.cast("B") if plain else None

    def _put(self, row: int, name: str, tensor: Tensor | None) -> None:
        if tensor is None:
            self._fill(row, name)
            return
        # What says whether it can be recorded; the values are copied from wherever they lie now.
        kind = (tensor.dtype, tensor.layout, tensor.device, tensor.is_nested or tensor.shape)
        if kind != self._kinds.get(name):
            check_recordable(name, tensor)
            check_matches(name, tensor, self._journal.frame)
            self._kinds[name] = kind
        if tensor.requires_grad:
            tensor = tensor.detach()
        target = self._target(row, name)
        if name not in self._gathers:
            target.copy_(tensor)
        elif tensor.is_cpu:
            torch.index_select(tensor, 0, self._ids_on(tensor.device), out=target)
        else:
            target.copy_(torch.index_select(tensor, 0, self._ids_on(tensor.device)))

    def _fill(self, row: int, name: str) -> None:
        """What stands for a tensor that does not exist at this step."""
        target = self._target(row, name)
        check_can_be_missing(name, self._journal.frame)
        target.fill_(float("nan"))
        self.missing.add(name)

    def _target(self, row: int, name: str) -> Tensor:
        if not self._small:
            return slot_tensor(self._journal, row, name)
        place = (row % self._journal.slots, name)
        found = self._targets.get(place)
        if found is None:
            found = self._targets[place] = slot_tensor(self._journal, row, name)
        return found

    def _ids_on(self, device: torch.device) -> Tensor:
        if device not in self._ids:
            self._ids[device] = torch.from_numpy(self._journal.frame.token_ids).to(device)
        return self._ids[device]

    def close(self) -> None:
        """Let go of the slots."""
        self._targets.clear()
        for slot in self._slots:
            for view in slot:
                view.release()


def slot_tensor(journal: Journal, row: int, name: str) -> Tensor:
    """One array in the slot of a row, as a tensor of its shape at a step, over the mapping."""
    spec = journal.frame.by_name[name]
    return torch.frombuffer(journal.payload(row, name), dtype=TORCH_DTYPES[spec.dtype]).view(spec.shape)
