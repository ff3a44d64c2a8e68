"""embevo export-safetensors and embevo import-safetensors."""

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import Result
from embevo_cli.selection import token_choice
from safetensors.torch import load_file, save_file

from embevo import Recorder, open_run
from embevo.run.format.tokens import TokenNames
from support import encoded, written
from support.saved import write_folder

TORCH = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}

_OPTION = click.Option(["--tokens"])
_COMMAND = click.Context(click.Command("export"))


def tensor(step: int, dtype: str) -> torch.Tensor:
    """The encoded matrix of a step as a tensor, by its bits."""
    values = encoded.matrix(step, (5, 3), dtype)
    return torch.frombuffer(bytearray(values.tobytes()), dtype=TORCH[dtype]).view(5, 3)


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
@pytest.mark.parametrize("dtype", TORCH)
def test_exported_files_are_what_save_file_writes(
    invoke: Any, tmp_path: Path, dtype: str, zarr_dtype: Any
) -> None:
    """Notebook's folder -> run; recorded tensors -> run: both give save_file's bytes back."""
    weight = tensor(0, dtype)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with Recorder(
        tmp_path / "recorded", {"embeddings": weight}, store="zarr", zarr_dtype=zarr_dtype
    ) as recorder:
        for step in (0, 1, 2, 30, 31):
            weight.copy_(tensor(step, dtype))
            recorder.capture(step)
            save_file({"embeddings": weight}, theirs / f"step_{step:07d}.safetensors")
    ok(
        invoke(
            "import-safetensors",
            theirs,
            "--out",
            tmp_path / "imported",
            "--store",
            "zarr",
            "--zarr-dtype",
            zarr_dtype,
        )
    )
    expected = {path.name: path.read_bytes() for path in theirs.iterdir()}
    for run in ("recorded", "imported"):
        ok(invoke("export-safetensors", tmp_path / run, "--out", tmp_path / f"out-{run}"))
        assert {path.name: path.read_bytes() for path in (tmp_path / f"out-{run}").iterdir()} == expected

    ok(invoke("export-safetensors", tmp_path / "imported", "--out", tmp_path / "one", "--single-file"))
    (single,) = (tmp_path / "one").iterdir()
    stacked = torch.stack([tensor(step, dtype) for step in (0, 1, 2, 30, 31)])
    save_file({"embeddings": stacked, "step": torch.tensor([0, 1, 2, 30, 31])}, tmp_path / "expected")
    assert single.read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written.write_run(tmp_path / "run", rows=10, sealed=7, every=10).path


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (":", list(range(0, 100, 10))),
        ("20", [20]),
        ("20:40", [20, 30]),
        ("15:", list(range(20, 100, 10))),
        ("::40", [0, 40, 80]),
        ("10::40", [10, 50, 90]),
        ("-11:", [80, 90]),
    ],
)
def test_steps_are_numbers_and_not_rows(
    invoke: Any, run: Path, tmp_path: Path, steps: str, expected: list[int]
) -> None:
    output = ok(invoke("export-safetensors", run, "--out", tmp_path / "out", "--steps", steps))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"step_{step:07d}.safetensors" for step in expected]
    assert f"Wrote {len(names)} files" in output


@pytest.mark.parametrize("steps", ["x", "1:2:3:4", "-3", "1.5", ""])
def test_what_is_no_slice_is_refused(invoke: Any, run: Path, tmp_path: Path, steps: str) -> None:
    result = invoke("export-safetensors", run, "--out", tmp_path / "out", f"--steps={steps}")
    assert result.exit_code == 2
    assert "is not a step or a slice of steps" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [3]),
        ("0-3", [0, 1, 2, 3]),
        ("9,1,1-2", [1, 2, 9]),
        ("a", [97]),
        ("a-c,A", [65, 97, 98, 99]),
        ("-", [45]),
        ("+--", [43, 44, 45]),
        (" ", [32]),
        ("65-C", [65, 66, 67]),
    ],
)
def test_tokens_are_ids_characters_and_ranges(text: str, expected: list[int]) -> None:
    choice = token_choice(_COMMAND, _OPTION, text)
    assert choice is not None
    assert choice.ids_in(TokenNames.of({"vocabulary": "bytes"}, np.arange(128), None)) == expected


@pytest.mark.parametrize("text", ["", "1,,2", "ab", "3-1", "1-2-3", "0-99999999999", "٣٤", "é"])
def test_what_is_no_token_is_refused(invoke: Any, run: Path, tmp_path: Path, text: str) -> None:
    result = invoke("export-safetensors", run, "--out", tmp_path / "out", f"--tokens={text}")
    assert result.exit_code == 2
    assert "Invalid value for '--tokens'" in result.stderr


