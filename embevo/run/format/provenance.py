"""What a run says of itself: whether embevo's experiment made it, and whether its token ids are bytes."""

from collections.abc import Mapping
from typing import Any, Final

# Values that the experiment's settings can have. A configuration of another program may use one of the names.
_SETTINGS: Final[dict[str, tuple[object, ...]]] = {
    "vocab_size": (128, 256),
    "init": ("normal", "qwen", "qwen-unit"),
    "objective": ("next-token", "seed"),
    "dtype": ("float32", "bfloat16"),
}
_ALSO: Final = frozenset(("corpus", "learning_rate", "seed", "steps"))
# The attribute by which a run says it, and the value that means one token id for each byte.
VOCABULARY: Final = "vocabulary"
BYTES: Final = "bytes"
# The attribute by which a run says that no training made it: of which kind it is, of what, by which seed.
SURROGATE: Final = "surrogate"


def is_experiment(attributes: Mapping[str, Any]) -> bool:
    """Whether ``embevo train`` made the run of these attributes, by its configuration."""
    config = attributes.get("config")
    return (
        isinstance(config, Mapping)
        and config.keys() >= _ALSO
        and all(any(config.get(name) == value for value in values) for name, values in _SETTINGS.items())
    )


def vocabulary_is_bytes(attributes: Mapping[str, Any]) -> bool:
    """Whether token id i is byte i: the attribute ``vocabulary`` says so, or the configuration does.

    Runs that ``embevo train`` made before it wrote that attribute are known by their configuration.
    """
    if VOCABULARY in attributes:
        return bool(attributes[VOCABULARY] == BYTES)
    return is_experiment(attributes)


def surrogate_of(attributes: Mapping[str, Any]) -> str:
    """Of a run that was made up to compare with, what it is, in words; empty for any other run."""
    said = attributes.get(SURROGATE)
    if not isinstance(said, Mapping):
        return ""
    return f"a {said.get('kind')} surrogate of {said.get('of')}, seed {said.get('seed')}; no training made it"
