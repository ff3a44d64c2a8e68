"""Recording a Hugging Face Trainer: one more entry in its callbacks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import transformers
from torch.nn import Module
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embevo.recording.adapters.accelerator_numbers import AcceleratorNumbers
from embevo.recording.adapters.kept_configuration import plain, versions
from embevo.recording.model_arrays import find_arrays
from embevo.recording.record import EMBEDDINGS_ALONE, Recording, begin, check_names, inner_optimizers
from embevo.recording.recorder import Recorder
from embevo.recording.sharded import Arrival, is_divided
from embevo.run.paths import PathLike, absolute

_GRAD_NORM: Final = "grad_norm"
# Settings that say where a training lies and how it is told of, and not what it does.
_APART: Final = ("hub_", "push_to_hub", "log_", "logging_", "trackio_", "report_to", "disable_tqdm")
_APART_NAMES: Final = frozenset(("output_dir", "run_name", "project", "resume_from_checkpoint", "local_rank"))


class RecordEmbeddings(TrainerCallback):
    """Records a model before the first step and after every optimizer step, with the step's loss.

    ``Trainer(..., callbacks=[RecordEmbeddings("runs/mine")])``. It is :func:`embevo.record` for the Trainer,
    and a step is one that the Trainer counts. The loss is the one that the Trainer computes for that step,
    and ``grad_norm`` the norm of the gradient before it is clipped; of several processes the first one
    records, its own share of them. ``resume="auto"`` goes on with the run where the Trainer goes on from a
    checkpoint: steps after it are compared with what the run holds.

    A training that ends with an exception leaves what was captured in the run: ``open_run`` reads it at once,
    and it is sealed when ``recorder`` is closed, when nothing refers to this callback any more, when a second
    training begins, or when the interpreter ends. A second training begins the run anew, which needs
    ``overwrite=True`` or ``resume=True``.

    Attributes:
        recorder: of the training under way, or the last one; None before the first.
    """

    def __init__(
        self,
        run_dir: PathLike,
        what: Iterable[str] = EMBEDDINGS_ALONE,
        *,
        parameter: str | None = None,
        unembedding: str | None = None,
        merged: bool = False,
        dimensions: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> None:
        """Record into ``run_dir``.

        Args:
            run_dir: directory of the run.
            what: names of what to record, as for :func:`embevo.record`.
            parameter: name of the matrix of the input embeddings, where the model does not say which it is,
                or of another matrix to record in its place.
            unembedding: name of the matrix of the output embeddings, where the model does not say.
            merged: record what the model looks up for each token, all adapters of the embedding merged into
                it, in place of the weight below them. It is computed anew at every step.
            dimensions: names of the axes of arrays, by name of the array.
            options: those of :class:`Recorder`, ``resume="auto"`` among them. Without ``attributes``, the
                arguments of the Trainer and the configuration of the model are kept as ``config``. Without
                ``scalars``, ``grad_norm`` is recorded.
        """
        check_names(options)
        self.recorder: Recorder | None = None
        self._recording: Recording | None = None
        self._numbers: AcceleratorNumbers | None = None
        self._run_dir = absolute(run_dir)
        self._what = [what] if isinstance(what, str) else list(what)
        self._parameter, self._unembedding, self._merged = parameter, unembedding, merged
        self._dimensions = dimensions
        self._options = {"scalars": (_GRAD_NORM,), **options}
        self._learning_rate: Any = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Module | None = None,
        optimizer: Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        """Create the run and capture the state before the first step.

        Raises:
            ArgumentError: a name stands for nothing in this model.
            EmbevoError: the run cannot be created, as by :class:`Recorder`.
        """
        if model is None or not (state.is_world_process_zero or is_divided(model)):
            return
        # Of a training that ended with an exception, or is repeated with smaller batches.
        self._end()
        with Arrival(model):
            arrays = find_arrays(
                model,
                [] if optimizer is None else inner_optimizers([optimizer]),
                self._what,
                parameter=self._parameter,
                unembedding=self._unembedding,
                merged=self._merged,
            )
        options = {"attributes": _attributes(args, model), **self._options}
        self._recording = begin(
            self._run_dir,
            arrays,
            optimizer,
            state.global_step,
            dimensions=self._dimensions,
            options=options,
            told=True,
        )
        self.recorder = self._recording.recorder
        self._numbers = AcceleratorNumbers()

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        """Note the learning rate that the step used: the scheduler moves on before the step ends."""
        if optimizer is not None and self._recording is not None:
            self._learning_rate = self._recording.rate_of(optimizer)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Capture the state after an optimizer step."""
        if self._recording is None or self._numbers is None:
            return
        numbers = self._numbers.take()
        if self._recording.recorder.records(state.global_step):
            if _GRAD_NORM not in self._options["scalars"]:
                del numbers[_GRAD_NORM]
            self._recording.log(**numbers)
        self._recording.capture(state.global_step, lr=self._learning_rate)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Seal everything."""
        self._end()

    def _end(self) -> None:
        if self._numbers is not None:
            self._numbers.remove()
        recording, self._recording, self._numbers = self._recording, None, None
        if recording is not None:
            recording.close()


def _attributes(args: TrainingArguments, model: Module) -> dict[str, Any]:
    ask: Callable[[], dict[str, Any]] = args.to_dict
    said = {
        name: value
        for name, value in ask().items()
        if not name.startswith(_APART) and name not in _APART_NAMES
    }
    told = getattr(getattr(model, "config", None), "to_dict", None)
    described = told() if callable(told) else {}
    described.pop("transformers_version", None)
    return {
        "config": plain({**said, "model": {"class": type(model).__name__, **described}}),
        "versions": versions(transformers=transformers.__version__),
    }
