"""The texts of tokens and their counts, from tokenizers and data of every kind that programs have."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.utils.data import DataLoader, Dataset, TensorDataset
from transformers import PreTrainedTokenizerFast

from embevo import count_tokens
from embevo.errors import ArgumentError
from embevo.recording.token_strings import strings_of

TEXT = "the cat sat on the mat, and the other cat — café, naïve, 漢字 — sat on the other mat 12 times. " * 5
END = "<|end|>"


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def sentences() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def joined(strings: list[Any], ids: list[int]) -> bytes:
    return b"".join(
        text if isinstance(text, bytes) else text.encode() for text in map(strings.__getitem__, ids)
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_the_texts_of_byte_level_tokens_put_together_are_the_text(text: str) -> None:
    tokenizer = KINDS["tokenizers"]()
    strings = strings_of(tokenizer)
    assert joined(strings, tokenizer.encode(text).ids) == text.encode()
    for token, piece in enumerate(strings[1:], 1):
        assert isinstance(piece, bytes) == ("\ufffd" in tokenizer.decode([token]))
        assert isinstance(piece, bytes) or piece == tokenizer.decode([token])


class TikToken:
    """The methods of an Encoding of tiktoken."""

    n_vocab = 5
    pieces = (b"a", b" the", b"\xe2\x80", b"", None)

    def decode_single_token_bytes(self, token: int) -> bytes:
        if self.pieces[token] is None:
            raise KeyError(token)
        return self.pieces[token]

    def encode_ordinary(self, text: str) -> list[int]:
        return [0 if c == "a" else 1 for c in text]


class SentencePiece:
    """The methods of a processor of sentencepiece."""

    pieces = ("<unk>", "\u2581the", "<0xE2>", "<0x41>")

    def get_piece_size(self) -> int:
        return len(self.pieces)

    def id_to_piece(self, token: int) -> str:
        return self.pieces[token]

    def is_byte(self, token: int) -> bool:
        return token > 1

    def encode(self, text: str) -> list[int]:
        return [1] * len(text.split())


_TRAINED = byte_level()
KINDS: dict[str, Callable[[], Any]] = {
    "tokenizers": lambda: _TRAINED,
    "transformers": lambda: PreTrainedTokenizerFast(tokenizer_object=_TRAINED, eos_token=END),
}


def test_tokenizers_of_transformers_and_files_say_the_same(tmp_path: Path) -> None:
    strings = strings_of(_TRAINED)
    assert strings[0] == END
    assert strings_of(KINDS["transformers"]()) == strings
    _TRAINED.save(str(tmp_path / "tokenizer.json"))
    assert strings_of(tmp_path / "tokenizer.json") == strings


def test_other_kinds_of_tokenizers() -> None:
    strings = strings_of(sentences())
    assert strings[0] == "<unk>"
    assert " the" in strings
    assert not any(isinstance(text, str) and "\u2581" in text for text in strings)
    assert strings_of(TikToken()) == ["a", " the", b"\xe2\x80", "", None]
    assert strings_of(SentencePiece()) == ["<unk>", " the", b"\xe2", "A"]
    assert strings_of(["a", b"b", None]) == ["a", b"b", None]
    assert strings_of({"a": 0, "c": 2}) == strings_of({0: "a", 2: "c"}) == ["a", None, "c"]


@pytest.mark.parametrize("given", [7, b"abc", [1, 2], {"a": "b"}, {"a": -1}, "nowhere.json", object()])
def test_what_is_no_tokenizer_is_refused(given: object) -> None:
    with pytest.raises(ArgumentError):
        strings_of(given)


@pytest.mark.parametrize("text", ["", "{", '{"model": {"type": "none"}}', '"abc"', "[1]"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ArgumentError):
        strings_of(tmp_path / "tokenizer.json")


IDS = [[0, 1, 1], [2], [3, 1, 0]]
FLAT = [0, 1, 1, 2, 3, 1, 0]


class Indexed(Dataset[dict[str, Any]]):
    """Has no end of its own: an index past it is answered too, as in many datasets of torch."""

    def __len__(self) -> int:
        return len(IDS)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": torch.tensor(IDS[index % len(IDS)]), "labels": torch.tensor([4])}


def padded() -> tuple[torch.Tensor, torch.Tensor]:
    rows = [row + [4] * (3 - len(row)) for row in IDS]
    return torch.tensor(rows), torch.tensor([[1] * len(row) + [0] * (3 - len(row)) for row in IDS])


DATA: dict[str, Callable[[], object]] = {
    "lists": lambda: IDS,
    "flat": lambda: FLAT,
    "arrays": lambda: [np.array(row, np.uint16) for row in IDS],
    "one array": lambda: np.array(FLAT, np.int32),
    "tensors": lambda: [torch.tensor(row) for row in IDS],
    "dicts": lambda: [{"input_ids": row} for row in IDS],
    "a masked batch": lambda: dict(zip(["input_ids", "attention_mask"], padded(), strict=True)),
    "a dataset": Indexed,
    "a loader": lambda: DataLoader(Indexed(), batch_size=1),
    "a loader of masked batches": lambda: DataLoader(
        [{"input_ids": ids, "attention_mask": mask} for ids, mask in zip(*padded(), strict=True)],
        batch_size=2,
    ),
    "a loader of tensors": lambda: DataLoader(TensorDataset(torch.tensor(FLAT)), batch_size=2),
    "a generator": lambda: (np.array(row) for row in IDS),
}


@pytest.mark.parametrize("data", DATA)
def test_every_form_of_data_is_counted_the_same(data: str) -> None:
    counts = count_tokens(DATA[data](), vocabulary=6)
    assert counts.dtype == np.int64
    assert counts.tolist() == [2, 3, 1, 1, 0, 0]


@given(st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=8))
def test_counts_are_those_of_a_counter(rows: list[list[int]]) -> None:
    counted = Counter(token for row in rows for token in row)
    assert count_tokens(rows, vocabulary=21).tolist() == [counted[token] for token in range(21)]
    assert count_tokens(rows).tolist() == [counted[token] for token in range(max(counted, default=-1) + 1)]


def test_texts_are_counted_whole_whatever_a_tokenizer_is_set_to() -> None:
    """Nothing is cut off, padded or added, and the tokenizer is afterwards as it was."""
    tokenizer = byte_level()
    plain = count_tokens(TEXT, tokenizer)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4, pad_id=0, pad_token=END)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 0)])
    assert plain.sum() == len(byte_level().encode(TEXT).ids)
    assert count_tokens(TEXT, tokenizer).tolist() == plain.tolist()
    assert count_tokens([{"text": TEXT}], tokenizer).tolist() == plain.tolist()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    assert count_tokens([TEXT, TEXT], wrapped).tolist() == (2 * plain).tolist()
    assert len(tokenizer.encode(TEXT).ids) == 4
    assert count_tokens("aab", TikToken()).tolist() == [2, 1, 0, 0, 0]
    assert count_tokens("a b", SentencePiece(), vocabulary=9).tolist() == [0, 2, *[0] * 7]


WRONG: dict[str, tuple[Callable[[], object], dict[str, Any]]] = {
    "labels": (lambda: [[0, -100]], {}),
    "beyond": (lambda: [[0, 5]], {"vocabulary": 5}),
    "floats": (lambda: np.zeros(3), {}),
    "no tokenizer": (lambda: "abc", {}),
    "two tensors": (lambda: DataLoader(TensorDataset(torch.zeros(4).long(), torch.ones(4).long())), {}),
    "x and y": (lambda: (np.zeros(3, int), np.ones(3, int)), {}),
    "no ids": (lambda: [{"pixels": [1]}], {}),
    "splits": (lambda: {"train": [{"input_ids": [1]}]}, {}),
    "nothing": (object, {}),
    "a short mask": (lambda: {"input_ids": [1, 2], "attention_mask": [1]}, {}),
}


@pytest.mark.parametrize("data", WRONG)
def test_what_cannot_be_counted_is_refused(data: str) -> None:
    make, options = WRONG[data]
    with pytest.raises(ArgumentError):
        count_tokens(make(), **options)
