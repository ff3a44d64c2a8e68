"""What a module gives during the forward passes of a step: its mean, variance, last position, or all of it.

Values are summed in float64 where the device has it, over the batch and its positions, and over all forward
passes between two captures: with gradient accumulation a step has several. Positions that the attention mask
leaves out do not count. Passes outside of training (``model.eval()``) and repeated ones (activation
checkpointing) are passed over.
"""

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.module_tracker import ModuleTracker

from embevo.errors import ArgumentError, FrameMismatchError
from embevo.recording.phased import Phased

Statistic = Literal["mean", "var", "last", "all"]
# What models call the mask of positions, (batch, position), in their forward. Where there is an encoder too,
# the positions of the output embeddings are the decoder's, and the other mask is not of them.
_MASKS: Final = ("decoder_attention_mask", "attention_mask")
# Says whether a forward pass is run again during the backward pass, for activation checkpointing.
_TRACKER: Final = ModuleTracker()


class AttentionMask:
    """The attention mask of the forward pass under way.

    Attributes:
        value: ``(batch, position)``, not 0 where a position counts; None where the model was given none.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at what the model, or the models in it that take a mask, are called with."""
        self.value: Tensor | None = None
        self._handles = [
            taker.register_forward_pre_hook(partial(self._note, name, place), with_kwargs=True)
            for taker, name, place in _mask_takers(model)
        ]

    def _note(
        self, name: str, place: int, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        del module
        mask = kwargs.get(name, args[place] if place < len(args) else None)
        self.value = mask if isinstance(mask, Tensor) and mask.ndim == 2 else None

    def close(self) -> None:
        """Look no more."""
        for handle in self._handles:
            handle.remove()
        self.value = None


def _mask_takers(module: nn.Module) -> Iterator[tuple[nn.Module, str, int]]:
    """The outermost modules whose forward takes the mask, its name and its place among the arguments.

    A module of Lightning or sentence-transformers takes a batch, and hands the mask to the model inside.
    """
    names = list(inspect.signature(module.forward).parameters)
    taken = next((name for name in _MASKS if name in names), None)
    if taken is not None:
        yield module, taken, names.index(taken)
        return
    for child in module.children():
        yield from _mask_takers(child)


class ModuleOutput(Phased):
    """A source: a statistic of what goes into a module, or comes out of it, over the last axis.

    Attributes:
        wanted: whether the coming step is recorded; where it is not, passes cost next to nothing.
        passed_over: whether a pass was one of evaluation, since what was seen was last taken.
    """

    def __init__(
        self,
        module: nn.Module,
        statistic: Statistic,
        width: int,
        *,
        of_input: bool = False,
        mask: AttentionMask | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Register a hook, until :meth:`close`.

        Args:
            module: whose output it is.
            statistic: ``mean`` and ``var`` over all positions (the variance divides by their number),
                ``last`` the mean over the batch of the last position that counts; each gives ``(width,)``.
                ``all`` is the output of the last forward pass as it is.
            width: length of the last axis.
            of_input: take the first input instead of the output.
            mask: which positions count; all of them if None.
            dtype: of what is given.

        Raises:
            ArgumentError: the statistic has another name.
        """
        if statistic not in get_args(Statistic):
            raise ArgumentError(f"statistic is {statistic!r}; it is one of {', '.join(get_args(Statistic))}")
        self.wanted = True
        self.passed_over = False
        self._statistic = statistic
        self._width = width
        self._mask = mask
        self._dtype = dtype
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None
        self._count: Tensor | float = 0.0
        self._whole: Tensor | None = None
        self._handle: RemovableHandle = (
            module.register_forward_pre_hook(self._see_input)
            if of_input
            else module.register_forward_hook(self._see_output)
        )

    def _see_input(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if args:
            self._see(module, args[0])

    def _see_output(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        del args
        self._see(module, output)

    def _see(self, module: nn.Module, output: object) -> None:
        if not self.wanted or _TRACKER.is_bw:
            return
        if not module.training:
            self.passed_over = True
            return
        tensor = _first_tensor(output)
        if tensor is None or tensor.shape[-1] != self._width:
            found = "no tensor" if tensor is None else f"a tensor of shape {tuple(tensor.shape)}"
            raise FrameMismatchError(
                f"{type(module).__name__} gave {found}; what is recorded of it has "
                f"{self._width} along the last axis"
            )
        values = tensor.detach()
        if self._statistic == "all":
            self._whole = values.to(self._dtype, copy=True)
            return
        mask = self._weights(values)
        values = values.to(_wide(values.device))
        if mask is not None and values.ndim == 2:
            values = values.reshape(*mask.shape, self._width)
        if self._statistic == "last":
            self._add(*_last(values, mask))
            return
        if mask is None:
            flat = values.reshape(-1, self._width)
            self._add(
                flat.sum(0), float(len(flat)), flat.square().sum(0) if self._statistic == "var" else None
            )
            return
        weighted = values * mask.unsqueeze(-1)
        rows = tuple(range(values.ndim - 1))
        squares = (weighted * values).sum(rows) if self._statistic == "var" else None
        self._add(weighted.sum(rows), mask.sum(), squares)

    def _weights(self, values: Tensor) -> Tensor | None:
        """``(batch, position)`` 1 where a position counts and 0 where it does not; None where all do."""
        mask = None if self._mask is None else self._mask.value
        if mask is None:
            return None
        # Models often put batch and positions into one axis before the output embeddings.
        flat = values.ndim == 2 and len(values) == mask.numel() and mask.shape[1] > 1
        if not flat and (values.ndim != 3 or tuple(mask.shape) != tuple(values.shape[:2])):
            return None
        return (mask != 0).to(_wide(values.device))

    def _add(self, total: Tensor, count: Tensor | float, squares: Tensor | None = None) -> None:
        self._sum = total if self._sum is None else self._sum + total
        self._count = self._count + count
        if squares is not None:
            self._squares = squares if self._squares is None else self._squares + squares

    @property
    def has_seen(self) -> bool:
        """Whether there was a forward pass of the training since it was last taken."""
        return self._sum is not None or self._whole is not None

    def __call__(self) -> Tensor | None:
        """The statistic since it was last taken; None where there was no forward pass."""
        whole, total, squares, count = self._whole, self._sum, self._squares, self._count
        self.forget()
        if self._statistic == "all" or total is None:
            return whole
        mean = total / count
        if self._statistic == "var":
            if squares is None:
                return None
            # Of a variance that is nothing beside the mean, rounding may leave less than nothing.
            return (squares / count - mean.square()).clamp_min(0).to(self._dtype)
        return mean.to(self._dtype)

    def forget(self) -> None:
        """Begin anew, as after a step that was not recorded."""
        self._sum = self._squares = self._whole = None
        self._count = 0.0
        self.passed_over = False

    def like(self) -> Tensor | None:
        """Shape and dtype of what is recorded; of ``all``, once there was a forward pass."""
        if self._statistic == "all":
            return self._whole
        return torch.empty(self._width, dtype=self._dtype)

    def close(self) -> None:
        """Remove the hook."""
        self._handle.remove()
        self.forget()


def _wide(device: torch.device) -> torch.dtype:
    # Metal has no float64.
    return torch.float32 if device.type == "mps" else torch.float64


def _first_tensor(output: object) -> Tensor | None:
    """The tensor that a module gives: itself, the first of a tuple, or of a model's output."""
    if isinstance(output, Tensor):
        return output
    values = list(output.values()) if isinstance(output, Mapping) else output
    if not isinstance(values, (tuple, list)):
        return None
    return next((value for value in values if isinstance(value, Tensor) and value.ndim), None)


def _last(values: Tensor, mask: Tensor | None) -> tuple[Tensor, float]:
    """Sum over the batch of the last position that counts, and the size of the batch."""
    if values.ndim < 3:
        flat = values.reshape(-1, values.shape[-1])
        return flat.sum(0), float(len(flat))
    batch = values.reshape(values.shape[0], -1, values.shape[-1])
    if mask is None:
        return batch[:, -1].sum(0), float(len(batch))
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * (places + 1)).argmax(1)
    rows = torch.arange(len(batch), device=mask.device)
    return batch[rows, last].sum(0), float(len(batch))
