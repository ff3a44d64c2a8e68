"""embevo annotate: names, counts and groups, for a run that was recorded without."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from embevo import Recorder, open_run


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


VOCABULARY = {"t": 0, "h": 1, "e": 2, "Ġ": 3, "th": 4, "the": 5, "Ġthe": 6, "1": 7, "2": 8, "âĢ": 9}
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    weight = torch.zeros(12, 3)
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        recorder.capture(0)
    return tmp_path / "run"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    made = Tokenizer(models.BPE(VOCABULARY, MERGES))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_names_counts_and_groups_are_entered(invoke: Any, run: Path, tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text("the the the12")
    (tmp_path / "groups.toml").write_text(
        'digits = {matching = "[0-9]+"}\nwords = ["the", " the"]\nmore = [3, 9]\n'
    )
    output = ok(
        invoke(
            "annotate", run, "--tokenizer", tokenizer, "--corpus", tmp_path / "novel.txt", "--groups",
            tmp_path / "groups.toml",
        )
    )  # fmt: skip
    assert output.splitlines() == [
        "Named: 10 of 12 tokens; 2 have no name.",
        "Counted: 5 occurrences, 4 live and 8 dead tokens.",
        "Group digits: 2 tokens.",
        "Group words: 2 tokens.",
        "Group more: 2 tokens.",
    ]
    opened = open_run(run)
    assert opened.token_names.labels == [
        "t", "h", "e", "\u2423", "th", "the", "\u2423the", '"1"', '"2"', "\\xe2\\x80", "10", "11",
    ]  # fmt: skip
    assert opened.tokens is not None
    assert opened.tokens.live.tolist() == [5, 6, 7, 8]
    assert {name: ids.tolist() for name, ids in opened.groups.items()} == {
        "digits": [7, 8], "words": [5, 6], "more": [3, 9],
    }  # fmt: skip
    out = tmp_path / "out"
    ok(invoke("export-safetensors", run, "--out", out, "--single-file", "--tokens", ' the,"1"'))
    assert "Nothing is said" in ok(invoke("annotate", run, "--clear"))
    assert open_run(run).token_names.labels == [str(token) for token in range(12)]


def test_groups_name_tokens_that_an_earlier_call_has_named(invoke: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps([*"abcabc"]))
    ok(invoke("annotate", run, "--tokenizer", tmp_path / "names.json"))
    (tmp_path / "groups.toml").write_text('mine = ["a"]')
    result = invoke("annotate", run, "--groups", tmp_path / "groups.toml")
    assert result.exit_code == 2
    assert "one of the ids 0, 3" in result.stderr
    (tmp_path / "groups.toml").write_text('mine = {matching = "a"}')
    ok(invoke("annotate", run, "--groups", tmp_path / "groups.toml"))
    assert open_run(run).groups["mine"].tolist() == [0, 3]


WRONG = {
    "nothing": ([], "say what is to be entered"),
    "no tokenizer": (["--corpus", "text"], "--corpus needs --tokenizer"),
    "no TOML": (["--groups", "text"], "is not TOML"),
    "no such file": (["--tokenizer", "nowhere.json"], "is no file"),
    "not UTF-8": (["--tokenizer", "tokenizer.json", "--corpus", "bytes"], "is not UTF-8"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_and_nothing_entered(
    invoke: Any, run: Path, tokenizer: Path, tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "text").write_text("no TOML")
    (tmp_path / "bytes").write_bytes(b"\xff")
    arguments, message = WRONG[wrong]
    given = [tmp_path / part if not part.startswith("--") else part for part in arguments]
    result = invoke("annotate", run, *given)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (run / "tokens.json").exists()
