"""Every command that takes a path, given what is no run: one message, an exit code, no traceback."""

import os
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from embevo_cli.main import COMMANDS, embevo

from embevo.run.format import layout
from embevo.run.format.frame import FrameSpec
from support import written
from support.commands import each

# What a command needs beside the path that is wrong. The wrong path stands where WRONG is.
WRONG, OUT = "WRONG", "OUT"
ARGUMENTS: dict[str, list[list[str]]] = {
    "train": [["--resume", WRONG], ["--config", WRONG, "--out", OUT], ["--corpus", WRONG, "--out", OUT]],
    "analyze": [[WRONG]],
    "report": [[WRONG, "-o", OUT]],
    "figures": [[WRONG, "--out", OUT]],
    "animate": [[WRONG, "-o", OUT + ".gif"]],
    "info": [[WRONG]],
    "verify": [[WRONG]],
    "recover": [[WRONG]],
    "rewind": [[WRONG, "--to", "1"]],
    "annotate": [[WRONG, "--clear"]],
    "ls": [[WRONG]],
    "export": [[WRONG, "--tensorboard-projector", OUT]],
    "export-safetensors": [[WRONG, "--out", OUT]],
    "import-safetensors": [[WRONG, "--out", OUT]],
    "view": [[WRONG, "--export", OUT]],
    "compact": [[WRONG], [WRONG, "--dry-run"]],
    "sweep": [[WRONG], [WRONG, "--status"]],
    "audit": [[WRONG]],
    "explain": [[WRONG, "--token", "0"]],
    "diff": [[WRONG, "RUN"], ["RUN", WRONG]],
    "null": [[WRONG, "--out", OUT]],
    "push": [[WRONG, "URL"]],
    "pull": [[WRONG, OUT]],
    "merge": [[WRONG, "RUN", "--out", OUT], ["RUN", WRONG, "--out", OUT]],
    "corpus": [["show", WRONG]],
    "plan": [["--sweep", WRONG, "--rate", "1"]],
}
KINDS = ["missing", "empty text", "too long", "file", "empty directory", "in a file", "newer format"]
# A folder may be empty, what is below it and cannot be opened is listed, and any file is a corpus.
ALLOWED = {("ls", "empty directory"), ("ls", "newer format"), ("corpus", "file")}


def wrong_path(kind: str, folder: Path) -> str:
    match kind:
        case "missing":
            return str(folder / "nowhere")
        case "empty text":
            return ""
        case "too long":
            return str(folder / ("x" * 300))
        case "file":
            (folder / "a file").write_bytes(b"hello")
            return str(folder / "a file")
        case "in a file":
            (folder / "a file").write_bytes(b"")
            return str(folder / "a file" / "run")
        case "empty directory":
            (folder / "empty").mkdir()
            return str(folder / "empty")
    # What a later version would write: everything agrees with everything, but for the number of the format.
    frame = FrameSpec.of(
        {"embeddings": ("float32", (5, 3))}, ("loss",), dimensions={"embeddings": ("a", "b")}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "format_of", lambda *_, **__: 999)
        run = written.write_run(folder / "newer", rows=6, sealed=4, frame=frame)
    run.journal.close()
    return str(run.path)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check(result: Any, where: str) -> None:
    """One message on stderr, of one line where click does not add how the command is used."""
    assert result.exit_code not in {0, 130}, where
    assert "Traceback" not in result.output
    lines = result.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert len(errors[0]) > len("Error: ") + 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(COMMANDS))
def test_what_is_no_run_is_refused(invoke: Any, tmp_path: Path, name: str, kind: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    frame = FrameSpec.of(
        {"embeddings": ("float32", (5, 3))}, ("loss",), dimensions={"embeddings": ("a", "b")}
    )
    run = written.write_run(tmp_path / "run", rows=6, sealed=6, frame=frame).path
    wrong = wrong_path(kind, source)
    before = tree(tmp_path)
    words = {
        WRONG: wrong,
        OUT: str(tmp_path / "out"),
        OUT + ".gif": str(tmp_path / "out.gif"),
        "RUN": str(run),
        "URL": (tmp_path / "bucket").as_uri(),
    }
    for arguments in ARGUMENTS[name]:
        result = invoke(name, *(words.get(word, word) for word in arguments))
        if (name, kind) in ALLOWED:
            assert result.exit_code == 0
            continue
        check(result, f"{name} {arguments}")
    # Nothing was written, neither into what was named nor beside it.
    assert {path: data for path, data in tree(tmp_path).items() if "writer.lock" not in path} == {
        path: data for path, data in before.items() if "writer.lock" not in path
    }


def test_every_command_is_among_them() -> None:
    assert ARGUMENTS.keys() == COMMANDS.keys()
    for name in COMMANDS:
        command = embevo.get_command(click.Context(embevo), name)
        assert command is not None


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs another user to become")
def test_an_unreadable_directory_is_refused() -> None:
    source = Path("/tmp") / f"embevo-unreadable-{os.getpid()}"
    shutil.rmtree(source, ignore_errors=True)
    run = written.write_run(source / "locked" / "run", rows=6, sealed=6).path
    open_to_all = written.write_run(source / "run", rows=6, sealed=6).path
    (source / "out").mkdir(mode=0o777)
    (source / "out").chmod(0o777)
    source.chmod(0o777)
    (source / "locked").chmod(0o700)
    run.chmod(0o700)
    words = {
        WRONG: str(run),
        OUT: str(source / "out/o"),
        OUT + ".gif": str(source / "out/o.gif"),
        "RUN": str(open_to_all),
        "URL": (source / "out" / "bucket").as_uri(),
    }
    commands = [
        [name, *(words.get(word, word) for word in arguments)]
        for name in COMMANDS
        if name != "train"
        for arguments in ARGUMENTS[name]
    ]
    # Root may read anything, so nobody asks.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    own = {"HOME": str(source / "out"), "MPLCONFIGDIR": str(source / "out")}
    try:
        for command, done in zip(commands, each(commands, source, env=own, before=nobody), strict=True):
            assert "Traceback" not in done.errors, (command, done)
            assert done.code in {1, 2}, (command, done)
            lines = done.errors.splitlines()
            assert len([line for line in lines if line.startswith("Error: ")]) == 1, (command, done)
    finally:
        shutil.rmtree(source)
