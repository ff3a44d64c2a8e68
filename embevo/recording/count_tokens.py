"""count_tokens(): how often each token occurs in what a model is trained on, whatever form that has."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import ArgumentError
from embevo.recording.token_strings import tokenizer_in

_IDS: Final = "input_ids"
_MASK: Final = "attention_mask"
_TEXT: Final = "text"


def count_tokens(
    data: object, tokenizer: object = None, *, vocabulary: int | None = None
) -> NDArray[np.int64]:
    """Count each token of a vocabulary, for ``token_count=`` of a recorder or of :func:`embevo.annotate`.

    Args:
        data: token ids in arrays, tensors or lists, nested or not; mappings with ``input_ids``, of which
            those that ``attention_mask`` hides are not counted; texts, with a tokenizer; or what gives any of
            these when it is iterated or indexed, such as a dataset or a ``DataLoader``. All of it is read
            once.
        tokenizer: what makes ids of texts: of transformers, tokenizers, tiktoken or sentencepiece, or the
            path of a ``tokenizer.json``. Nothing is added to a text, cut off or padded.
        vocabulary: how many tokens the model has; at least as many as the tokenizer. By default that of the
            tokenizer, or else one more than the largest id.

    Returns:
        ``(token,)`` int64 occurrences.

    Raises:
        ArgumentError: something in the data is none of these, or an id is not in the vocabulary.
        MissingLibraryError: a file is given, and the library that reads it is not installed.
    """
    if isinstance(tokenizer, str | Path):
        tokenizer = tokenizer_in(Path(tokenizer))
    counts = _Counts(vocabulary)
    for ids in _ids_in(data, tokenizer, top=True):
        counts.add(ids)
    least = 0 if vocabulary is not None or tokenizer is None else _size_of(tokenizer)
    return counts.found(least)


class _Counts:
    def __init__(self, vocabulary: int | None) -> None:
        self._vocabulary = vocabulary
        self._counts = np.zeros(vocabulary or 0, np.int64)

    def add(self, ids: NDArray[np.int64]) -> None:
        if not ids.size:
            return
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or (self._vocabulary is not None and high >= self._vocabulary):
            of = "" if self._vocabulary is None else f" of {self._vocabulary:,}"
            raise ArgumentError(
                f"the data has the token {low if low < 0 else high}, which is not in the vocabulary{of}"
            )
        counted = np.bincount(ids, minlength=len(self._counts))
        counted[: len(self._counts)] += self._counts
        self._counts = counted

    def found(self, least: int) -> NDArray[np.int64]:
        """The counts, of at least so many tokens."""
        missing = max(0, least - len(self._counts))
        return np.concatenate([self._counts, np.zeros(missing, np.int64)]).astype(np.int64)


def _ids_in(data: object, tokenizer: object, *, top: bool = False) -> Iterator[NDArray[np.int64]]:
    """The ids in the data, as arrays of one axis."""
    if isinstance(data, str):
        yield _encoded(data, tokenizer)
    elif hasattr(data, "keys") and hasattr(data, "__getitem__"):
        yield from _ids_of_mapping(data, tokenizer)
    elif hasattr(data, "__array__") or _is_tensor(data):
        yield _whole(data)
    elif isinstance(data, list | tuple):
        yield from _ids_of_list(data, tokenizer, top=top)
    elif isinstance(data, Iterable):
        for part in data:
            yield from _ids_in(part, tokenizer)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        # A dataset of torch need not end an iteration by itself.
        for index in range(len(data)):
            yield from _ids_in(data[index], tokenizer)
    else:
        raise ArgumentError(
            f"{_shown(data)} is neither token ids, nor a text, nor something that gives them: pass arrays, "
            f"lists, mappings with {_IDS}, or a dataset of them"
        )


def _ids_of_list(data: Any, tokenizer: object, *, top: bool) -> Iterator[NDArray[np.int64]]:
    plain = all(isinstance(part, int | np.integer) and not isinstance(part, bool) for part in data)
    if plain:
        yield np.array(data, np.int64)
        return
    one_of_many = not (top and isinstance(data, list)) and len(data) > 1
    if one_of_many and all(hasattr(part, "__array__") or _is_tensor(part) for part in data):
        raise ArgumentError(
            f"the data gives {len(data)} arrays at once, and does not say which of them are token ids: pass "
            "those alone, such as (batch[0] for batch in loader)"
        )
    for part in data:
        yield from _ids_in(part, tokenizer)


def _ids_of_mapping(data: Any, tokenizer: object) -> Iterator[NDArray[np.int64]]:
    names = list(data.keys())
    if _IDS in names:
        ids, mask = data[_IDS], data[_MASK] if _MASK in names else None
        if mask is None:
            yield from _ids_in(ids, None, top=True)
            return
        flat = [_joined(_ids_in(part, None, top=True)) for part in (ids, mask)]
        if flat[0].shape != flat[1].shape:
            raise ArgumentError(f"{_IDS} has {flat[0].size} tokens, and {_MASK} {flat[1].size}")
        yield flat[0][flat[1] != 0]
    elif _TEXT in names and tokenizer is not None:
        yield from _ids_in(data[_TEXT], tokenizer, top=True)
    else:
        raise ArgumentError(
            f"the data has {', '.join(map(str, names)) or 'nothing'}, and not {_IDS}: pass one part of it, "
            f"or a tokenizer for its {_TEXT}"
        )


def _joined(parts: Iterator[NDArray[np.int64]]) -> NDArray[np.int64]:
    found = list(parts)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _is_tensor(data: object) -> bool:
    return hasattr(data, "numpy") and hasattr(data, "detach")


def _whole(data: Any) -> NDArray[np.int64]:
    values = data.detach().cpu().numpy() if _is_tensor(data) else np.asarray(data)
    if values.dtype.kind not in "iub":
        raise ArgumentError(f"the data has an array of {values.dtype}; token ids are integers")
    flat: NDArray[np.int64] = values.reshape(-1).astype(np.int64)
    return flat


def _encoded(text: str, tokenizer: object) -> NDArray[np.int64]:
    """The ids of a text alone: without special tokens, and however long it is."""
    if tokenizer is None:
        raise ArgumentError("the data has texts: pass the tokenizer that makes token ids of them")
    fast: Any = getattr(tokenizer, "backend_tokenizer", None) or tokenizer
    if all(hasattr(fast, name) for name in ("to_str", "from_str", "no_truncation", "no_padding")):
        if fast.truncation or fast.padding:
            # What a model cuts off still is in the data. The user's own tokenizer stays as it is.
            fast = type(fast).from_str(fast.to_str())
            fast.no_truncation()
            fast.no_padding()
        return np.array(fast.encode(text, add_special_tokens=False).ids, np.int64)
    for method, options in (("encode_ordinary", {}), ("encode", _without_special(tokenizer))):
        if callable(getattr(tokenizer, method, None)):
            return np.array(list(getattr(tokenizer, method)(text, **options)), np.int64)
    raise ArgumentError(f"{_shown(tokenizer)} cannot make token ids of texts: it has no method encode")


def _without_special(tokenizer: object) -> dict[str, bool]:
    """Options of tokenizers of transformers that are not made by tokenizers."""
    return {"add_special_tokens": False, "truncation": False} if hasattr(tokenizer, "get_vocab") else {}


def _size_of(tokenizer: Any) -> int:
    if isinstance(tokenizer, Mapping):
        return 0
    for name in ("get_vocab_size", "get_piece_size"):
        if callable(getattr(tokenizer, name, None)):
            return int(getattr(tokenizer, name)())
    return int(tokenizer.n_vocab) if hasattr(tokenizer, "n_vocab") else len(tokenizer)


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
