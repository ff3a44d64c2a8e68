"""Recording from a loop that one does not want to edit: a hook that captures after every optimizer step."""

import types
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch.optim import Optimizer

from embevo.errors import ArgumentError
from embevo.recording.adapters.learning_rate import LearningRate
from embevo.recording.numbers import shown, step_of
from embevo.recording.recorder import Recorder


class Handle(Protocol):
    """What ends the capturing."""

    def remove(self) -> None:
        """End it; a second time it does nothing."""


def capture_every_step(optimizer: Any, recorder: Recorder, first_step: int = 0) -> Handle:
    """Capture the state now, and again after every step of the optimizer, with the learning rate it used.

    A wrapper of an optimizer (accelerate's, Lookahead, one of your own) is followed to the optimizers inside:
    what counts is that one of them has stepped, and what is captured is the state when the wrapper's ``step``
    has returned. A step that a gradient scaler skips for an overflow is not counted and not captured. With a
    fused optimizer, finding that out waits for the device.

    Args:
        optimizer: of the recorded parameters. The learning rate is that of the parameter group that holds the
            first recorded parameter, or of the first group if none does; NaN where it has none.
        recorder: open; closing it is the caller's affair.
        first_step: the global step of the state now.

    Returns:
        A handle; its ``remove()`` ends the capturing.

    Raises:
        ArgumentError: this is no optimizer, or not one whose steps can be noticed.
    """
    if not isinstance(recorder, Recorder):
        raise ArgumentError(f"recorder is {shown(recorder)}; pass the Recorder that shall capture")
    if not callable(getattr(optimizer, "step", None)):
        raise ArgumentError(
            f"optimizer is {shown(optimizer)}; pass the torch optimizer whose step() changes what is "
            "recorded, or call recorder.capture(step) after each step yourself"
        )
    first_step = step_of(first_step)
    steps = _Steps(optimizer, recorder, first_step)
    try:
        recorder.capture(first_step)
    except BaseException:
        steps.remove()
        raise
    return steps


class _Steps:
    """Notices the steps of an optimizer, and captures after each."""

    def __init__(self, optimizer: Any, recorder: Recorder, step: int) -> None:
        self._recorder = recorder
        self._step = step
        self._rate = LearningRate(recorder.tensors())
        self._inside = False
        self._stepped: Any = None
        self._removals: list[Callable[[], None]] = []
        inner = [found for found in _within(optimizer) if isinstance(found, Optimizer) and _has_hooks(found)]
        if _has_hooks(optimizer) and not inner:
            self._removals.append(optimizer.register_step_post_hook(self._after).remove)
            return
        for found in inner:
            self._removals.append(found.register_step_post_hook(self._after).remove)
        self._wrap(optimizer, counts=not inner)

    def remove(self) -> None:
        """End the capturing."""
        while self._removals:
            self._removals.pop()()

    def _wrap(self, optimizer: Any, *, counts: bool) -> None:
        """Have ``step`` of a wrapper capture when it returns; each counts where nothing inside does."""
        original = optimizer.step

        def step(wrapper: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return original(*args, **kwargs)
            self._inside, self._stepped = True, wrapper if counts else None
            try:
                result = original(*args, **kwargs)
            finally:
                self._inside = False
            if self._stepped is not None:
                self._capture(self._stepped)
            return result

        own = vars(optimizer).get("step") if hasattr(optimizer, "__dict__") else None
        try:
            # A bound method, because the schedulers of torch take it apart.
            optimizer.step = types.MethodType(step, optimizer)
        except AttributeError as error:
            raise ArgumentError(
                f"the step of a {type(optimizer).__name__} cannot be followed: pass the torch optimizer "
                "inside it, or call recorder.capture(step) after each step yourself"
            ) from error

        def restore() -> None:
            if own is None:
                del optimizer.step
            else:
                optimizer.step = own

        self._removals.append(restore)

    def _after(self, stepped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        # Set while a fused optimizer is stepped by a gradient scaler; it leaves the parameters alone then.
        overflow = getattr(stepped, "found_inf", None)
        if overflow is not None and overflow.item():
            return
        if self._inside:
            self._stepped = stepped
        else:
            self._capture(stepped)

    def _capture(self, stepped: Any) -> None:
        self._step += 1
        self._recorder.capture(self._step, lr=self._rate.of(stepped))


def _has_hooks(optimizer: object) -> bool:
    """Whether it was set up as torch does it: a wrapper may inherit from Optimizer without that."""
    return isinstance(optimizer, Optimizer) and "_optimizer_step_post_hooks" in vars(optimizer)


def _within(optimizer: object) -> Iterator[object]:
    """The optimizers that are attributes of a wrapper, or in a list or dict that is one, at any depth."""
    seen = {id(optimizer)}
    waiting = [optimizer]
    while waiting:
        holder = waiting.pop()
        for value in list(vars(holder).values()) if hasattr(holder, "__dict__") else []:
            several = list(value.values()) if isinstance(value, dict) else value
            for found in several if isinstance(several, list | tuple) else [several]:
                is_optimizer = isinstance(found, Optimizer) or (
                    callable(getattr(found, "step", None)) and hasattr(found, "param_groups")
                )
                if is_optimizer and id(found) not in seen:
                    seen.add(id(found))
                    waiting.append(found)
                    yield found
