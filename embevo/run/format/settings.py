"""What the settings in a run's configuration mean: said by the program that has them, and stored in the run.

The attribute ``experiment`` of the group says it (docs/format.md), so that nothing that reads a run needs to
know the names of a program's settings. Runs of ``embevo train`` from before that attribute are read by the
names that it had then. In the configuration of another program the same names may mean something else: of
those only what leaves no trace in the numbers is told apart.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from embevo.run.format.provenance import is_experiment

# numbers: decides the numbers that are recorded.
# content: names what decides them, such as a file; what it held is compared by itself.
# sample: another sample of the same experiment.
# storage: how numbers are kept.
# conduct: how the run is carried out, which leaves no trace in the numbers.
Meaning = Literal["numbers", "content", "sample", "storage", "conduct"]
Initialisation = Literal["normal", "singular"]

EXPERIMENT: Final = "experiment"
# What stepped each recorded parameter: the optimizer's class and the settings of the parameter's group.
OPTIMIZER: Final = "optimizer"
_BEFORE: Final[dict[str, Meaning]] = {
    "seed": "sample",
    "corpus": "content",
    "store": "storage",
    "zarr_dtype": "storage",
    "device": "conduct",
    "when_full": "conduct",
    "durability": "conduct",
    "sync_seconds": "conduct",
    "sync_steps": "conduct",
    "checkpoint_every": "conduct",
    "checkpoint_seconds": "conduct",
}
_INIT_BEFORE: Final[dict[str, Initialisation]] = {
    "normal": "normal",
    "qwen": "singular",
    "qwen-unit": "singular",
}


def meanings_of(attributes: Mapping[str, Any]) -> dict[str, Meaning]:
    """What each setting of a run means, by name; those that are not there decide the numbers."""
    given = _experiment(attributes).get("settings")
    if not isinstance(given, Mapping):
        return dict(_BEFORE)
    known: tuple[Meaning, ...] = get_args(Meaning)
    return {str(name): meaning for name, said in given.items() for meaning in known if meaning == said}


def setting_apart(config: Mapping[str, Any], meanings: Mapping[str, Meaning]) -> dict[str, Any]:
    """The settings of a configuration in which runs of one experiment are the same."""
    return {
        name: value
        for name, value in config.items()
        if meanings.get(name, "numbers") in ("numbers", "content")
    }


def initialisation_of(attributes: Mapping[str, Any]) -> Initialisation | None:
    """Whether all tokens started as one vector or each as its own, if the run says it."""
    said = _experiment(attributes).get("initialisation")
    if said is None:
        init = _before(attributes).get("init")
        said = _INIT_BEFORE.get(init) if isinstance(init, str) else None
    return next((known for known in get_args(Initialisation) if known == said), None)


def labels_of(attributes: Mapping[str, Any]) -> tuple[int, int] | None:
    """How many labels of an example are predicted, and by how many its loss is divided; None if unknown.

    The experiment, as the Trainer, divides by all ``context`` labels, though the last position predicts none.
    """
    said = _experiment(attributes).get("loss_labels")
    if isinstance(said, list) and len(said) == 2 and all(type(n) is int and n > 0 for n in said):
        return (said[0], said[1])
    context = _before(attributes).get("context")
    return (context - 1, context) if type(context) is int and context > 1 else None


def schedule_of(attributes: Mapping[str, Any]) -> tuple[int, int] | None:
    """The last step that a run is to record, and the distance of recorded steps, if it says them.

    The schedule of a run that has one is its layout's.
    """
    said = _experiment(attributes)
    if "schedule" in said:
        return None
    if not {"last_step", "every"} <= said.keys():
        before = _before(attributes)
        said = {"last_step": before.get("steps"), "every": before.get("every", 1)}
    last, every = said["last_step"], said["every"]
    if isinstance(last, int) and isinstance(every, int) and last >= 0 and every > 0:
        return (last, every)
    return None


def last_step_of(attributes: Mapping[str, Any]) -> int | None:
    """The last step that a run is to record, if it says it."""
    last = _experiment(attributes).get("last_step", _before(attributes).get("steps"))
    return last if type(last) is int and last >= 0 else None


def _experiment(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    given = attributes.get(EXPERIMENT)
    return given if isinstance(given, Mapping) else {}


def _before(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a run that ``embevo train`` made; empty for any other run."""
    return attributes["config"] if is_experiment(attributes) else {}
