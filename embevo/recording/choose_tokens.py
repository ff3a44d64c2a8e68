"""Which rows of the vocabulary to record: what ``tokens=`` means."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from embevo.errors import ArgumentError
from embevo.recording.options import counts_of
from embevo.run.format.array_spec import default_dimensions
from embevo.run.format.token_subset import TokenSubset

Tokens = str | Path | Iterable[int] | NDArray[np.bool_] | Tensor


def choose_tokens(
    tokens: Tokens | None,
    likes: Mapping[str, Tensor],
    dimensions: Mapping[str, Sequence[str]] | None,
    token_count: ArrayLike | None,
) -> tuple[TokenSubset | None, NDArray[np.int64] | None]:
    """The tokens that are recorded, and how often each of them occurs.

    Args:
        tokens: token ids in any order, a mask ``(token,)``, ``dead`` or ``live``, or the path of a text file
            of ids between white space; None for all tokens.
        likes: tensors of the shape of each array, of all tokens.
        dimensions: names of the axes of arrays, by name of the array.
        token_count: ``(token,)`` occurrences of each token of the vocabulary; None if they are not known.

    Raises:
        ArgumentError: it names no token, or one that the vocabulary does not have, or the counts are none.
    """
    if tokens is None and token_count is None:
        return None, None
    vocabulary = _vocabulary(likes, dimensions)
    counts = None if token_count is None else counts_of(token_count, vocabulary)
    if tokens is None:
        return None, counts
    ids = _ids(tokens, vocabulary, counts)
    outside = [token for token in ids if not 0 <= token < vocabulary]
    if outside:
        raise ArgumentError(
            f"token {outside[0]} is not in the vocabulary: it has the ids 0 to {vocabulary - 1}"
        )
    if not ids:
        raise ArgumentError(f"tokens={_shown(tokens)} names no token: nothing would be recorded")
    subset = TokenSubset.of(sorted(set(ids)), vocabulary)
    return subset, None if counts is None else counts[subset.ids]


def _vocabulary(likes: Mapping[str, Tensor], dimensions: Mapping[str, Sequence[str]] | None) -> int:
    shapes = {name: tuple(like.shape) for name, like in likes.items()}
    named = default_dimensions(shapes) | {name: tuple(axes) for name, axes in (dimensions or {}).items()}
    sizes = [shapes[name][0] for name in shapes if named[name][:1] == ("token",)]
    if not sizes:
        raise ArgumentError(
            "tokens are chosen or counted, and no array has the axis token: name it with dimensions="
        )
    return sizes[0]


def _ids(tokens: Tokens, vocabulary: int, token_count: NDArray[np.int64] | None) -> list[int]:
    if isinstance(tokens, str) and tokens in {"dead", "live"}:
        if token_count is None:
            raise ArgumentError(
                f"tokens={tokens!r} needs token_count=: without it no token is known to be {tokens}"
            )
        return np.flatnonzero((token_count == 0) if tokens == "dead" else (token_count > 0)).tolist()
    if isinstance(tokens, str | Path):
        return _from_file(Path(tokens))
    given = tokens.detach().cpu().numpy() if isinstance(tokens, Tensor) else tokens
    try:
        values = np.asarray(given if isinstance(given, np.ndarray) else list(given))
    except (TypeError, ValueError) as error:
        raise _neither(tokens) from error
    if values.ndim == 1 and values.dtype == bool:
        if len(values) != vocabulary:
            raise ArgumentError(
                f"the mask of tokens has {len(values)} entries; the vocabulary has {vocabulary}"
            )
        return np.flatnonzero(values).tolist()
    if values.ndim == 1 and (values.size == 0 or np.issubdtype(values.dtype, np.integer)):
        return [int(token) for token in values]
    raise _neither(tokens)


def _from_file(path: Path) -> list[int]:
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(
            f"tokens={str(path)!r} is neither dead, live nor a file of token ids: {error}"
        ) from error
    bad = next((word for word in words if not (word.isascii() and word.isdigit())), None)
    if bad is not None:
        raise ArgumentError(f"{path} holds {bad[:40]!r}; a file of tokens holds ids between white space")
    return [int(word) for word in words]


def _neither(tokens: object) -> ArgumentError:
    return ArgumentError(
        f"tokens is {_shown(tokens)}; give token ids, a mask over the vocabulary, 'dead', 'live', or a file "
        "of ids"
    )


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
