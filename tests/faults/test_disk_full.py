"""A small file system that fills up: the error is clear and stays, nothing is torn, and recording goes on."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faults.oracle import Plan
from support.faults.rig import CREATED, Rig, count, quick_or_full

KIB = 1 << 10
SIZE = 3 << 20


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tmpfs of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    path = tmp_path_factory.mktemp("full")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "embevo", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no tmpfs can be mounted here: {error}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path, room: int) -> Path:
    """Take all of the disk but ``room`` bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - room)
    return ballast


@pytest.mark.timeout(1800)
def test_a_disk_that_fills_up_loses_nothing_that_was_captured(rig: Rig, full_disk: Path) -> None:
    rng = random.Random("full")
    places = quick_or_full(4, 100)
    for place in range(places):
        plan = Plan(
            seed=place,
            shape=(32, 16),
            store=rng.choice(["both", "zarr", "safetensors"]),
            block_steps=rng.choice([4, 16]),
            steps=120,
            flush_at=(30,),
            durability=rng.choice(["process", "power"]),
        )
        # From too little for the ring to nearly enough for the run.
        room = int((place + rng.random()) / places * 420 * KIB) + 16 * KIB
        path = str(full_disk / "run")
        ballast = fill(full_disk, room)
        outcome = rig.ask(plan, path=path, then=["as it is"], remove=False)
        where = f"{plan} {room} {outcome}"
        assert not outcome["hung"], where
        # No SIGBUS, and nothing but errors that are meant for people.
        assert outcome["exit"] == 0, where
        count("positions at which the disk was full")
        if not outcome["raised"]:
            assert outcome["captured"] == plan.steps, where
        for raised in outcome["raised"]:
            assert raised["type"] in {"RecordingError", "CreationError"}, where
            assert "No space left" in raised["message"], where
            assert path in raised["message"], where
            if raised["during"] != "creation":
                assert "writing step " in raised["message"], where
                assert "are safe in" in raised["message"], where
                # It was said again when the recorder was closed.
                assert outcome["raised"][-1]["during"] == "close", where
                assert outcome["raised"][-1]["message"] == raised["message"], where
        if outcome["phase"] < CREATED:
            ballast.unlink()
            assert rig.ask(plan, path=path, operation="nothing", then=["record over"])["recorded_over"] == ""
            continue
        # Everything is there as it is, before anything is mended and before there is room.
        assert outcome["rows"] == str(outcome["captured"]), where
        ballast.unlink()
        more = {"resume": True, "first": outcome["captured"]}
        resumed = rig.ask(plan, path=path, options=more, then=["check resumed"])
        assert not resumed["raised"], f"{where} {resumed}"
        assert resumed["found"] == "ok: exact", f"{where} {resumed}"
        count("steps captured before the disk was full, all found after it", outcome["captured"])
        count("runs that went on when there was room again", bool(outcome["raised"]))
