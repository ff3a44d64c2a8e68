"""What is known of the optimizer that stepped an array, and which arrays an audit of it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import numpy as np

from embevo.errors import AnalysisError, ArgumentError
from embevo.run.format.settings import OPTIMIZER
from embevo.run.reading.reader import Run

Kind = Literal["AdamW", "Adam", "SGD"]
Implementation = Literal["fused", "foreach", "plain"]
KINDS: Final[tuple[Kind, ...]] = ("AdamW", "Adam", "SGD")
_LARGEST: Final = float(np.finfo(np.float32).max)
IMPLEMENTATIONS: Final[tuple[Implementation, ...]] = ("fused", "foreach", "plain")


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimizer of torch's, for one parameter.

    Attributes:
        kind: its class.
        implementation: which one of torch's.
        device: on which kind of device it stepped.
        first_step: the global step of the run's first state.
        steps_done: how many steps the optimizer had made then.
        weight_decay: decoupled with AdamW, else added to the gradient.
        maximize: whether it goes up the gradient.
        betas: of Adam's moments.
        eps: of Adam's denominator.
        amsgrad: whether Adam divides by the largest second moment so far.
        momentum: of SGD.
        dampening: of SGD's momentum.
        nesterov: whether SGD looks ahead.
    """

    kind: Kind
    implementation: Implementation = "plain"
    device: str = "cpu"
    first_step: int = 0
    steps_done: int = 0
    weight_decay: float = 0.0
    maximize: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    amsgrad: bool = False
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False

    @property
    def moments(self) -> tuple[str, ...]:
        """What it keeps for a parameter from step to step."""
        if self.kind == "SGD":
            return ("momentum_buffer",) if self.momentum else ()
        return ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if self.amsgrad else ()))


def settings_of(run: Run, array: str, given: Mapping[str, Any] | None) -> OptimizerSettings:
    """What the run says of the optimizer that stepped an array, with what is given in place of it.

    Raises:
        ArgumentError: a setting that is given is none, or has a value that it cannot have.
        AnalysisError: the run does not say it and nothing is given, or it is an optimizer that is not known.
    """
    recorded = run.attributes.get(OPTIMIZER)
    said: dict[str, Any] = dict(recorded.get(array) or {}) if isinstance(recorded, Mapping) else {}
    if not said and {"weight_decay", "learning_rate", "init_sigma"} <= run.config.keys():
        # A run of embevo train from before the settings were recorded: its optimizer was always this one.
        said = {"class": "AdamW", "implementation": "fused", "weight_decay": run.config["weight_decay"]}
    if said.get("class") == "Adam" and said.get("decoupled_weight_decay") is True:
        # Since torch 2.7 AdamW is Adam with this.
        said["class"] = "AdamW"
    for name in given or {}:
        if name not in NAMES:
            raise ArgumentError(f"{name} is no setting of an optimizer; there are {', '.join(NAMES)}")
    said = {**said, **(given or {})}
    if "class" not in said:
        raise AnalysisError(
            f"{run.path} does not say which optimizer stepped {array}, so that its steps cannot be computed "
            "again. embevo.record(model, optimizer, run_dir, what) records it; for this run say what it was: "
            "--set class=AdamW --set weight_decay=0.01, or optimizer={'class': 'AdamW', ...}"
        )
    if said["class"] not in KINDS:
        raise AnalysisError(
            f"{array} in {run.path} was stepped by {said['class']}; what can be computed again is "
            f"{', '.join(KINDS)}. If it computes what one of them does, say so: --set class={KINDS[0]}, or "
            f"optimizer={{'class': '{KINDS[0]}'}}"
        )
    if said.get("rate_is_recorded") is False:
        raise AnalysisError(
            f"{array} in {run.path} was stepped in another group of the optimizer than the one whose "
            "learning rate is recorded: record it in a run of its own"
        )
    return _checked({"kind" if name == "class" else name: said[name] for name in NAMES if name in said})


def _checked(values: dict[str, Any]) -> OptimizerSettings:
    """Settings from JSON's values.

    Raises:
        ArgumentError: one has a value that it cannot have.
    """
    for name, value in values.items():
        like = _LIKE.get(name)
        if name == "betas":
            good = isinstance(value, list | tuple) and len(value) == 2
            values[name] = tuple(value) if good else value
        elif name in ("kind", "implementation", "device"):
            good = isinstance(value, str) and (name != "implementation" or value in IMPLEMENTATIONS)
        elif isinstance(like, bool):
            good = isinstance(value, bool)
        else:
            # Torch computes with float32 at least, and takes no number that this cannot hold.
            good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST
        if not good:
            raise ArgumentError(f"{name}={value!r} cannot be a setting of an optimizer")
    return OptimizerSettings(**values)


NAMES: Final = ("class", *(field.name for field in fields(OptimizerSettings) if field.name != "kind"))
_LIKE: Final = {field.name: field.default for field in fields(OptimizerSettings)}
