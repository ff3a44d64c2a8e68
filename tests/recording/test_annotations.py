"""What is said of the tokens of a run: kept whole, named by the manifest, and never returned when damaged."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embevo import Recorder, open_run, recover, verify
from embevo.errors import ArgumentError, DamagedError, EmbevoError, RunInUseError
from embevo.recording.annotating import annotate
from embevo.run.format.token_names import Annotations, TokenString
from embevo.run.format.tokens import TokenNames, label_of
from embevo.run.manifest.appender import ManifestAppender
from embevo.run.writing import annotating
from support.interpreters import interpreter

NAMES = ["the", " the", "the", b"\xe2\x80", None, "7"]
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
GROUPS = st.dictionaries(
    st.from_regex(r"[A-Z][a-z]{0,8}", fullmatch=True), st.sets(st.integers(0, 999), min_size=1), max_size=3
)


def record(path: Path, steps: int = 5, **options: object) -> Path:
    weight = torch.nn.Parameter(torch.arange(18.0).reshape(6, 3))
    with Recorder(path, {"embeddings": weight}, block_steps=4, **options) as recorder:
        for step in range(steps):
            with torch.no_grad():
                weight += 1
            recorder.capture(step)
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@given(st.data(), st.sets(st.integers(0, 999), min_size=1, max_size=20))
def test_what_is_packed_is_parsed(data: st.DataObject, chosen: set[int]) -> None:
    ids = np.array(sorted(chosen))
    strings = data.draw(
        st.none() | st.lists(TEXTS | st.binary(max_size=3), min_size=len(ids), max_size=len(ids))
    )
    counts = data.draw(st.none() | st.lists(st.integers(0, 2**40), min_size=len(ids), max_size=len(ids)))
    groups = {
        name: np.array(sorted(group & chosen)) for name, group in data.draw(GROUPS).items() if group & chosen
    }
    said = Annotations(
        None if strings is None else tuple(strings), None if counts is None else np.array(counts), groups
    )
    again = Annotations.parse(said.pack(), ids)
    assert again.strings == said.strings
    assert (again.token_count is None) == (counts is None)
    assert counts is None or again.token_count.tolist() == counts
    assert {name: group.tolist() for name, group in again.groups.items()} == {
        name: group.tolist() for name, group in groups.items()
    }
    assert again.pack() == said.pack()


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" the", "\u2423the"), ("a b", "a\u2423b"), ("\n", "\\n"), ("\x07", "\\x07"), ("7", '"7"'),
        ("", '""'), (b"\xe2\x80", "\\xe2\\x80"), (None, "41"), ("漢", "漢"),
    ],
)  # fmt: skip
def test_labels_can_be_seen_and_are_not_taken_for_ids(text: TokenString, label: str) -> None:
    assert label_of(text, 41) == label


def test_a_recorder_keeps_strings_and_groups_and_the_run_knows_them(tmp_path: Path) -> None:
    run = open_run(record(tmp_path / "run", tokenizer=NAMES, groups={"mine": [4, 1]}))
    assert run.token_names.labels == ["the", "\u2423the", "the", "\\xe2\\x80", "4", '"7"']
    assert {name: ids.tolist() for name, ids in run.groups.items()} == {"mine": [1, 4]}
    assert verify(tmp_path / "run", deep=True).ok
    values = run["embeddings"][:]
    assert np.array_equal(run["embeddings"].sel(token=" the"), values[:, 1])
    assert np.array_equal(
        run["embeddings"].sel(token=[5, "\\xe2\\x80"], step=[4, 0]), values[[4, 0]][:, [5, 3]]
    )
    with pytest.raises(ArgumentError, match="name of 2 tokens: give one of the ids 0, 2"):
        run["embeddings"].sel(token="the")
    with pytest.raises(ArgumentError, match="no recorded token is called 'of'"):
        run["embeddings"].sel(token="of")


def test_a_run_without_names_is_the_one_that_it_was(tmp_path: Path) -> None:
    record(tmp_path / "plain")
    assert not (tmp_path / "plain/tokens.json").exists()
    assert b"annotated" not in (tmp_path / "plain/manifest").read_bytes()
    before = contents(tmp_path / "plain")
    annotate(tmp_path / "plain", tokenizer=NAMES)
    after = contents(tmp_path / "plain")
    changed = {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}
    assert changed == {"tokens.json", "manifest"}
    assert after["manifest"].startswith(before["manifest"])


def test_what_records_over_a_run_does_not_inherit_its_names(tmp_path: Path) -> None:
    record(tmp_path / "run", tokenizer=NAMES)
    record(tmp_path / "run", overwrite=True)
    assert open_run(tmp_path / "run").token_names.labels == [*"012345"]
    assert not (tmp_path / "run/tokens.json").exists()


def test_each_part_is_replaced_by_itself_and_all_of_it_cleared(tmp_path: Path) -> None:
    path = record(tmp_path / "run", tokenizer=NAMES, groups={"mine": [1]}, token_count=[1] * 6)
    run = open_run(path)
    annotate(path, token_count=[0, 1, 2, 3, 4, 5])
    annotate(path, groups={"more": np.arange(6) > 3})
    assert run.tokens is not None
    assert run.tokens.dead.tolist() == [0]
    assert run.token_names.labels[1] == "\u2423the"
    assert sorted(run.groups) == ["mine", "more"]
    annotate(path, clear=True)
    assert run.tokens.count.tolist() == [1] * 6
    assert run.groups == {}
    assert verify(path).ok


@given(st.data())
def test_damage_is_reported_and_no_name_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = record(tmp_path_factory.mktemp("damaged") / "run", steps=1, tokenizer=NAMES)
    whole = (path / "tokens.json").read_bytes()
    how = data.draw(st.sampled_from(["flip", "cut", "remove"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    if how == "remove":
        (path / "tokens.json").unlink()
    else:
        flipped = (
            whole[:place] + bytes([whole[place] ^ 1 << data.draw(st.integers(0, 7))]) + whole[place + 1 :]
        )
        (path / "tokens.json").write_bytes(flipped if how == "flip" else whole[:place])
    run = open_run(path)
    with pytest.raises(DamagedError, match=r"tokens\.json"):
        _ = run.token_names
    assert [problem.file for problem in verify(path).problems] == ["tokens.json"]
    assert [lost[:11] for lost in recover(path).lost] == ["tokens.json"]
    assert run["embeddings"][:].shape == (1, 6, 3)
    with pytest.raises(DamagedError, match="--clear"):
        annotate(path, groups={"mine": [1]})
    annotate(path, tokenizer=NAMES, clear=True)
    assert (path / "tokens.json").read_bytes() == whole
    assert verify(path).ok


STOPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before it is written": lambda patch: patch.setattr(annotating, "write_file", _stop),
    "before it is named": lambda patch: patch.setattr(ManifestAppender, "append", _stop),
    "before it is moved": lambda patch: patch.setattr(Path, "replace", _stop),
}


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("before", [None, ["x"] * 6])
def test_cut_short_it_says_the_old_or_the_new(tmp_path: Path, stop: str, before: list[str] | None) -> None:
    path = record(tmp_path / "run", tokenizer=before)
    with pytest.MonkeyPatch.context() as patch:
        STOPS[stop](patch)
        with pytest.raises(KeyboardInterrupt):
            annotate(path, tokenizer=NAMES)
    old = ["x"] * 6 if before else [*"012345"]
    new = TokenNames(np.arange(6), tuple(NAMES)).labels
    named = new if stop == "before it is moved" else old
    assert open_run(path).token_names.labels == named
    recover(path)
    assert not list(path.glob("*.partial"))
    assert open_run(path).token_names.labels == named
    assert verify(path).ok


KILLED = """
import os, signal, sys
from embevo import Recorder
import torch
recorder = Recorder(sys.argv[1], {"embeddings": torch.zeros(6, 3)}, block_steps=4)
for step in range(6):
    recorder.capture(step)
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
print("captured", flush=True)
sys.stdin.read()
recorder.close()
"""


def test_an_interrupted_run_is_annotated_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    done = subprocess.run([interpreter(), "-c", KILLED, path, "kill"], check=False)
    assert done.returncode == -signal.SIGKILL
    annotate(path, tokenizer=NAMES)
    assert (path / "journal").exists()
    assert open_run(path).token_names.labels[1] == "\u2423the"
    recover(path)
    assert open_run(path).steps.tolist() == [*range(6)]
    assert open_run(path).token_names.labels[1] == "\u2423the"
    assert verify(path, deep=True).ok


def test_a_run_that_is_being_recorded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    command = [interpreter(), "-c", KILLED, path, "live"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "captured\n"
        with pytest.raises(RunInUseError):
            annotate(path, tokenizer=NAMES)
        writer.communicate("")
    assert open_run(path).token_names.labels == [*"012345"]


@pytest.mark.parametrize("line", [0, 1, -1])
def test_a_manifest_with_a_damaged_line_keeps_the_names(tmp_path: Path, line: int) -> None:
    """The line of the names, or one before it: the names are those that the file itself has."""
    path = record(tmp_path / "run", tokenizer=NAMES)
    lines = (path / "manifest").read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"kind"', b'"kinc"', 1)
    (path / "manifest").write_bytes(b"".join(lines) + b"\n" * (line == -1))
    recover(path)
    assert open_run(path).token_names.labels[1] == "\u2423the"
    assert open_run(path).steps.tolist() == [*range(5)]


def test_resuming_gives_names_to_a_run_that_had_none(tmp_path: Path) -> None:
    path = record(tmp_path / "run", groups={"mine": [1]})
    with Recorder(path, {"embeddings": torch.zeros(6, 3)}, resume=True, tokenizer=NAMES) as recorder:
        recorder.capture(100)
    run = open_run(path)
    assert run.token_names.labels[1] == "\u2423the"
    assert list(run.groups) == ["mine"]
    assert run.steps.tolist() == [*range(5), 100]
    assert verify(path, deep=True).ok


BAD: dict[str, dict[str, object]] = {
    "is outside": {"groups": {"mine": [6]}},
    "negative": {"groups": {"mine": [-1]}},
    "is hidden": {"groups": {"dead": [1]}},
    "no name": {"groups": {"a b": [1]}},
    "no ids": {"groups": {"mine": "abc"}},
    "floats": {"groups": {"mine": [0.5]}},
    "short mask": {"groups": {"mine": [True, False]}},
    "empty": {"groups": {"mine": []}},
    "no mapping": {"groups": [1]},
    "too many": {"groups": {f"g{i}": [1] for i in range(13)}},
    "no tokenizer": {"tokenizer": 7},
    "no strings": {"tokenizer": [1, 2]},
    "no file": {"tokenizer": "nowhere/tokenizer.json"},
    "of no token": {"tokenizer": {"a": 100}},
    "not counts": {"token_count": [1, 2]},
}


@pytest.mark.parametrize("given", BAD)
def test_what_is_none_is_refused_and_nothing_changed(tmp_path: Path, given: str) -> None:
    path = record(tmp_path / "run", tokenizer=NAMES)
    before = contents(path)
    with pytest.raises(ArgumentError):
        annotate(path, **BAD[given])
    assert contents(path) == before
    with pytest.raises(EmbevoError):
        record(tmp_path / "new", **BAD[given])
    assert not (tmp_path / "new").exists()


def test_rows_that_pad_a_vocabulary_have_no_name_and_strings_too_many_none(tmp_path: Path) -> None:
    assert open_run(record(tmp_path / "few", tokenizer=["a", "b"])).token_names.labels == [*"ab2345"]
    many = open_run(record(tmp_path / "many", tokenizer=[*"abcdefgh"]))
    assert many.token_names.labels == [*"abcdef"]


def test_of_some_tokens_names_counts_and_rows_are_those_of_their_ids(tmp_path: Path) -> None:
    path = record(
        tmp_path / "run",
        tokens=[5, 1, 3],
        tokenizer=NAMES,
        token_count=[9, 0, 9, 2, 9, 0],
        groups={"mine": [0, 3]},
    )
    run = open_run(path)
    assert run.token_names.labels == ["\u2423the", "\\xe2\\x80", '"7"']
    assert run.tokens is not None
    assert (run.tokens.live.tolist(), run.tokens.dead.tolist()) == ([3], [1, 5])
    assert run.groups["mine"].tolist() == [3]
    assert np.array_equal(run["embeddings"].sel(token=[5, " the"]), run["embeddings"][:][:, [2, 0]])
    for token in (0, 2, 6, -1):
        with pytest.raises(ArgumentError, match="is not recorded"):
            run["embeddings"].sel(token=token)
