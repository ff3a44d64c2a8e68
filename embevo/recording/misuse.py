"""Loops that would be recorded otherwise than one thinks: what is noticed of them, and said once."""

import warnings
from collections.abc import Iterable, Mapping

from embevo.errors import RecordingWarning
from embevo.recording.module_output import ModuleOutput
from embevo.recording.recorder import Recorder


class LateLogs:
    """Scalars that are logged after the optimizer's step, and so are taken for the next one."""

    def __init__(self, first_step: int) -> None:
        """Watch a recording that begins with this step."""
        self._first_step = self._step = first_step
        self._has_logged = False
        # What was logged for the coming step.
        self._waiting: set[str] = set()

    def logged(self, names: Iterable[str]) -> None:
        """Take note of what is logged now.

        A loop that logs after each step has nothing for the first one, and something right after it.
        """
        self._waiting.update(names)
        if not self._has_logged and self._step == self._first_step + 1:
            self._say(f"The first log came when step {self._step} was recorded already, without it")
        self._has_logged = True

    def captured(self, step: int) -> None:
        """Take note that a step was recorded, with what was logged for it."""
        self._step = step
        self._waiting.clear()

    def say_left(self) -> None:
        """Warn of what was logged for a step that did not come."""
        left = sorted(self._waiting)
        self._waiting.clear()
        if left:
            self._say(f"{', '.join(left)}, logged after step {self._step}, is recorded with no step")

    def _say(self, what: str) -> None:
        warnings.warn(
            f"{what}: log() belongs before optimizer.step(). What is logged after it is taken for the next "
            "step",
            RecordingWarning,
            stacklevel=4,
        )


class Unseen:
    """What the forward pass should have given for a step, and has not."""

    def __init__(self, sources: Mapping[str, object]) -> None:
        """Watch those of the sources that look at a forward pass."""
        # Those of which nothing was said yet.
        self._watched = {name: found for name, found in sources.items() if isinstance(found, ModuleOutput)}

    def say(self, step: int) -> None:
        """Warn of those that have seen nothing for the step that is captured now, once of each."""
        unseen = {name: of for name, of in self._watched.items() if of.wanted and not of.has_seen}
        if not unseen:
            return
        self._watched = {name: of for name, of in self._watched.items() if name not in unseen}
        why = (
            "The model is in evaluation mode, as from_pretrained leaves it: call model.train() before"
            if any(output.passed_over for output in unseen.values())
            else "The step had none, or none that went through the module that is looked at"
        )
        warnings.warn(
            f"{', '.join(unseen)}: no forward pass of the training was seen in step {step}, and NaN is "
            f"recorded for it. {why}",
            RecordingWarning,
            stacklevel=5,
        )


class Replaced:
    """A recording that a later one of the same run has ended, as when a cell of a notebook is run again.

    Its hooks may still be on the optimizer: training goes on, recorded by the later one or by none.
    """

    def __init__(self, recorder: Recorder) -> None:
        """Watch a recorder."""
        self._recorder = recorder
        self._said = False

    def at(self, step: int) -> bool:
        """Whether it is so after this step; the first time with a warning."""
        if not self._recorder.is_replaced:
            return False
        if not self._said:
            self._said = True
            warnings.warn(
                f"the recording of {self._recorder.paths.root} was ended when another of the same run was "
                f"begun: it records nothing after step {step}",
                RecordingWarning,
                stacklevel=5,
            )
        return True
