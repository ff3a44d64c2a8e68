"""Recording a Hugging Face Trainer: one more entry in its callbacks."""

import math
from typing import Any

from torch.optim import Optimizer
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embevo.recording.embedding_layer import embedding_source
from embevo.recording.learning_rate import LearningRate
from embevo.recording.recorder import Recorder
from embevo.run.paths import PathLike, absolute


class RecordEmbeddings(TrainerCallback):
    """Records the model's input embeddings before the first step and after every optimizer step.

    ``Trainer(..., callbacks=[RecordEmbeddings("runs/mine")])``. Of several processes the first one records.
    A training that ends with an exception leaves what was captured in the run: ``open_run`` reads it at once,
    and it is sealed when ``recorder`` is closed, when nothing refers to this callback any more, when a second
    training begins, or when the interpreter ends. A second training begins the run anew, which needs
    ``overwrite=True`` or ``resume=True``.

    Attributes:
        recorder: of the training under way, or the last one; None before the first.
    """

    def __init__(
        self, run_dir: PathLike, *, parameter: str | None = None, merged: bool = False, **options: Any
    ) -> None:
        """Record into ``run_dir``.

        Args:
            run_dir: directory of the run.
            parameter: name in the model of what to record; by default the weight of its input embeddings.
            merged: record what the model looks up for each token, all adapters of the embedding merged into
                it, in place of the weight below them. It is computed anew at every step.
            options: those of :class:`Recorder`, ``resume="auto"`` among them.
        """
        self.recorder: Recorder | None = None
        self._parameter = parameter
        self._merged = merged
        self._rate: LearningRate | None = None
        self._run_dir = absolute(run_dir)
        self._options = options
        self._learning_rate: Any = math.nan

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **kwargs: Any,
    ) -> None:
        """Create the run and capture the state before the first step.

        Raises:
            EmbevoError: the run cannot be created, as by :class:`Recorder`.
        """
        if model is None or not state.is_world_process_zero:
            return
        if self.recorder is not None:
            # Of a training that ended with an exception, or is repeated with smaller batches.
            self.recorder.close()
        source = embedding_source(model, parameter=self._parameter, merged=self._merged)
        self.recorder = Recorder(self._run_dir, {"embeddings": source}, module=model, **self._options)
        self._rate = LearningRate(self.recorder.tensors())
        self.recorder.capture(state.global_step)

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        """Note the learning rate that the step used: the scheduler moves on before the step ends."""
        if optimizer is not None and self._rate is not None:
            self._learning_rate = self._rate.of(optimizer)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Capture the state after an optimizer step."""
        if self.recorder is not None:
            self.recorder.capture(state.global_step, lr=self._learning_rate)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Seal everything."""
        if self.recorder is not None:
            self.recorder.close()
