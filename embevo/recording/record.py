"""One line for any loop: what to record is named, and the optimizer's own hooks do the rest."""

import difflib
import inspect
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from torch import Tensor, nn

from embevo.errors import ArgumentError, RecordingWarning
from embevo.recording.learning_rate import LearningRate
from embevo.recording.misuse import LateLogs, Replaced, Unseen
from embevo.recording.model_arrays import ModelArrays, find_arrays
from embevo.recording.numbers import shown, step_of
from embevo.recording.optimizer_settings import optimizer_settings
from embevo.recording.phased import Gradient
from embevo.recording.recorder import Recorder
from embevo.recording.scalars import Scalar
from embevo.recording.sharded import Arrival
from embevo.recording.sources import Named
from embevo.recording.stats import RecorderStats
from embevo.recording.stepping import StepNotice, torch_optimizers
from embevo.run.format.settings import OPTIMIZER
from embevo.run.paths import PathLike

EMBEDDINGS_ALONE: Final = ("embeddings",)
# What of a recorder's arguments is said otherwise here.
_NO_OPTIONS: Final = frozenset({"run_dir", "matrices", "dimensions"})


def record(
    model: nn.Module,
    optimizer: Any,
    run_dir: PathLike,
    what: Iterable[str] = EMBEDDINGS_ALONE,
    *,
    parameter: str | None = None,
    unembedding: str | None = None,
    first_step: int = 0,
    dimensions: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> "Recording":
    """Record a model from now on: the state as it is, and again after every step of its optimizer.

    ``with embevo.record(model, optimizer, "runs/mine") as recorder:`` around the loop is all that a training
    needs. The learning rate is that of the group that holds the embedding; the loss and other scalars of a
    step come from ``recorder.log(loss=loss)`` before ``optimizer.step()``.

    Args:
        model: any module, compiled or wrapped for data parallelism or not.
        optimizer: that steps it, or several; wrappers are followed to the optimizers inside. With several, a
            step is one of that which holds the embedding.
        run_dir: directory of the run.
        what: names of what to record, which become the names of the arrays: ``embeddings`` and
            ``unembeddings``; a parameter's name or a pattern such as ``transformer.h.*.attn.c_attn.weight``;
            each of these followed by ``.grad``, the gradient as the optimizer gets it, or by what the
            optimizer keeps, such as ``.exp_avg``; ``embeddings.grad.input`` and ``embeddings.grad.output``,
            of a tied matrix the gradient as it arrives from each of its two uses; ``hidden_mean``,
            ``hidden_var`` and ``hidden_last`` of what goes into the output embeddings, over the positions of
            all batches of a step that the attention mask keeps, and ``logits``, the mean of what comes out.
            What does not exist at a step, such as the gradient of the first state, is NaN.
        parameter: name of the matrix of the input embeddings, where the model does not say which it is.
        unembedding: name of the matrix of the output embeddings, likewise.
        first_step: the global step of the state now.
        dimensions: names of the axes of arrays, by name of the array, where others than the usual are wanted.
        options: of :class:`Recorder`, such as ``scalars=("grad_norm",)``, ``tokens=``, ``steps=`` and
            ``resume=``.

    Raises:
        ArgumentError: a name stands for nothing, an optimizer does not hold what is recorded, or an option
            has a value that it cannot have.
        EmbevoError: the run cannot be created, as by :class:`Recorder`.
    """
    with Arrival(model):
        check_names(options)
        step = step_of(first_step)
        arrays, stepping = _asked(model, optimizer, what, parameter=parameter, unembedding=unembedding)
    return begin(run_dir, arrays, stepping, step, dimensions=dimensions, options=options)


def _asked(
    model: nn.Module,
    optimizer: Any,
    what: Iterable[str],
    *,
    parameter: str | None,
    unembedding: str | None,
) -> tuple[ModelArrays, Any]:
    """What is to be recorded, and the optimizer that steps it."""
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is {shown(model)}; pass the torch.nn.Module that is trained")
    given = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    if not given:
        raise ArgumentError("optimizer is an empty list; pass the optimizer that steps the model")
    arrays = find_arrays(model, inner_optimizers(given), what, parameter=parameter, unembedding=unembedding)
    try:
        stepping = _that_steps(arrays, given)
    except BaseException:
        arrays.close()
        raise
    return arrays, stepping


def check_names(options: Mapping[str, Any]) -> None:
    """Raise ArgumentError on an option that no recorder has."""
    known = sorted(set(inspect.signature(Recorder).parameters) - _NO_OPTIONS)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else f"; the options are {', '.join(known)}"
            raise ArgumentError(f"there is no option {name!r}{meant}")


def begin(
    run_dir: PathLike,
    arrays: ModelArrays,
    optimizer: Any,
    step: int,
    *,
    dimensions: Mapping[str, Sequence[str]] | None = None,
    options: Mapping[str, Any],
    told: bool = False,
) -> "Recording":
    """Create the run and begin to record arrays; their hooks are removed if that fails.

    Args:
        run_dir: directory of the run.
        arrays: what is recorded.
        optimizer: whose steps count; None where nothing has to be taken before them.
        step: the global step of the state now.
        dimensions: names of axes in place of those of the arrays.
        options: of :class:`Recorder`.
        told: record a step when :meth:`Recording.capture` is called, and not whenever the optimizer steps.
    """
    try:
        axes = {**arrays.dimensions, **(dimensions or {})}
        attributes = _attributes(options.get("attributes"), arrays, optimizer, step)
        recorder = Recorder(run_dir, arrays.sources, dimensions=axes, **{**options, "attributes": attributes})
    except BaseException:
        arrays.close()
        raise
    try:
        return Recording(recorder, arrays, optimizer, step, told=told)
    except BaseException:
        arrays.close()
        recorder.close()
        raise


def _attributes(given: Any, arrays: ModelArrays, optimizer: Any, step: int) -> Any:
    """The attributes of the run, with the optimizer's settings; what was given under that name stays."""
    if optimizer is None or not (given is None or isinstance(given, Mapping)):
        return given
    parameters = {name: source() for name, source in arrays.sources.items() if isinstance(source, Named)}
    settings = optimizer_settings(inner_optimizers([optimizer]), parameters, arrays.main(), step)
    return {**({OPTIMIZER: settings} if settings else {}), **(given or {})}


def inner_optimizers(given: Sequence[Any]) -> list[Any]:
    """The optimizers of torch's that step, those inside wrappers too; what has none is its own."""
    return [inner for one in given for inner in (torch_optimizers(one) or [one])]


def that_holds(arrays: ModelArrays, given: Sequence[Any]) -> Any | None:
    """The optimizer that holds what is recorded; None if none does."""
    main = arrays.main()
    for optimizer in given:
        groups = getattr(optimizer, "param_groups", None) or []
        if any(held is main for group in groups for held in group["params"]):
            return optimizer
    return None


def _that_steps(arrays: ModelArrays, given: Sequence[Any]) -> Any:
    found = that_holds(arrays, given)
    if found is not None:
        return found
    kinds = ", ".join(type(optimizer).__name__ for optimizer in given)
    raise ArgumentError(
        f"{kinds} does not hold {arrays.main.path}, so that its steps do not change what is recorded: pass "
        "the optimizer that was made with this parameter (after it was replaced, if it was)"
    )


class Recording:
    """A recording that follows an optimizer; a context manager that ends it.

    Attributes:
        recorder: what records; its ``stats`` and ``paths`` say how and where.
        step: the global step of the state that was captured last.
    """

    def __init__(
        self, recorder: Recorder, arrays: ModelArrays, optimizer: Any, step: int, *, told: bool = False
    ) -> None:
        """Capture the state now, and after every step of the optimizer, or when told."""
        self.recorder = recorder
        self.step = step
        self._arrays = arrays
        self._gradients = [source for source in arrays.sources.values() if isinstance(source, Gradient)]
        self._unseen = Unseen(arrays.sources)
        self._rate = LearningRate([arrays.main()])
        self._warned = False
        self._replaced = Replaced(recorder)
        self._told = told
        self._late_logs = LateLogs(step)
        self._notice: StepNotice | None = None
        if not told or (self._gradients and optimizer is not None):
            after = None if told else self._after
            before = self._before if self._gradients else None
            recorded = None if told else self._parameters
            self._notice = StepNotice(optimizer, before=before, after=after, recorded=recorded)
        try:
            recorder.capture(step)
        except BaseException:
            self._end()
            raise
        self._look_ahead()

    def _parameters(self) -> list[Tensor]:
        return [source() for source in self._arrays.sources.values() if isinstance(source, Named)]

    def _before(self, stepping: Any, evaluations: int) -> None:
        if evaluations > 2 or self._replaced.at(self.step):
            return
        # A closure that is called again computes other gradients, and none of them is that of the step.
        is_known = evaluations < 2
        if not is_known:
            self._say_closure(stepping)
        # A fused optimizer unscales the gradient itself, in the step.
        scale = getattr(stepping, "grad_scale", None)
        for gradient in self._gradients:
            gradient.scale, gradient.is_known = scale, is_known
        self.recorder.before_step(self.step + 1)

    def _say_closure(self, stepping: Any) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{type(stepping).__name__} computes several gradients during a step, with the closure that "
                "it is given: none is that of the step, and NaN is recorded for it",
                RecordingWarning,
                stacklevel=5,
            )

    def _after(self, stepped: Any) -> None:
        if not self._replaced.at(self.step):
            self._capture(self.step + 1, self._rate.of(stepped))

    def capture(self, step: int, lr: Scalar = math.nan) -> None:
        """Capture the state after a step, for adapters, which tell of steps themselves.

        Raises:
            ArgumentError: the steps of the optimizer are followed, and captured already.
            EmbevoError: it cannot be captured, as by :meth:`Recorder.capture`.
        """
        if not self._told:
            raise ArgumentError(
                "capture was called, and this recording captures after every step of its optimizer by "
                "itself, so that a step would be counted twice: leave the call out, and give numbers with "
                "log(loss=loss) before optimizer.step(). To capture yourself, use embevo.Recorder"
            )
        self._capture(step, lr)

    def _capture(self, step: int, lr: Scalar) -> None:
        self.step = step
        self._late_logs.captured(step)
        self._unseen.say(step)
        self.recorder.capture(step, lr=lr)
        self._look_ahead()

    def rate_of(self, optimizer: Any) -> Any:
        """The learning rate that an optimizer has for what is recorded; None if it says none."""
        return self._rate.of(optimizer)

    def _look_ahead(self) -> None:
        """Have the hooks on the forward pass rest where the coming step is not recorded."""
        for output in self._arrays.outputs:
            output.wanted = self.recorder.records(self.step + 1)
            output.forget()

    def log(self, **scalars: Scalar) -> None:
        """Keep scalars for the coming step: its loss, and those named with ``scalars=``.

        It is called before ``optimizer.step()``.

        Args:
            scalars: numbers, or tensors of one element on any device; nothing waits for them.

        Raises:
            ArgumentError: the recorder has no scalar of a name.
        """
        self.recorder.log(**scalars)
        if not self._told:
            self._late_logs.logged(scalars)

    @property
    def stats(self) -> RecorderStats:
        """How recording went so far."""
        return self.recorder.stats

    def flush(self) -> None:
        """Return when every captured step is sealed, as :meth:`Recorder.flush`."""
        self.recorder.flush()

    def close(self) -> None:
        """Remove every hook, seal everything and let go of the run. Closing twice does nothing.

        Raises:
            RecordingError: the writer has failed; what was captured is safe in the journal.
        """
        self._end()
        self.recorder.close()
        self._late_logs.say_left()

    def _end(self) -> None:
        """Remove every hook."""
        if self._notice is not None:
            self._notice.remove()
        self._arrays.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it, whatever has happened in the body, as a recorder does."""
        self._end()
        self.recorder.__exit__(kind, error, traceback)
        if error is None:
            self._late_logs.say_left()
