"""The training loop: plain PyTorch, bit for bit the arithmetic of the Hugging Face Trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2LMHeadModel

from embevo.errors import CheckpointError
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.corpus import Corpus
from embevo.experiment.model import build_model
from embevo.experiment.optimizer import FUSED, adamw, linear_decay
from embevo.experiment.rng import restore_rng, rng_state
from embevo.experiment.sampler import WindowSampler

_CLIP: Final = 1.0
_IGNORED: Final = -100


@dataclass(frozen=True, eq=False)
class LoopState:
    """Everything that decides how a loop goes on.

    Attributes:
        step: optimizer steps done.
        tensors: parameters, optimizer moments and generator states by name, on the CPU; copies.
        numbers: what is not a tensor, as plain JSON values.
    """

    step: int
    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


class TrainingLoop:
    """Trains the experiment's model, one optimizer step a call.

    Attributes:
        model: on the device, in training mode.
        optimizer: of all its parameters.
        global_step: optimizer steps done.
    """

    def __init__(self, config: ExperimentConfig, corpus: Corpus, device: torch.device | None = None) -> None:
        """Build and initialise the model; nothing is trained yet. Seeds the global generators.

        Args:
            config: the experiment.
            corpus: loaded for ``config.vocab_size`` and ``config.context``.
            device: where to train; the CPU by default.
        """
        device = device or torch.device("cpu")
        self.model: GPT2LMHeadModel = build_model(config)
        nn.Module.to(self.model, device)
        if config.compile:
            self.model.transformer.compile()
        self.global_step = 0
        self._config = config
        self._device = device
        self._parameters = dict(self.model.named_parameters())
        self.optimizer = adamw(self.model, config.learning_rate, config.weight_decay)
        tokens = torch.from_numpy(corpus.tokens.copy()).to(device)
        # (windows, context + 1) uint8: overlapping views of the one copy of the corpus, as many as the
        # notebook's dataset has.
        self._windows = tokens.unfold(0, config.context + 1, 1)
        self._sampler = WindowSampler(len(self._windows), config.batch, config.seed)
        # The Trainer divides by all labels of the batch, although the shift leaves one a sequence without a
        # prediction. A tensor, because CUDA divides by a Python number through its reciprocal.
        self._items = torch.tensor(float(config.batch * config.context), device=device)
        # GPT2LMHeadModel shifts the labels that it is given; the notebook's labels are shifted already.
        shift = 1 if config.objective == "next-token" else 2
        self._predicted = slice(shift, config.context + shift - 1)

    @property
    def embedding(self) -> nn.Parameter:
        """The tied embedding matrix, ``(vocab_size, dim)``."""
        return self._parameters["transformer.wte.weight"]

    def advance(self, before_update: Callable[[], None] | None = None) -> tuple[Tensor, float]:
        """Do one optimizer step.

        Args:
            before_update: called when gradients are as the optimizer gets them, clipped.

        Returns:
            The loss of the batch that led to this update, a 0-d float32 tensor on the device (reading it
            waits for the device), and the learning rate that the update used.
        """
        learning_rate = linear_decay(self._config.learning_rate, self.global_step, self._config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        inputs, targets = self._batch()
        hidden = self.model.transformer(inputs, use_cache=False).last_hidden_state  # (B, T, D)
        logits = self.model.lm_head(hidden).float()  # (B, T, V)
        total = functional.cross_entropy(
            logits.view(-1, logits.shape[-1]), targets.view(-1), ignore_index=_IGNORED, reduction="sum"
        )
        loss = total / self._items
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters.values(), _CLIP)
        if before_update is not None:
            before_update()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.global_step += 1
        return loss.detach(), learning_rate

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Inputs, and the ids to predict at their positions: ``(batch, context)`` int64 on the device."""
        windows = self._windows[self._sampler.draw().to(self._device)].long()  # (B, T + 1)
        targets = torch.full_like(windows[:, :-1], _IGNORED)
        # Nothing is predicted at the last position, where the shift has run out of labels.
        targets[:, :-1] = windows[:, self._predicted]
        return windows[:, :-1], targets

    def state(self) -> LoopState:
        """A copy of everything that decides how training goes on."""
        tensors, numbers = rng_state(self._device)
        for name, parameter in self._parameters.items():
            tensors[f"model.{name}"] = _copy(parameter)
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{key}"] = _copy(value)
        epoch_state, position = self._sampler.state()
        tensors["sampler.generator"] = epoch_state.clone()
        return LoopState(self.global_step, tensors, {**numbers, "sampler_position": position})

    def restore(self, state: LoopState) -> None:
        """Go on from a :meth:`state` of a loop of the same configuration.

        Raises:
            CheckpointError: a tensor is missing, unknown, or of another shape or dtype, or the step or the
                position is not one of this configuration; the loop is then as before.
        """
        _check(self._expected(state.step), state.tensors)
        position = state.numbers["sampler_position"]
        if not 0 <= state.step <= self._config.steps or not 0 <= position < len(self._windows):
            raise CheckpointError(
                f"the checkpoint is at step {state.step}, window {position}; this configuration has "
                f"{self._config.steps} steps and {len(self._windows)} windows."
            )
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(state.tensors[f"model.{name}"])
        self._restore_moments(state.tensors)
        self._sampler.restore(state.tensors["sampler.generator"], position)
        self.global_step = state.step
        restore_rng(state.tensors, state.numbers, self._device)

    def _restore_moments(self, tensors: dict[str, Tensor]) -> None:
        self.optimizer.state.clear()
        for name, parameter in self._parameters.items():
            prefix = f"optimizer.{name}."
            for key, value in tensors.items():
                if key.startswith(prefix):
                    moment = key.removeprefix(prefix)
                    # A fused optimizer counts its steps on the device, the plain one on the CPU.
                    on_cpu = moment == "step" and not FUSED
                    # A copy, so that training on does not change the state that was given.
                    self.optimizer.state[parameter][moment] = value.to(
                        "cpu" if on_cpu else self._device, copy=True
                    )

    def _expected(self, step: int) -> dict[str, Tensor]:
        """Tensors with the names, shapes and dtypes of a state at a step."""
        expected = {
            name: tensor for name, tensor in self.state().tensors.items() if not name.startswith("optimizer.")
        }
        if step > 0:
            for name, parameter in self._parameters.items():
                expected[f"optimizer.{name}.step"] = torch.zeros((), dtype=torch.float32)
                expected[f"optimizer.{name}.exp_avg"] = parameter
                expected[f"optimizer.{name}.exp_avg_sq"] = parameter
        return expected


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _check(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise CheckpointError(f"the checkpoint has no {name}: it is of another configuration or version.")
        if name not in expected:
            raise CheckpointError(f"the checkpoint has {name}; this configuration has no such tensor.")
        wanted, given = expected[name], found[name]
        if wanted.shape != given.shape or wanted.dtype != given.dtype:
            raise CheckpointError(
                f"{name} is {tuple(given.shape)} {given.dtype} in the checkpoint; this configuration has "
                f"{tuple(wanted.shape)} {wanted.dtype}."
            )
