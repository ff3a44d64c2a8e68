"""Noticing the steps of an optimizer, from before it changes the parameters to after."""

import types
from collections.abc import Callable, Iterator
from typing import Any

from torch.optim import Optimizer

from embevo.errors import ArgumentError
from embevo.recording.numbers import shown
from embevo.recording.other_optimizers import OtherOptimizers, Recorded

Before = Callable[[Any, int], None]
After = Callable[[Any], None]


class StepNotice:
    """Calls before and after every step of an optimizer, or of the optimizers inside a wrapper.

    What counts is that an optimizer of torch's has stepped; after it, ``after`` is called when the wrapper's
    own ``step`` has returned. A step that a gradient scaler skips for an overflow is not told of after it.
    Where the step is given a closure, which computes the gradients, ``before`` is called when the closure has
    returned: most optimizers call it once and change the parameters then, some call it several times.
    With a fused optimizer, finding that out waits for the device.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        before: Before | None,
        after: After | None,
        recorded: Recorded | None = None,
    ) -> None:
        """Notice the steps, until :meth:`remove`.

        Args:
            optimizer: of torch, or a wrapper with a method ``step``.
            before: called with the optimizer that steps, and how many times a closure has computed gradients
                in this step; 0 where it was given none. None where nothing is to be done then.
            after: called with the optimizer that has stepped. None likewise.
            recorded: gives what is recorded: an optimizer that steps it and is not followed is warned of.

        Raises:
            ArgumentError: this is no optimizer, or not one whose steps can be noticed.
        """
        if not callable(getattr(optimizer, "step", None)):
            raise ArgumentError(
                f"optimizer is {shown(optimizer)}; pass the torch optimizer whose step() changes what is "
                "recorded, or call recorder.capture(step) after each step yourself"
            )
        self._tell_before = before
        self._tell_after = after
        self._inside = False
        self._stepped: Any = None
        self._removals: list[Callable[[], None]] = []
        inner = torch_optimizers(optimizer)
        for found in inner:
            if before is not None:
                self._removals.append(found.register_step_pre_hook(self._before).remove)
            if after is not None:
                self._removals.append(found.register_step_post_hook(self._after).remove)
        # The step of what has no optimizer of torch's inside counts, whatever steps in it.
        if inner and recorded is not None:
            self._removals.append(OtherOptimizers([optimizer, *_within(optimizer)], recorded).remove)
        # What wraps an optimizer has something to do after its step, perhaps, but not before it.
        if inner != [optimizer] and (after is not None or not inner):
            self._wrap(optimizer, counts=not inner)

    def remove(self) -> None:
        """Notice no more; a second time it does nothing."""
        while self._removals:
            self._removals.pop()()

    def _wrap(self, optimizer: Any, *, counts: bool) -> None:
        """Have ``step`` of a wrapper tell when it returns; each counts where nothing inside does."""
        original = optimizer.step

        def step(wrapper: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return original(*args, **kwargs)
            if counts:
                args, kwargs = self._told(wrapper, args, kwargs)
            self._inside, self._stepped = True, wrapper if counts else None
            try:
                result = original(*args, **kwargs)
            finally:
                self._inside = False
            if self._stepped is not None:
                self._tell_of(self._stepped)
            return result

        # The marks that torch's schedulers leave on a step are on this one too.
        vars(step).update(getattr(original, "__dict__", {}))
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

    def _before(
        self, stepping: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # The first argument is the optimizer itself.
        told, kwargs = self._told(stepping, args[1:], kwargs)
        return (*args[:1], *told), kwargs

    def _told(
        self, stepping: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Tell of the step, now or when its closure has returned: the arguments to step with."""
        tell = self._tell_before
        if tell is None:
            return args, kwargs
        if not any(callable(value) for value in (*args, *kwargs.values())):
            tell(stepping, 0)
            return args, kwargs
        evaluations = 0

        def telling(value: Any) -> Any:
            if not callable(value):
                return value

            def closure(*given: Any, **named: Any) -> Any:
                nonlocal evaluations
                result = value(*given, **named)
                evaluations += 1
                tell(stepping, evaluations)
                return result

            return closure

        return tuple(map(telling, args)), {name: telling(value) for name, value in kwargs.items()}

    def _after(self, stepped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        # Set while a fused optimizer is stepped by a gradient scaler; it leaves the parameters alone then.
        overflow = getattr(stepped, "found_inf", None)
        if overflow is not None and overflow.item():
            return
        if self._inside:
            self._stepped = stepped
        else:
            self._tell_of(stepped)

    def _tell_of(self, stepped: Any) -> None:
        if self._tell_after is not None:
            self._tell_after(stepped)


def torch_optimizers(optimizer: object) -> list[Optimizer]:
    """The optimizers of torch's that step when this one does: those inside a wrapper, or itself."""
    inner = [found for found in _within(optimizer) if _has_hooks(found)]
    if not inner and _has_hooks(optimizer):
        inner = [optimizer]
    return [found for found in inner if isinstance(found, Optimizer)]


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