@pytest.mark.parametrize("text", ["A", "a-c", "0-2,#", "1-A", "A-127"])
def test_characters_choose_no_token_of_a_vocabulary_that_is_not_bytes(
    invoke: Any, run: Path, tmp_path: Path, text: str
) -> None:
    result = invoke("export-safetensors", run, "--out", tmp_path / "out", f"--tokens={text}")
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert f"{text.rsplit(',', maxsplit=1)[-1]!r} names a token by its text" in message
    assert "give ids" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" the", [1]), ("\u2423the,4", [1, 4]), ('"7"', [5]), ("0-1", [0, 1]),
        ('"a,b"', [2]), ('"say ""a"""', [3]),
        ("\\xe2", [4]),
    ],
)  # fmt: skip
def test_tokens_are_chosen_by_their_texts(text: str, expected: list[int]) -> None:
    names = TokenNames(np.arange(7), ("x", " the", "a,b", 'say "a"', b"\xe2", "7", "x"))
    choice = token_choice(_COMMAND, _OPTION, text)
    assert choice is not None
    assert choice.ids_in(names) == expected
    ambiguous = token_choice(_COMMAND, _OPTION, "x")
    assert ambiguous is not None
    with pytest.raises(click.BadParameter, match="one of the ids 0, 6"):
        ambiguous.ids_in(names)


def test_chosen_tokens_are_named_in_a_single_file(invoke: Any, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ok(
        invoke(
            "export-safetensors", run, "--out", out, "--single-file", "--tokens", "4,0-1", "--steps", "30:50"
        )
    )
    (path,) = out.iterdir()
    arrays = load_file(path)
    assert arrays["token"].tolist() == [0, 1, 4]
    assert arrays["step"].tolist() == [30, 40]
    expected = encoded.matrices([30, 40], (5, 3), "float32")[:, [0, 1, 4]]
    assert arrays["embeddings"].numpy().tobytes() == expected.tobytes()


def test_files_are_not_overwritten_unasked(invoke: Any, run: Path, tmp_path: Path) -> None:
    arguments = ("export-safetensors", run, "--out", tmp_path / "out")
    ok(invoke(*arguments))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "10 of the 10 files are there already" in result.stderr
    ok(invoke(*arguments, "--overwrite"))


def test_an_import_says_what_it_left_out_and_does_not_overwrite(invoke: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    save_file(
        {"wte": tensor(0, "float32"), "wpe": tensor(1, "float32"), "bias": torch.zeros(3)},
        tmp_path / "folder" / "step_7.safetensors",
    )
    arguments = ("import-safetensors", tmp_path / "folder", "--out", tmp_path / "run")
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "has no tensor 'embeddings'; it has bias, wpe, wte" in result.stderr
    assert not (tmp_path / "run").exists()
    keys = ("--key", "wte=embeddings", "--key", "wpe")
    output = ok(invoke(*arguments, *keys))
    assert "Not imported: bias" in output
    assert "Imported 1 steps" in output
    run = open_run(tmp_path / "run")
    assert encoded.same_bits(run["embeddings"][0], encoded.matrix(0, (5, 3), "float32"))
    assert encoded.same_bits(run["wpe"][0], encoded.matrix(1, (5, 3), "float32"))
    result = invoke(*arguments, *keys)
    assert result.exit_code == 2
    assert "already holds" in result.stderr
    ok(invoke(*arguments, *keys, "--overwrite"))


def test_a_run_is_not_made_in_place_of_the_folder_that_it_is_made_of(
    invoke: Any, run: Path, tmp_path: Path
) -> None:
    ok(invoke("export-safetensors", run, "--out", tmp_path / "files"))
    made = tmp_path / "made"
    ok(invoke("import-safetensors", tmp_path / "files", "--out", made))
    result = invoke("import-safetensors", made / "snapshots", "--out", made, "--overwrite")
    assert result.exit_code == 2
    assert "name another directory" in result.stderr
    assert len(list((made / "snapshots").iterdir())) == 10


def test_a_refused_folder_leaves_nothing(invoke: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", [0, 1, 2])
    (folder / "step_0000002.safetensors").write_bytes(b"torn")
    result = invoke("import-safetensors", folder, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "step_0000002.safetensors is not a safetensors file, or was cut short" in result.stderr
    assert not (tmp_path / "run").exists()
