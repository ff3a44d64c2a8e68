"""What is no run, and what is damaged, is said to be: nothing of it is returned as a number."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from embevo.errors import DamagedError, EmbevoError, NotARunError
from embevo.run.format.layout import Store
from embevo.run.reading.reader import Run, open_run
from support import written
from support.readings import files_of, read_all

SHAPE = (5, 3)
STORES: list[Store] = ["both", "zarr", "safetensors"]


# What is wrong with a directory that is not a run


def test_what_is_no_run_says_why(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=5, sealed=5)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "nowhere": "there is no such directory",
        tmp_path / "file": "it is a file",
        tmp_path / "empty": "it has no manifest and no trajectory.zarr",
        run.path / "trajectory.zarr": f"it is the Zarr group of the run {run.path}",
        run.path / "snapshots": "embevo import-safetensors",
    }
    for path, reason in cases.items():
        with pytest.raises(NotARunError, match=reason):
            open_run(path)


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=5, sealed=5)
    path = run.path / "trajectory.zarr" / "zarr.json"
    group = json.loads(path.read_text())
    group["attributes"]["embevo"]["format"] = 4
    path.write_text(json.dumps(group))
    with pytest.raises(NotARunError, match="run format 4; this embevo reads up to 3"):
        open_run(run.path)


# Damage


@pytest.mark.parametrize("store", STORES)
def test_a_flipped_bit_anywhere_is_an_error_or_changes_nothing(tmp_path: Path, store: Store) -> None:
    count = np.arange(SHAPE[0], dtype=np.int64)
    path = written.write_run(tmp_path / "run", rows=7, sealed=5, store=store, token_count=count).path
    expected = read_all(path)
    detected = set()
    rng = np.random.default_rng(0)
    for name in files_of(path):
        content = (path / name).read_bytes()
        # Bit by bit in what is small; a sample of the rest.
        places = rng.choice(len(content) * 8, 12, replace=False)
        for place in places:
            data = bytearray(content)
            data[place // 8] ^= 1 << place % 8
            (path / name).write_bytes(data)
            try:
                found = read_all(path)
            except EmbevoError:
                detected.add(name)
            else:
                assert found == expected, f"bit {place} of {name}"
        (path / name).write_bytes(content)
    assert read_all(path) == expected
    assert {"manifest", "journal", "trajectory.zarr/zarr.json", "trajectory.zarr/token_count/c.0"} <= detected
    assert {"trajectory.zarr/embeddings/c.1.0.0", "snapshots/step_0000004.safetensors"} & detected


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("harm", ["delete", "empty", "halve", "zero", "double"])
def test_a_file_deleted_emptied_cut_or_zeroed_is_an_error_or_changes_nothing(
    tmp_path: Path, store: Store, harm: str
) -> None:
    path = written.write_run(tmp_path / "run", rows=7, sealed=5, store=store).path
    expected = read_all(path)
    detected: dict[str, str] = {}
    for name in files_of(path):
        file = path / name
        content = file.read_bytes()
        changed = {
            "delete": None,
            "empty": b"",
            "halve": content[: len(content) // 2],
            "zero": b"\0" * len(content),
            "double": content * 2,
        }[harm]
        if changed is None:
            file.unlink()
        else:
            file.write_bytes(changed)
        try:
            found = read_all(path)
        except EmbevoError as error:
            detected[name] = str(error)
        else:
            # Without its journal a run is as one that was closed: the unsealed rows are gone.
            assert found == expected or (name, harm) == ("journal", "delete"), name
        file.write_bytes(content)
    for name in files_of(path):
        if must_be_noticed(name, store):
            assert Path(name).name in detected[name], "the message names the file"


def must_be_noticed(name: str, store: Store) -> bool:
    """Whether reading everything through the reader depends on the file."""
    if name.startswith("snapshots"):
        return store == "safetensors"
    if name.startswith("trajectory.zarr"):
        kind = name.split("/")[1]
        return (
            kind in {"zarr.json", "loss", "learning_rate", "embeddings"}
            and name.count("/") * ("zarr.json" in name) != 2
        )
    return name != "journal"


@pytest.mark.parametrize("store", STORES)
def test_two_files_swapped_are_an_error(tmp_path: Path, store: Store) -> None:
    path = written.write_run(tmp_path / "run", rows=8, sealed=8, store=store).path
    kinds = ["trajectory.zarr/loss/c.{}"]
    kinds += (
        ["trajectory.zarr/embeddings/c.{}.0.0"]
        if store != "safetensors"
        else ["snapshots/step_000000{}.safetensors"]
    )
    for kind in kinds:
        first, second = path / kind.format(0), path / kind.format(1)
        for a, b in ((first, second), (second, first)):
            content = a.read_bytes(), b.read_bytes()
            a.write_bytes(content[1])
            b.write_bytes(content[0])
            with pytest.raises(DamagedError, match="is not what was written"):
                read_all(path)
            a.write_bytes(content[0])
            b.write_bytes(content[1])
    read_all(path)


def test_a_block_put_back_to_an_older_shorter_version_is_an_error(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=6)
    chunk = run.path / "trajectory.zarr" / "embeddings" / "c.1.0.0"
    old = chunk.read_bytes()
    written.put(run.journal, 6, 6)
    run.sealer.seal(run.journal, 7)
    chunk.write_bytes(old)
    with pytest.raises(DamagedError, match=r"block 1, steps 4\.\.6"):
        open_run(run.path)["embeddings"][:]


def test_the_message_of_a_damaged_block_names_file_block_and_steps(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=8, every=10)
    chunk = run.path / "trajectory.zarr" / "embeddings" / "c.1.0.0"
    chunk.write_bytes(b"x" + chunk.read_bytes()[1:])
    found = open_run(run.path)
    assert found["embeddings"][:4].shape == (4, *SHAPE), "the other block can be read"
    with pytest.raises(DamagedError, match=r"embeddings/c\.1\.0\.0 \(block 1, steps 40\.\.70 every 10\)"):
        found["embeddings"][5]


def test_every_flipped_bit_of_the_words_of_the_slots_is_found_or_harmless(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=4)
    memory = run.journal._memory

    def tail() -> tuple[list[int], list[bytes]]:
        found = Run(run.path)
        return found.steps.tolist(), [
            image.tobytes() for _, image in found.images(range(4, len(found.steps)))
        ]

    expected = tail()
    # Slots of a row in the tail, of the next row, and of a row sealed before. Commit, seal, step.
    for row, byte, bit in itertools.product((5, 6, 1), range(24), range(8)):
        place = run.journal._start(row) + byte
        memory[place] ^= 1 << bit
        try:
            assert tail() == expected, f"slot {row}, byte {byte}, bit {bit}"
        except DamagedError:
            pass
        finally:
            memory[place] ^= 1 << bit
    assert tail() == expected
