"""Single-bit flips in every kind of file: found and named, or harmless; never a wrong number."""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zarr

from embevo.errors import EmbevoError
from embevo.experiment.checkpoint import save_checkpoint
from embevo.experiment.loop import LoopState
from embevo.recording.recorder import Recorder
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import encoded
from support.faults.oracle import Plan, check_scalars
from support.faults.rig import FULL, count
from support.faults.sources import Sources

torch = pytest.importorskip("torch")

# In a run that was closed and in one that was killed together.
FLIPS = int(os.environ.get("EMBEVO_FLIPS", "10000" if FULL else "150"))
# Numbers of drawn arrays; -1 is the matrix of a run of format 1.
DRAWN = [-1, 0, 4, 15, 21, 33] if FULL else [-1, 4]
MATRIX = Plan(block_steps=4, steps=14)


@pytest.fixture(scope="module", params=["closed", "killed"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 14 steps in blocks of 4, complete or with its last rows in the journal only."""
    return record(tmp_path_factory.mktemp("flips"), MATRIX, request.param)


@pytest.fixture(scope="module", params=["closed", "killed"], ids=["in-closed", "in-killed"])
def end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=DRAWN)
def plan(request: pytest.FixtureRequest) -> Plan:
    """10 steps in blocks of 8: what is done ten thousand times must be short."""
    drawn = request.param
    return Plan(block_steps=8, steps=10, drawn=drawn, scheduled="list" if drawn >= 0 else "")


@pytest.fixture(scope="module")
def tiny(end: str, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("tiny"), plan, end)


def record(directory: Path, plan: Plan, end: str) -> Path:
    path, killed = directory / "run", directory / "killed"
    sources = Sources(plan)
    vocabulary = [array.shape[0] for array in plan.frame.arrays if array.dimensions[0] == "token"]
    counts = np.arange(vocabulary[0]) if vocabulary else None
    recorder = Recorder(
        path, sources.tensors, block_steps=plan.block_steps, token_count=counts, **sources.arguments
    )
    save_checkpoint(path / "checkpoints", LoopState(3, {"moments": torch.arange(50.0)}, {"position": 7}))
    for index, step in enumerate(plan.all_steps):
        sources.put(index)
        recorder.capture(step, loss=encoded.loss_of(step), **sources.scalars(step))
        if index + 1 == plan.steps // plan.block_steps * plan.block_steps:
            recorder.flush()
    while not (path / "snapshots" / f"step_{plan.all_steps[-1]:07d}.safetensors").exists():
        pass
    shutil.copytree(path, killed)
    recorder.close()
    (killed / "writer.lock").unlink()
    return path if end == "closed" else killed


def read_all(path: Path, plan: Plan = MATRIX) -> None:
    """Read through embevo; a value that comes back must be the value that was captured."""
    run = open_run(path)
    steps = run.steps.tolist()
    check_scalars(run, plan, steps)
    for array in plan.frame.arrays:
        assert encoded.same_bits(run[array.name][:], plan.stored(array.expected(steps))), array.name


def read_plainly(path: Path, plan: Plan, name: str) -> None:
    """Read an array through zarr alone; a number that comes back must be the one that was captured."""
    group = zarr.open_group(path / "trajectory.zarr", mode="r")
    values = np.asarray(group[name][:])
    (array,) = [array for array in plan.frame.arrays if array.name == name]
    assert encoded.same_bits(values, plan.stored(array.expected(plan.all_steps[: len(values)])))


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def kind_of(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    if name.startswith("trajectory.zarr"):
        return "zarr.json" if name.endswith("zarr.json") else "chunk"
    return name.partition("/")[0]


def refuses(read: Callable[[], None], errors: tuple[type[Exception], ...]) -> bool:
    try:
        read()
    except errors:
        return True
    return False


@pytest.mark.timeout(2400)
def test_every_flip_is_found_or_harmless(tiny: Path, plan: Plan, tmp_path: Path) -> None:
    """Each kind of file gets its share of the flips, so that the many snapshots do not take them all."""
    run = tiny
    files: dict[str, list[Path]] = {}
    for path in sorted(run.rglob("*")):
        if path.is_file():
            files.setdefault(kind_of(path, run), []).append(path)
    chance = random.Random(f"{FLIPS} {run.name} {plan.drawn}")
    seen: Counter[tuple[str, str]] = Counter()
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    flips = FLIPS // 2 // len(DRAWN)
    for index in range(flips):
        kind = sorted(files)[index % len(files)]
        victim = copy / chance.choice(files[kind]).relative_to(run)
        whole = victim.read_bytes()
        bit = chance.randrange(8 * len(whole))
        flip(victim, bit)
        name = victim.relative_to(copy).as_posix()
        where = f"bit {bit} of {name}"
        found = not verify_quietly(copy, name)
        refused = refuses(partial(read_all, copy, plan), (EmbevoError,))
        assert found or not refused, f"{where}: refused by the reader, but not found by verify"
        if kind == "chunk":
            assert found, f"{where} was not found"
            array = name.split("/")[1]
            if array in [drawn.name for drawn in plan.frame.arrays]:
                refuses(partial(read_plainly, copy, plan, array), (ValueError, RuntimeError))
        elif kind != "journal":
            assert found, f"{where} was not found"
        seen[kind, "found" if found else "harmless"] += 1
        victim.write_bytes(whole)
    for (kind, what), number in seen.items():
        count(f"bits flipped in {kind} files: {what}", number)
    count("bits flipped", flips)
    assert verify(copy, deep=True).ok or run.name == "killed"


def verify_quietly(path: Path, name: str) -> bool:
    """Whether verify has nothing to say; what it says must name the file."""
    try:
        found = verify(path, deep=True)
    except EmbevoError as error:
        said = str(error)
    else:
        said = " ".join(f"{problem.file} {problem.what}" for problem in found.problems)
    assert not said or name in said, f"{said} does not name {name}"
    return not said


@pytest.mark.parametrize(
    "name",
    [
        "trajectory.zarr/embeddings/c.2.0.0",
        "trajectory.zarr/step/c.1",
        "trajectory.zarr/zarr.json",
        "trajectory.zarr/embeddings/zarr.json",
        "trajectory.zarr/token/c.0",
        "snapshots/step_0000007.safetensors",
    ],
)
@pytest.mark.parametrize("damage", ["flip", "delete", "truncate", "zero", "empty"])
def test_what_is_elsewhere_in_the_run_is_rebuilt(run: Path, tmp_path: Path, name: str, damage: str) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    victim = copy / name
    whole = victim.read_bytes()
    match damage:
        case "flip":
            flip(victim, 8 * (len(whole) // 2))
        case "delete":
            victim.unlink()
        case "truncate":
            victim.write_bytes(whole[: len(whole) // 2])
        case "zero":
            victim.write_bytes(bytes(len(whole)))
        case _:
            victim.write_bytes(b"")
    try:
        assert not verify(copy).ok
    except EmbevoError:
        assert damage == "delete"
    done = recover(copy)
    assert done.rebuilt == [name]
    assert done.lost == []
    assert verify(copy, deep=True).ok
    read_all(copy)
    if run.name == "run":
        assert victim.read_bytes() == whole


def test_whatever_is_elsewhere_is_rebuilt_of_any_arrays(tiny: Path, plan: Plan, tmp_path: Path) -> None:
    """Each file of the trajectory and each snapshot, in one of the ways in which files are hurt."""
    chance = random.Random(f"rebuilt {tiny.name} {plan.drawn}")
    # Nothing else in a run knows these, but where they hold nothing.
    once = ("loss", "learning_rate", "token_count", *plan.frame.scalars)
    for file in sorted([*tiny.glob("trajectory.zarr/**/c.*"), *tiny.glob("snapshots/*")]):
        name = file.relative_to(tiny).as_posix()
        copy = tmp_path / "run"
        shutil.copytree(tiny, copy)
        whole = file.read_bytes()
        victim = copy / name
        match chance.randrange(4):
            case 0:
                flip(victim, chance.randrange(8 * len(whole)))
            case 1:
                victim.unlink()
            case 2:
                victim.write_bytes(whole[: chance.randrange(len(whole))])
            case _:
                victim.write_bytes(bytes(len(whole)))
        done = recover(copy)
        if done.lost:
            assert name.split("/")[1] in once
            assert name in " ".join(done.lost)
        else:
            # The snapshot of a row that is in the journal too is written again with it.
            sealed = tiny.name == "run" or not name.startswith("snapshots/")
            assert done.rebuilt == [name] or (not sealed and done.rebuilt == [])
            assert verify(copy, deep=True).ok
            read_all(copy, plan)
            if tiny.name == "run":
                assert victim.read_bytes() == whole
        count("files damaged and recovered, of any arrays")
        shutil.rmtree(copy)


def test_two_swapped_blocks_are_found(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    chunks = copy / "trajectory.zarr" / "embeddings"
    (chunks / "c.1.0.0").rename(chunks / "other")
    (chunks / "c.2.0.0").rename(chunks / "c.1.0.0")
    (chunks / "other").rename(chunks / "c.2.0.0")
    found = verify(copy)
    assert {problem.block for problem in found.problems} == {1, 2}
    with pytest.raises(EmbevoError, match=r"c\.1\.0\.0 \(block 1, steps 4\.\.7\)"):
        open_run(copy)["embeddings"][4:8]
    assert sorted(recover(copy).rebuilt) == [
        "trajectory.zarr/embeddings/c.1.0.0",
        "trajectory.zarr/embeddings/c.2.0.0",
    ]
    read_all(copy)


def test_a_lost_scalar_is_said_to_be_lost(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "trajectory.zarr" / "loss" / "c.1").unlink()
    (lost,) = recover(copy).lost
    assert "loss/c.1 (block 1)" in lost
    assert not verify(copy).ok
