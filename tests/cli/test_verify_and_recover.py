"""embevo verify and embevo recover: what they print, and their exit codes."""

import json
from pathlib import Path

from click.testing import CliRunner, Result
from embevo_cli.main import embevo

from support import written


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(embevo, [str(argument) for argument in arguments])


def interrupted(path: Path) -> Path:
    written.write_run(path, rows=11, sealed=8, config={}).journal.close()
    return path


def test_a_run_is_verified_recovered_and_repaired(tmp_path: Path) -> None:
    run = interrupted(tmp_path / "run")
    result = invoke("verify", run)
    assert result.exit_code == 0
    assert "3 steps are in the journal only" in " ".join(result.output.split())

    result = invoke("recover", run)
    assert (result.exit_code, result.output) == (0, "Sealed 3 steps from the journal: 8..10\n")
    assert invoke("recover", run).output == "Nothing to do: the run is in order.\n"

    chunk = run / "trajectory.zarr" / "embeddings" / "c.1.0.0"
    damaged = bytearray(chunk.read_bytes())
    damaged[3] ^= 1
    chunk.write_bytes(damaged)
    result = invoke("verify", "--deep", run)
    assert result.exit_code == 1
    said = " ".join(result.output.split())
    assert "WRONG: trajectory.zarr/embeddings/c.1.0.0 (block 1) is not what was written" in said
    assert "[steps 4..7]" in said
    found = json.loads(invoke("verify", "--json", run).output)
    assert (found["ok"], found["steps"], found["problems"][0]["block"]) == (False, 11, 1)

    result = invoke("recover", run)
    assert (result.exit_code, result.output) == (0, "Rebuilt trajectory.zarr/embeddings/c.1.0.0\n")
    assert invoke("verify", "--deep", run).exit_code == 0

    (run / "trajectory.zarr" / "loss" / "c.0").unlink()
    result = invoke("recover", run)
    assert result.exit_code == 1
    assert result.output.startswith("LOST: trajectory.zarr/loss/c.0 (block 0) is missing")


def test_what_is_no_run(tmp_path: Path) -> None:
    for command in ("verify", "recover"):
        result = invoke(command, tmp_path / "nothing")
        assert result.exit_code == 2
        assert "is not a run" in result.output
