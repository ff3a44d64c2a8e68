"""Which tokens a run records, and what is said of them, go along when it is exported, imported and merged."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from embevo import open_run
from embevo.errors import ExportError, FrameMismatchError, NotSafetensorsError
from embevo.run.exchange.exporting import export_snapshots, export_stacked
from embevo.run.exchange.importing import import_snapshots, inspect_folder
from embevo.run.exchange.merging import inspect_runs, merge_runs
from embevo.run.format.token_names import Annotations, TokenString
from embevo.run.format.token_subset import TokenSubset
from embevo.run.reading.reader import Run
from embevo.run.repair.verification import verify
from embevo.run.writing.annotating import annotate_run
from support import frames
from support.pieces import write_piece
from support.saved import saved, write_folder


def write(path: Path, frame: Any, *, steps: int = 3, said: Annotations | None = None) -> Run:
    """A run of the values of a frame, of which this is said."""
    frames.write_run(path, frame, steps)
    if said is not None:
        annotate_run(path, lambda _, __: said)
    return open_run(path)


def just(said: Annotations, *_: object) -> Annotations:
    return said


def same_said(one: Annotations, other: Annotations) -> bool:
    return one.pack() == other.pack()


TEXTS = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=3), st.just(b"\xe2\x80"))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), frame=frames.frames())
def test_chosen_tokens_are_the_same_tokens_when_they_are_imported(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, frame: Any
) -> None:
    """Any tokens of a run of any, with what is said of them; into a run that is exported once more."""
    path = tmp_path_factory.mktemp("carried")
    ids = frame.token_ids if frame.token_count else np.zeros(0, np.int64)
    strings: list[TokenString] = data.draw(st.lists(TEXTS, min_size=len(ids), max_size=len(ids)))
    counts = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(ids), max_size=len(ids))), np.int64)
    said = Annotations(tuple(strings), counts, {"some": ids[::2]} if len(ids) else {}) if len(ids) else None
    run = write(path / "run", frame, said=said)
    chosen = None
    if len(ids):
        chosen = sorted(data.draw(st.sets(st.sampled_from(ids.tolist()), min_size=1)))
    export_snapshots(run, path / "out", range(3), tokens=chosen)
    names = [name for name, _ in frame.arrays]
    folder = inspect_folder(path / "out", {name: name for name in names})
    assert folder.not_said == ""
    import_snapshots(folder, path / "back", store="zarr")
    back = open_run(path / "back")
    wanted = ids if chosen is None else np.array(chosen)
    places = np.searchsorted(ids, wanted)
    assert back.frame.token_count == len(wanted)
    if len(ids) and (frame.tokens is not None or len(wanted) < len(ids)):
        assert back.frame.token_ids.tolist() == wanted.tolist()
        assert back.frame.tokens is not None
        assert back.frame.tokens.vocabulary == (len(ids) if frame.tokens is None else frame.tokens.vocabulary)
        for name, spec in frame.arrays:
            assert back.frame.by_name[name].dimensions == spec.dimensions
    for name, spec in frame.arrays:
        rows = places if spec.dimensions[0] == "token" else slice(None)
        for row in range(3):
            assert back[name][row].tobytes() == run[name][row][rows].tobytes()
    if said is not None and back.frame.token_count:
        assert back.token_names.strings == tuple(strings[place] for place in places)
        assert back.tokens is not None
        assert back.tokens.count.tolist() == counts[places].tolist()
        members = np.intersect1d(ids[::2], wanted)
        assert {name: found.tolist() for name, found in back.groups.items()} == (
            {"some": members.tolist()} if len(members) else {}
        )
    assert verify(back.path, deep=True).problems == []
    export_snapshots(back, path / "again", range(3))
    if len(ids) and (frame.tokens is not None or len(wanted) < len(ids)):
        for file in sorted((path / "out").glob("step_*")):
            assert (path / "again" / file.name).read_bytes() == file.read_bytes()


def test_the_files_are_those_of_save_file_with_metadata(tmp_path: Path) -> None:
    run = open_run(write_piece(tmp_path / "run", range(2)))
    (file,) = export_snapshots(run, tmp_path / "out", [1], tokens=[1, 4])
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    assert json.loads(metadata["embevo"]) == {
        "dimensions": {"embeddings": ["token", "dim"]},
        "tokens": {"vocabulary": 5, "ids": [[1, 4, 3]]},
    }
    assert file.read_bytes() == saved(load_file(file), metadata)
    stacked = load_file(export_stacked(run, tmp_path / "one", [0, 1], tokens=[1, 4]))
    assert stacked["token"].tolist() == [1, 4]


def test_the_single_file_of_a_run_of_some_tokens_names_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "files", [0, 1])
    chosen = TokenSubset.of([0, 7, 8, 30, 49], 50)
    import_snapshots(inspect_folder(folder, tokens=chosen), tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.frame.token_ids.tolist() == [0, 7, 8, 30, 49]
    assert load_file(export_stacked(run, tmp_path / "one", [0, 1]))["token"].tolist() == [0, 7, 8, 30, 49]


def test_the_files_of_a_run_itself_are_of_its_tokens(tmp_path: Path) -> None:
    """Their headers say nothing of tokens; the run around them does, and where it cannot, nobody guesses."""
    folder = write_folder(tmp_path / "files", [0, 1])
    chosen = TokenSubset.of([0, 7, 8, 30, 49], 50)
    import_snapshots(inspect_folder(folder, tokens=chosen), tmp_path / "run")
    said = Annotations(tuple("abcde"), None, {"own": np.array([7, 49])})
    annotate_run(tmp_path / "run", lambda _, __: said)
    found = inspect_folder(tmp_path / "run" / "snapshots")
    assert found.frame.tokens == chosen
    assert same_said(found.said, said)
    with pytest.raises(FrameMismatchError, match="not those given"):
        inspect_folder(tmp_path / "run" / "snapshots", tokens=TokenSubset.of(range(5), 50))
    (tmp_path / "run" / "trajectory.zarr" / "zarr.json").write_bytes(b"{}")
    with pytest.raises(FrameMismatchError, match="--token-ids and --vocabulary"):
        inspect_folder(tmp_path / "run" / "snapshots")
    assert inspect_folder(tmp_path / "run" / "snapshots", tokens=chosen).frame.tokens == chosen


def test_what_files_say_of_their_tokens_must_fit_together(tmp_path: Path) -> None:
    run = open_run(write_piece(tmp_path / "run", range(4)))
    export_snapshots(run, tmp_path / "out", [0, 1], tokens=[1, 4])
    with pytest.raises(FrameMismatchError, match="not those given"):
        inspect_folder(tmp_path / "out", tokens=TokenSubset.of([0, 1], 5))
    export_snapshots(run, tmp_path / "out", [2], tokens=[1, 3])
    with pytest.raises(FrameMismatchError, match=r"step_0000002.* does not hold the same tokens"):
        inspect_folder(tmp_path / "out")
    write_folder(tmp_path / "files", [0])
    with pytest.raises(FrameMismatchError, match="3 tokens are given for 5 rows"):
        inspect_folder(tmp_path / "files", tokens=TokenSubset.of(range(3), 3))
    for text in ("{}", "[", '{"dimensions":{},"tokens":{"vocabulary":5,"ids":[[4,1,1]]}}', 7):
        header = json.dumps(
            {
                "__metadata__": {"embevo": text},
                "embeddings": {"dtype": "U8", "shape": [1, 1], "data_offsets": [0, 1]},
            }
        ).encode()
        file = tmp_path / "files" / "step_0000000.safetensors"
        file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
        with pytest.raises(NotSafetensorsError, match="not what embevo writes"):
            inspect_folder(tmp_path / "files")


def test_what_is_said_beside_files_is_not_mixed_up(tmp_path: Path) -> None:
    path = write_piece(tmp_path / "run", range(3))
    annotate_run(path, lambda _, __: Annotations(tuple("abcde")))
    export_snapshots(open_run(path), tmp_path / "out", [0], tokens=[0, 1])
    with pytest.raises(ExportError, match=r"tokens\.json says something else"):
        export_snapshots(open_run(path), tmp_path / "out", [1], tokens=[0, 2])
    export_snapshots(open_run(path), tmp_path / "out", [1], tokens=[0, 1])
    # Of other tokens, and of another program.
    for other in (Annotations(tuple("abc")).pack(), b'{"format": "theirs"}'):
        (tmp_path / "out" / "tokens.json").write_bytes(other)
        found = inspect_folder(tmp_path / "out")
        assert found.said.is_empty
        assert "is not what embevo writes of these 2 tokens" in found.not_said
    annotate_run(path, lambda _, __: Annotations(), clear=True)
    export_snapshots(open_run(path), tmp_path / "out", [0], tokens=[0, 2], overwrite=True)
    assert not (tmp_path / "out" / "tokens.json").exists()


@pytest.mark.parametrize(
    ("one", "two", "wanted", "contradicted"),
    [
        (
            Annotations(tuple("abcde"), groups={"own": np.array([1])}),
            Annotations(groups={"two": np.array([2, 3])}),
            Annotations(tuple("abcde"), groups={"own": np.array([1]), "two": np.array([2, 3])}),
            [],
        ),
        (
            Annotations(tuple("abcde"), np.arange(5), {"own": np.array([1]), "same": np.array([0])}),
            Annotations(tuple("abcdx"), np.arange(5), {"own": np.array([2]), "same": np.array([0])}),
            Annotations(None, np.arange(5), {"same": np.array([0])}),
            ["token texts", "group own"],
        ),
        (
            Annotations(tuple("abcde"), np.arange(5)),
            Annotations(tuple("abcde")),
            Annotations(tuple("abcde")),
            ["token_count"],
        ),
    ],
)
def test_merged_runs_keep_what_none_contradicts(
    tmp_path: Path, one: Annotations, two: Annotations, wanted: Annotations, contradicted: list[str]
) -> None:
    pieces = [write_piece(tmp_path / "a", range(4)), write_piece(tmp_path / "b", range(3, 8))]
    for piece, said in zip(pieces, (one, two), strict=True):
        annotate_run(piece, partial(just, said))
    merging = inspect_runs(pieces)
    assert merging.contradicted == contradicted
    merge_runs(merging, tmp_path / "out")
    run = open_run(tmp_path / "out")
    assert run.annotations.strings == wanted.strings
    assert {name: ids.tolist() for name, ids in run.groups.items()} == {
        name: ids.tolist() for name, ids in wanted.groups.items()
    }
    # In the array, where plain Zarr readers see them.
    assert ("token_count" in run.layout.arrays) == (wanted.token_count is not None)
    assert (run.tokens is None) == (wanted.token_count is None)
    assert verify(run.path, deep=True).problems == []
    output = CliRunner().invoke(embevo, ["merge", *map(str, pieces), "--out", str(tmp_path / "cli")]).output
    said = f"Not the same in all, and left out: {', '.join(contradicted)}"
    assert (said in output) == bool(contradicted)


def test_on_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(embevo, [str(argument) for argument in arguments])
        return result.output if result.exit_code == 0 else f"refused: {result.output}"

    folder = write_folder(tmp_path / "files", [0, 1])
    assert "taken for all of the vocabulary, 0 to 4" in run(
        "import-safetensors", folder, "--out", tmp_path / "all"
    )
    ids = ("--token-ids", "0, 7-8 30\n49", "--vocabulary", 50)
    said = run("import-safetensors", folder, "--out", tmp_path / "some", *ids)
    assert "Imported 2 steps" in said
    assert "taken for" not in said
    assert open_run(tmp_path / "some").frame.token_ids.tolist() == [0, 7, 8, 30, 49]
    assert "go together" in run("import-safetensors", folder, "--out", tmp_path / "x", *ids[:2])
    wrong = run("import-safetensors", folder, "--out", tmp_path / "x", "--token-ids", "a", "--vocabulary", 5)
    assert "'a' is not a list of token ids" in wrong
    assert "refused" in run("import-safetensors", folder, "--out", tmp_path / "x", *ids[:3], 40)
    run("export-safetensors", tmp_path / "some", "--out", tmp_path / "out", "--tokens", "7,30")
    shutil.copy(tmp_path / "out" / "step_0000000.safetensors", tmp_path / "out" / "step_0000009.safetensors")
    (tmp_path / "out" / "tokens.json").write_text("[]")
    said = run("import-safetensors", tmp_path / "out", "--out", tmp_path / "back")
    assert "Left alone: " in said
    assert "taken for" not in said
    assert open_run(tmp_path / "back").frame.token_ids.tolist() == [7, 30]
