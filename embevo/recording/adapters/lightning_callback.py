"""Recording a Lightning training: one more entry in its callbacks."""

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from embevo.recording.adapters.kept_configuration import plain, versions
from embevo.recording.model_arrays import find_arrays
from embevo.recording.record import (
    EMBEDDINGS_ALONE,
    Recording,
    begin,
    check_names,
    inner_optimizers,
    that_holds,
)
from embevo.recording.recorder import Recorder
from embevo.recording.sharded import Arrival, is_divided
from embevo.run.paths import PathLike, absolute

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    # The same library has two names; either Trainer takes the callback of the other.
    _library = import_module("lightning.pytorch" if find_spec("lightning") else "pytorch_lightning")
    Callback = _library.Callback

_STEP: Final = "step"
# What of a Trainer decides how it trains.
_SETTINGS: Final = (
    "max_epochs",
    "max_steps",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
    "world_size",
)


class RecordLightning(Callback):
    """Records a LightningModule before the first step and after every optimizer step, with the step's loss.

    ``Trainer(..., callbacks=[RecordLightning("runs/mine")])``. It is :func:`embevo.record` for Lightning, for
    automatic and manual optimization. A step is one of the optimizer that holds the embedding, and its loss
    the sum of what was given to ``backward`` since the step before it, which is the mean over accumulated
    batches; of several processes the first one records, its own share of them.

    The step is kept in Lightning's checkpoints: with ``resume="auto"`` the run is gone on with where
    ``fit(ckpt_path=...)`` goes on, and steps that it holds already are compared.

    Attributes:
        recorder: of the training under way, or the last one; None before the first. ``recorder.log`` keeps
            scalars of a module's own for the coming step.
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
            what: names of what to record, as for :func:`embevo.record`; parameters have the names that they
                have in the LightningModule.
            parameter: name of the matrix of the input embeddings, where no model in the module says which it
                is, or of another matrix to record in its place.
            unembedding: name of the matrix of the output embeddings, likewise.
            merged: record what the model looks up for each token, all adapters of the embedding merged into
                it, in place of the weight below them. It is computed anew at every step.
            dimensions: names of the axes of arrays, by name of the array.
            options: those of :class:`Recorder`, ``resume="auto"`` among them. Without ``attributes``, the
                hyperparameters of the module, its optimizer's and the Trainer's settings are kept as
                ``config``.
        """
        check_names(options)
        self.recorder: Recorder | None = None
        self._recording: Recording | None = None
        self._optimizer: Any = None
        self._run_dir = absolute(run_dir)
        self._what = [what] if isinstance(what, str) else list(what)
        self._parameter, self._unembedding, self._merged = parameter, unembedding, merged
        self._dimensions = dimensions
        self._options = options
        self._loss: Tensor | None = None
        # Of the checkpoint that training goes on from, or of the training that has ended.
        self._step: int | None = None

    @property
    def state_key(self) -> str:
        """What Lightning calls its state in a checkpoint: by the run, wherever that lies."""
        return f"RecordLightning[{Path(self._run_dir).name}]"

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Create the run and capture the state before the first step.

        Raises:
            ArgumentError: a name stands for nothing in this module.
            EmbevoError: the run cannot be created, as by :class:`Recorder`.
        """
        if not (trainer.is_global_zero or is_divided(pl_module)):
            return
        self._end()
        optimizers = list(trainer.optimizers)
        with Arrival(pl_module):
            arrays = find_arrays(
                pl_module,
                inner_optimizers(optimizers),
                self._what,
                parameter=self._parameter,
                unembedding=self._unembedding,
                merged=self._merged,
            )
        stepping = that_holds(arrays, optimizers) or next(iter(optimizers), None)
        options = {"attributes": _attributes(trainer, pl_module, stepping), **self._options}
        step = trainer.global_step if self._step is None else self._step
        self._recording = begin(
            self._run_dir, arrays, stepping, step, dimensions=self._dimensions, options=options
        )
        self.recorder = self._recording.recorder
        self._optimizer, self._loss = stepping, None

    def on_before_backward(self, trainer: "Trainer", pl_module: "LightningModule", loss: Tensor) -> None:
        """Add the loss of a batch to that of its step."""
        if self._recording is None or loss.numel() != 1:
            return
        value = loss.detach().reshape(())
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            # What it multiplies with is only known on the device.
            value = value / scaler.scale(torch.ones_like(value))
        self._loss = value if self._loss is None else self._loss + value

    def on_before_optimizer_step(
        self, trainer: "Trainer", pl_module: "LightningModule", optimizer: Any
    ) -> None:
        """Give the loss to the step that comes now; it is called when all gradients have been computed."""
        loss, self._loss = self._loss, None
        if self._recording is not None and optimizer is self._optimizer and loss is not None:
            self._recording.log(loss=loss)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Seal everything."""
        self._end()

    def on_exception(
        self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException
    ) -> None:
        """Seal what was captured before a training ended with an exception."""
        recording = self._let_go()
        if recording is not None:
            recording.__exit__(type(exception), exception, exception.__traceback__)

    def state_dict(self) -> dict[str, Any]:
        """The step, for a checkpoint."""
        step = self._step if self._recording is None else self._recording.step
        return {} if step is None else {_STEP: step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting with the step of a checkpoint."""
        self._step = state_dict.get(_STEP)

    def _end(self) -> None:
        recording = self._let_go()
        if recording is not None:
            recording.close()

    def _let_go(self) -> Recording | None:
        recording, self._recording, self._optimizer = self._recording, None, None
        if recording is not None:
            self._step = recording.step
        return recording


def _attributes(trainer: "Trainer", module: "LightningModule", optimizer: Any) -> dict[str, Any]:
    settings = {name: getattr(trainer, name, None) for name in _SETTINGS}
    told = {
        **dict(module.hparams),
        "module": type(module).__name__,
        "trainer": settings,
        "optimizer": {"class": type(optimizer).__name__, **getattr(optimizer, "defaults", {})},
    }
    seed = os.environ.get("PL_GLOBAL_SEED", "")
    if seed.isdecimal():
        told.setdefault("seed", int(seed))
    return {
        "config": plain(told),
        "versions": versions(lightning=import_module(type(trainer).__module__.partition(".")[0]).__version__),
    }
