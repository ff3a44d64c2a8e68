"""Recording from a loop that one does not want to edit: a hook that captures after every optimizer step."""

from typing import Any

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from embevo.recording.recorder import Recorder


def capture_every_step(optimizer: Optimizer, recorder: Recorder, first_step: int = 0) -> RemovableHandle:
    """Capture the state now, and again after every ``optimizer.step()``, with the learning rate that it used.

    A step that a gradient scaler skips for an overflow is not counted and not captured. With a fused
    optimizer, finding that out waits for the device.

    Args:
        optimizer: of the recorded parameters; its first parameter group gives the learning rate.
        recorder: open; closing it is the caller's affair.
        first_step: the global step of the state now.

    Returns:
        A handle; its ``remove()`` ends the capturing.
    """
    step = first_step

    def after(stepped: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal step
        del args, kwargs
        # Set while a fused optimizer is stepped by a gradient scaler; it leaves the parameters alone then.
        overflow = getattr(stepped, "found_inf", None)
        if overflow is not None and overflow.item():
            return
        step += 1
        recorder.capture(step, lr=float(stepped.param_groups[0]["lr"]))

    recorder.capture(first_step)
    return optimizer.register_step_post_hook(after)
