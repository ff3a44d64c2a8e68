"""Recording from a loop that one does not want to edit: a hook that captures after every optimizer step."""

from typing import Any, Protocol

from embevo.errors import ArgumentError
from embevo.recording.learning_rate import LearningRate
from embevo.recording.misuse import Replaced
from embevo.recording.numbers import shown, step_of
from embevo.recording.recorder import Recorder
from embevo.recording.stepping import StepNotice


class Handle(Protocol):
    """What ends the capturing."""

    def remove(self) -> None:
        """End it; a second time it does nothing."""


def capture_every_step(optimizer: Any, recorder: Recorder, first_step: int = 0) -> Handle:
    """Capture the state now, and again after every step of the optimizer, with the learning rate it used.

    A wrapper of an optimizer (accelerate's, Lookahead, one of your own) is followed to the optimizers inside:
    what counts is that one of them has stepped, and what is captured is the state when the wrapper's ``step``
    has returned. What is taken before the step, such as gradients, is taken right before it. A step that a
    gradient scaler skips for an overflow is not counted and not captured. With a fused optimizer, finding
    that out waits for the device.

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
    step = step_of(first_step)
    tensors = recorder.tensors()
    rate = LearningRate(tensors)
    replaced = Replaced(recorder)

    def before(stepping: Any, evaluations: int) -> None:
        del stepping
        # Of a closure that is called several times, none of the gradients is that of the step.
        if not evaluations and not replaced.at(step):
            recorder.before_step(step + 1)

    def after(stepped: Any) -> None:
        nonlocal step
        if replaced.at(step):
            return
        step += 1
        recorder.capture(step, lr=rate.of(stepped))

    notice = StepNotice(optimizer, before=before, after=after, recorded=lambda: tensors)
    try:
        recorder.capture(step)
    except BaseException:
        notice.remove()
        raise
    return notice
