"""What can be recorded of the experiment beside the embedding, and the frame that it makes; free of torch."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from embevo.errors import ConfigError
from embevo.run.format.frame import PLAIN, FrameSpec
from embevo.run.format.token_subset import TokenSubset

WEIGHTS: Final = "weights"
# The arrays that names of the command line stand for; the arrays are called as embevo.record calls them.
ARRAYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        WEIGHTS: "embeddings",
        "grad": "embeddings.grad",
        "exp_avg": "embeddings.exp_avg",
        "exp_avg_sq": "embeddings.exp_avg_sq",
        "hidden_mean": "hidden_mean",
        "hidden_var": "hidden_var",
        "logits": "logits",
    }
)
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")
# Means over a batch are given in this dtype, whatever the model's.
_MEANS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"hidden_mean": ("dim",), "hidden_var": ("dim",), "logits": ("token",)}
)
_MEAN_DTYPE: Final = "float32"


def parse_record(text: str) -> tuple[str, ...]:
    """The names in ``weights,grad``, in the order of :data:`ARRAYS`.

    Raises:
        ConfigError: one is unknown or there twice, or the weights are not among them.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in ARRAYS]
    if unknown:
        raise ConfigError(
            f"record has {unknown[0]!r}; it is made of {', '.join(ARRAYS)}, with commas between them."
        )
    if len(set(names)) != len(names):
        raise ConfigError(f"record is {text!r}; name each of them once.")
    if WEIGHTS not in names:
        raise ConfigError(
            f"record is {text!r}; the weights are always recorded, since the rest explains how they move: "
            f"write {','.join((WEIGHTS, *names))}."
        )
    return tuple(name for name in ARRAYS if name in names)


def recorded_frame(
    record: Sequence[str],
    shape: tuple[int, int],
    dtype: str,
    *,
    moments: str | None = None,
    tokens: TokenSubset | None = None,
) -> FrameSpec:
    """What a step of the experiment records.

    Args:
        record: names of :data:`ARRAYS`.
        shape: ``(token, dim)`` of the embedding matrix, all tokens of it.
        dtype: of the embedding matrix.
        moments: dtype of the optimizer's moments; the matrix's if None.
        tokens: which tokens are recorded; None for all.
    """
    lengths = {"token": shape[0] if tokens is None else len(tokens), "dim": shape[1]}
    dimensions = {name: _MEANS.get(name, PLAIN) for name in record}
    dtypes = {name: _MEAN_DTYPE if name in _MEANS else dtype for name in record}
    dtypes |= {name: moments or dtype for name in _MOMENTS if name in dtypes}
    arrays = {
        ARRAYS[name]: (dtypes[name], tuple(lengths[axis] for axis in dimensions[name])) for name in record
    }
    return FrameSpec.of(
        arrays,
        ("loss", "learning_rate"),
        dimensions={ARRAYS[name]: axes for name, axes in dimensions.items()},
        tokens=tokens,
    )
