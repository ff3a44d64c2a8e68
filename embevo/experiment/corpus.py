"""What is trained on: a file of bytes, each byte a token id."""

import codecs
import hashlib
import shlex
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import platformdirs
from numpy.typing import NDArray

from embevo.errors import CorpusError

# What compressed files begin with, and the program that gives their text.
_COMPRESSED: Final = {
    b"\x1f\x8b": ("gzip", "gunzip -c"),
    b"BZh": ("bzip2", "bunzip2 -c"),
    b"\xfd7zXZ\x00": ("xz", "unxz -c"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    b"PK\x03\x04": ("zip", "unzip -p"),
}
_MARKS: Final = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


@dataclass(frozen=True)
class KnownCorpus:
    """An entry of the registry ``corpora.toml``.

    Attributes:
        name: what ``--corpus`` takes.
        title: the work.
        source: where the text comes from.
        licence: under which terms.
        cleaning: what was done to it.
        file: the shipped file's name; None for one that is fetched.
        fetch: the command that fetches it; None for a shipped one.
        bytes: size of the cleaned text; None where only the fetch tells.
        sha256: of the cleaned text; None where only the fetch tells.
        live_token_ids: the byte values that occur, as ranges; None where only the fetch tells.
    """

    name: str
    title: str
    source: str
    licence: str
    cleaning: str
    file: str | None = None
    fetch: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    live_token_ids: str | None = None


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as token ids.

    Attributes:
        name: registry name, or the path as it was given.
        source: where it comes from.
        byte_count: bytes of the file.
        sha256: hexadecimal SHA-256 of the file.
        dropped: bytes left out because they are not token ids.
        tokens: ``(byte_count - dropped,)`` uint8 token ids in reading order.
        token_count: ``(vocab_size,)`` int64 occurrences; 0 marks a dead token.
    """

    name: str
    source: str
    byte_count: int
    sha256: str
    dropped: int
    tokens: NDArray[np.uint8]
    token_count: NDArray[np.int64]

    @property
    def live_ids(self) -> list[int]:
        """Token ids that occur."""
        return [int(token) for token in np.flatnonzero(self.token_count)]

    @property
    def dead_ids(self) -> list[int]:
        """Token ids that never occur."""
        return [int(token) for token in np.flatnonzero(self.token_count == 0)]

    def to_mapping(self) -> dict[str, Any]:
        """What a run keeps of it, as plain values."""
        return {
            "name": self.name,
            "source": self.source,
            "bytes": self.byte_count,
            "sha256": self.sha256,
            "dropped_bytes": self.dropped,
        }


def id_ranges(ids: list[int]) -> str:
    """Ascending token ids for people: ``10, 32-34``."""
    starts = [token for token in ids if token - 1 not in ids]
    ends = [token for token in ids if token + 1 not in ids]
    return ", ".join(
        str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)
    )


@cache
def known_corpora() -> dict[str, KnownCorpus]:
    """The registry, by name."""
    registry = tomllib.loads(files("embevo_data").joinpath("corpora.toml").read_text("utf-8"))
    return {name: KnownCorpus(name=name, **entry) for name, entry in registry.items()}


def fetched_path(name: str) -> Path:
    """Where a fetched corpus is kept for later runs."""
    return platformdirs.user_cache_path("embevo") / f"{name}.txt"


def load_corpus(name: str, vocab_size: int, context: int, *, drop_out_of_vocab: bool = False) -> Corpus:
    """Read a corpus and check that it can be trained on.

    Args:
        name: a name of the registry, or the path of a file, text or binary.
        vocab_size: bytes from here on are not token ids.
        context: tokens of a training example; one more is needed for its last target.
        drop_out_of_vocab: leave out bytes that are not token ids, as the notebook does, instead of refusing.

    Raises:
        CorpusError: missing, empty, too short, damaged, or with bytes that are not token ids.
    """
    data, source = _read(name)
    if not data:
        raise CorpusError(f"the corpus {name} is empty: there is nothing to train on.")
    _check_uncompressed(name, data)
    raw = np.frombuffer(data, np.uint8)
    outside = raw >= vocab_size
    dropped = int(np.count_nonzero(outside))
    if dropped and not drop_out_of_vocab:
        offset = int(np.argmax(outside))
        values = np.unique(raw[outside])
        shown = ", ".join(f"0x{value:02x}" for value in values[:8]) + (", ..." if len(values) > 8 else "")
        raise CorpusError(
            f"the corpus {name} holds {dropped:,} of {len(raw):,} bytes that are not among the {vocab_size} "
            f"token ids: {shown}, the first at offset {offset:,}.{_mark(data)} Train with --vocab-size 256, "
            "or leave them out with --drop-out-of-vocab."
        )
    tokens = raw[~outside] if dropped else raw
    if len(tokens) < context + 1:
        raise CorpusError(
            f"the corpus {name} holds {len(tokens):,} tokens; a context of {context} needs at least "
            f"{context + 1:,}. Use a longer text or a smaller --context."
        )
    return Corpus(
        name=name,
        source=source,
        byte_count=len(raw),
        sha256=hashlib.sha256(data).hexdigest(),
        dropped=dropped,
        tokens=tokens,
        token_count=np.bincount(tokens, minlength=vocab_size).astype(np.int64),
    )


def _check_uncompressed(name: str, data: bytes) -> None:
    for magic, (kind, program) in _COMPRESSED.items():
        if data.startswith(magic):
            raise CorpusError(
                f"the corpus {name} is compressed ({kind}), and its bytes are noise: decompress it first, or "
                f"pass --corpus <({program} {shlex.quote(name)})."
            )


def _mark(data: bytes) -> str:
    """What there is to say of a byte order mark."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return f" It begins with the byte order mark of {encoding}; ASCII text has none."
    return ""


def _read(name: str) -> tuple[bytes, str]:
    """The bytes of a corpus, and where they come from."""
    known = known_corpora().get(name)
    if known is None:
        path = _path_of(name)
        return _read_file(path), str(path.absolute())
    if known.file is None:
        path = fetched_path(name)
        if not path.exists():
            raise CorpusError(f"the corpus {name} is not here yet: run `{known.fetch}` first.")
        return _read_file(path), known.source
    data = files("embevo_data").joinpath(known.file).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != known.sha256:
        raise CorpusError(
            f"the shipped corpus {known.file} has SHA-256 {found}, not {known.sha256}: it is damaged or was "
            "edited. Reinstall embevo, or pass the file by its path to train on it as it is."
        )
    return data, known.source


def _path_of(name: str) -> Path:
    if not name.strip():
        raise CorpusError("the corpus has no name: give one of embevo corpus list, or the path of a file.")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise CorpusError(f"cannot read the corpus {name}: {error}.") from error


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_relative_to("/dev/fd") or path.is_relative_to("/proc/self/fd"):
            raise CorpusError(
                f"the corpus was a pipe, {path}, which is gone: pass the same text again with --corpus."
            ) from error
        names = ", ".join(known_corpora())
        raise CorpusError(f"there is no corpus {path}: neither a file nor one of {names}.") from error
    except OSError as error:
        raise CorpusError(f"cannot read the corpus {path}: {error.strerror}.") from error
