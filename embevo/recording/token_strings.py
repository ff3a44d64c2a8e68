"""The strings of a vocabulary, from whatever tokenizer a program has: known by its methods, not its type."""

import json
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from embevo.errors import ArgumentError, MissingLibraryError
from embevo.run.format.token_names import TokenString

# How GPT-2 and its descendants write the 256 bytes as characters that can be seen (bytes_to_unicode of its
# published encoder): printable ones stand for themselves, the rest follow from 256 on.
_SEEN: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN: Final = tuple(byte for byte in range(256) if byte not in _SEEN)
_BYTE_OF: Final = {
    **{chr(byte): byte for byte in _SEEN},
    **{chr(256 + place): byte for place, byte in enumerate(_HIDDEN)},
}
_SPACE_OF_SENTENCES: Final = "\u2581"


def strings_of(tokenizer: object) -> list[TokenString]:
    """The text of every token, in the order of ids; bytes where they are no text alone, None for a gap.

    Args:
        tokenizer: of transformers, tokenizers, tiktoken or sentencepiece, or anything with their methods; the
            path of a ``tokenizer.json`` or ``.model`` file; a list of strings; or a mapping of strings to ids
            or of ids to strings.

    Raises:
        ArgumentError: it is none of these, or gives what is no string.
        MissingLibraryError: a file is given, and the library that reads it is not installed.
    """
    if isinstance(tokenizer, str | Path):
        tokenizer = tokenizer_in(Path(tokenizer))
    if isinstance(tokenizer, Mapping):
        return _in_order(_by_id(tokenizer))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if _has(backend, "get_vocab"):
        tokenizer = backend
    if _has(tokenizer, "decode_single_token_bytes"):
        return _of_tiktoken(tokenizer)
    if _has(tokenizer, "id_to_piece") and _has(tokenizer, "is_byte"):
        return _of_sentencepiece(tokenizer)
    if _has(tokenizer, "get_vocab"):
        return _of_vocabulary(tokenizer)
    if isinstance(tokenizer, Iterable) and not isinstance(tokenizer, bytes | bytearray):
        return [_text(text, token) for token, text in enumerate(tokenizer)]
    raise ArgumentError(
        f"tokenizer is a {type(tokenizer).__name__}; give a tokenizer of transformers, tokenizers, tiktoken "
        "or sentencepiece, a tokenizer.json, or a list of strings in the order of token ids"
    )


def _has(thing: object, method: str) -> bool:
    return callable(getattr(thing, method, None))


def tokenizer_in(path: Path) -> Any:
    """The tokenizer, or the strings, in a file; errors as of :func:`strings_of`."""
    if not path.is_file():
        raise ArgumentError(f"tokenizer={str(path)!r} is no file: give a tokenizer.json or a .model file")
    if path.suffix == ".model":
        try:
            sentencepiece = import_module("sentencepiece")
        except ImportError as error:
            raise MissingLibraryError(f"{path} needs sentencepiece: pip install sentencepiece") from error
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path} is neither a tokenizer.json nor a list of strings: {error}") from error
    if isinstance(read, list) or (isinstance(read, dict) and "model" not in read):
        return read
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - only for its own files
    except ImportError as error:
        raise MissingLibraryError(f"{path} needs tokenizers: pip install tokenizers") from error
    try:
        return Tokenizer.from_file(str(path))
    # tokenizers raises nothing more particular.
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ArgumentError(f"{path} is not a tokenizer that tokenizers can read: {error}") from error


def _of_tiktoken(encoding: Any) -> list[TokenString]:
    def bytes_of(token: int) -> TokenString:
        try:
            return _decoded(encoding.decode_single_token_bytes(token))
        except KeyError:
            return None

    return [bytes_of(token) for token in range(int(encoding.n_vocab))]


def _of_sentencepiece(processor: Any) -> list[TokenString]:
    size = processor.get_piece_size() if _has(processor, "get_piece_size") else processor.vocab_size()
    return [
        _decoded(bytes([int(processor.id_to_piece(token)[1:-1], 16)]))
        if processor.is_byte(token)
        else str(processor.id_to_piece(token)).replace(_SPACE_OF_SENTENCES, " ")
        for token in range(int(size))
    ]


def _of_vocabulary(tokenizer: Any) -> list[TokenString]:
    """Strings of a transformers tokenizer: what its vocabulary says, undone as its decoder would."""
    pieces = {token: str(piece) for piece, token in tokenizer.get_vocab().items()}
    undo = _undoing(tokenizer, pieces)
    # Special tokens are written as they are, whatever is done to others.
    verbatim = _added(tokenizer)
    return _in_order({token: piece if token in verbatim else undo(piece) for token, piece in pieces.items()})


def _undoing(tokenizer: Any, pieces: Mapping[int, str]) -> Callable[[str], TokenString]:
    """How a piece of the vocabulary is made the text that it stands for."""
    kinds = _decoders(tokenizer)
    if "ByteLevel" in kinds or (not kinds and _spells_bytes(pieces)):
        return _from_byte_level
    if kinds & {"Metaspace", "ByteFallback", "Replace"} or _SPACE_OF_SENTENCES in "".join(pieces.values()):
        return _from_sentence
    return str


def _decoders(tokenizer: Any) -> set[str]:
    """Names of the decoders of a tokenizer of tokenizers; empty where it says nothing."""
    if not _has(tokenizer, "to_str"):
        return set()
    decoder = json.loads(tokenizer.to_str()).get("decoder") or {}
    return {str(part.get("type")) for part in (decoder, *decoder.get("decoders", []))} - {"None", "Sequence"}


def _spells_bytes(pieces: Mapping[int, str]) -> bool:
    """Whether every byte is there in the spelling of byte-level BPE."""
    return set(pieces.values()) >= set(_BYTE_OF)


def _added(tokenizer: Any) -> set[int]:
    if _has(tokenizer, "get_added_tokens_decoder"):
        return set(tokenizer.get_added_tokens_decoder())
    return set(getattr(tokenizer, "added_tokens_decoder", ()))


def _from_byte_level(piece: str) -> TokenString:
    if any(character not in _BYTE_OF for character in piece):
        return piece
    return _decoded(bytes(_BYTE_OF[character] for character in piece))


def _from_sentence(piece: str) -> TokenString:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        try:
            return _decoded(bytes([int(piece[3:5], 16)]))
        except ValueError:
            return piece
    return piece.replace(_SPACE_OF_SENTENCES, " ")


def _decoded(data: bytes) -> TokenString:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _by_id(mapping: Mapping[Any, Any]) -> dict[int, TokenString]:
    """Id to string, of a mapping either way."""
    found: dict[int, TokenString] = {}
    for key, value in mapping.items():
        text, token = (key, value) if _is_id(value) else (value, key)
        if not _is_id(token):
            raise ArgumentError(
                f"tokenizer maps {key!r} to {value!r}; it must map strings to ids, or ids to strings"
            )
        found[int(token)] = _text(text, int(token))
    return found


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return False
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(text: object, token: int) -> TokenString:
    if text is None or isinstance(text, str | bytes):
        return text
    raise ArgumentError(f"tokenizer gives {text!r} for token {token}; it must give a string, bytes or None")


def _in_order(by_id: Mapping[int, TokenString]) -> list[TokenString]:
    return [by_id.get(token) for token in range(max(by_id, default=-1) + 1)]
