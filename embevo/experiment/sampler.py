"""Which training examples make a batch: sampling without replacement that can be stopped and taken up."""

import torch
from torch import Tensor


class WindowSampler:
    """Draws window indices, each once per epoch, in the order of a seeded permutation.

    The end of one permutation and the beginning of the next share a batch where need be, so that every
    batch is full and no window is left out.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        """Start the first epoch.

        Args:
            count: number of windows.
            batch: windows per batch.
            seed: of the permutations.
        """
        self._count = count
        self._batch = batch
        self._generator = torch.Generator().manual_seed(seed)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        # The permutation follows from this state; keeping it instead keeps the saved state at 5 kB.
        self._epoch_state = self._generator.get_state()
        self._permutation = torch.randperm(self._count, generator=self._generator)
        self._position = 0

    def draw(self) -> Tensor:
        """The next ``(batch,)`` int64 window indices, on the CPU."""
        parts = []
        missing = self._batch
        while missing:
            part = self._permutation[self._position : self._position + missing]
            parts.append(part)
            missing -= len(part)
            self._position += len(part)
            if self._position == self._count:
                self._begin_epoch()
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def state(self) -> tuple[Tensor, int]:
        """The generator's uint8 state at the beginning of the epoch, and the position in the epoch."""
        return self._epoch_state, self._position

    def restore(self, epoch_state: Tensor, position: int) -> None:
        """Go on from a :meth:`state`.

        Raises:
            ValueError: the position is not one in an epoch.
        """
        if not 0 <= position < self._count:
            raise ValueError(f"position {position} is not in an epoch of {self._count} windows")
        self._generator.set_state(epoch_state)
        self._begin_epoch()
        self._position = position
