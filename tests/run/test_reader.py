"""One view of a run: sealed blocks and the journal's tail, whatever the store and the dtype."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from embevo.errors import DamagedError, EmbevoError, NotARunError
from embevo.run.format.layout import Store, ZarrDtype
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run, open_run
from support import encoded, indices, written

SHAPE = (5, 3)
STORES: list[Store] = ["both", "zarr", "safetensors"]


def expected_of(
    run: written.WrittenRun, dtype: str, zarr_dtype: ZarrDtype = "float32", seed: int = 0
) -> np.ndarray[Any, Any]:
    values = encoded.matrices(run.steps, run.frame.shape, dtype, seed)
    return encoded.widened(values) if zarr_dtype == "float32" else values


@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
@pytest.mark.parametrize("dtype", list(encoded.DTYPES))
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(("rows", "sealed"), [(11, 8), (7, 7), (6, 0), (8, 8), (0, 0), (10, 6)])
def test_every_row_from_wherever_it_is(
    tmp_path: Path, rows: int, sealed: int, store: Store, dtype: str, zarr_dtype: ZarrDtype
) -> None:
    run = written.write_run(
        tmp_path / "run",
        rows=rows,
        sealed=sealed,
        frame=written.frame_of(SHAPE, embeddings=dtype, other="float64"),
        store=store,
        zarr_dtype=zarr_dtype,
        every=10,
    )
    found = open_run(run.path)
    assert found.steps.tolist() == run.steps.tolist()
    assert (found.sealed_rows, found.shape, found.store) == (sealed, (rows, *SHAPE), store)
    values = expected_of(run, dtype, zarr_dtype)
    assert found["embeddings"].dtype == values.dtype
    assert encoded.same_bits(found["embeddings"][:], values)
    assert encoded.same_bits(found["other"][:], expected_of(run, "float64"))
    assert found["loss"][:].tolist() == [encoded.loss_of(int(step)) for step in run.steps]
    images = list(found.images(range(rows)))
    assert [step for step, _ in images] == run.steps.tolist()
    for step, image in images:
        matrices = {name: encoded.matrix(step, SHAPE, kind) for name, kind in run.frame.matrices}
        assert image.tobytes() == run.frame.image(matrices).tobytes()


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
def test_slicing_is_that_of_a_numpy_array(
    tmp_path_factory: pytest.TempPathFactory, store: Store, zarr_dtype: ZarrDtype
) -> None:
    frame = written.frame_of((4, 6), embeddings="bfloat16")
    run = written.write_run(
        tmp_path_factory.mktemp("run"), rows=11, sealed=8, frame=frame, store=store, zarr_dtype=zarr_dtype
    )
    values = expected_of(run, "bfloat16", zarr_dtype)
    losses = np.array([encoded.loss_of(int(step)) for step in run.steps])
    found = open_run(run.path)

    @given(indices.keys(values.shape))
    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    def matrices(key: Any) -> None:
        assert encoded.same_bits(found["embeddings"][key], indices.orthogonal(values, key))

    @given(indices.keys(losses.shape))
    @settings(max_examples=20)
    def scalars(key: Any) -> None:
        assert encoded.same_bits(np.asarray(found["loss"][key]), np.asarray(indices.orthogonal(losses, key)))

    @given(indices.wrong_keys(values.shape))
    @settings(max_examples=20)
    def outside(key: Any) -> None:
        with pytest.raises(IndexError):
            found["embeddings"][key]

    matrices()
    scalars()
    outside()


def test_unknown_arrays_are_key_errors_that_list_the_known(tmp_path: Path) -> None:
    found = open_run(written.write_run(tmp_path / "run", rows=2, sealed=0).path)
    with pytest.raises(KeyError, match="no array 'nope'; it has embeddings, loss, learning_rate"):
        found["nope"]


def test_rows_move_from_the_journal_into_blocks_while_a_reader_has_them(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=4)
    found = open_run(run.path)
    before = found["embeddings"]
    # Seal the second block, and overwrite the slots of the first and second with the third and fourth.
    for row in (6, 7):
        written.put(run.journal, row, row)
    for row in range(4, 8):
        run.sealer.snapshot(run.journal, row)
    run.sealer.seal(run.journal, 8)
    for row in range(8, 16):
        written.put(run.journal, row, row)
    expected = encoded.matrices(encoded.steps_of(16), SHAPE, "float32")
    assert encoded.same_bits(before[:], expected[:6])
    assert encoded.same_bits(before[4:], expected[4:6])
    assert [image.tobytes() for _, image in found.images([5])]
    assert found.steps.tolist() == list(range(6)), "the rows do not change until refresh"
    found.refresh()
    assert found.steps.tolist() == list(range(16))
    assert encoded.same_bits(found["embeddings"][:], expected)


def test_a_short_block_that_grows_is_read_at_either_length(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=6)
    early = open_run(run.path)
    written.put(run.journal, 6, 6)
    run.sealer.snapshot(run.journal, 6)
    run.sealer.seal(run.journal, 7)
    late = open_run(run.path)
    expected = encoded.matrices(encoded.steps_of(7), SHAPE, "float32")
    assert encoded.same_bits(early["embeddings"][:], expected[:6])
    assert encoded.same_bits(late["embeddings"][:], expected)
    early.refresh()
    assert encoded.same_bits(early["embeddings"][:], expected)


@pytest.mark.parametrize("order", ["tail first", "group first"])
def test_a_block_sealed_and_overwritten_during_a_refresh_is_neither_lost_nor_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=4)
    found = open_run(run.path)
    original = type(run.journal).tail
    done: list[bool] = []

    def interrupted(journal: Any, first: int) -> int:
        stop = original(journal, first) if order == "tail first" else 0
        if not done:
            done.append(True)
            for row in range(4, 8):
                run.sealer.snapshot(run.journal, row)
            run.sealer.seal(run.journal, 8)
            for row in range(8, 14):
                written.put(run.journal, row, row)
        return stop if order == "tail first" else original(journal, first)

    monkeypatch.setattr(type(run.journal), "tail", interrupted)
    found.refresh()
    assert found.steps.tolist() == list(range(14))


def test_closing_while_a_reader_has_the_tail(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=4)
    found = open_run(run.path)
    for row in (4, 5):
        run.sealer.snapshot(run.journal, row)
    run.sealer.seal(run.journal, 6)
    run.journal.path.unlink()
    expected = encoded.matrices(encoded.steps_of(6), SHAPE, "float32")
    assert encoded.same_bits(found["embeddings"][:], expected)
    found.refresh()
    assert found.sealed_rows == 6
    assert encoded.same_bits(found["embeddings"][:], expected)


def test_a_tail_that_has_gone_is_an_error_and_not_an_endless_search(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=6, sealed=4)
    found = open_run(run.path)
    # Someone else's hands: the slot is overwritten though its row was never sealed, and the journal removed.
    run.journal.begin(5)
    run.journal.path.unlink()
    with pytest.raises(DamagedError, match="row 5"):
        found["embeddings"][5]


def test_tokens(tmp_path: Path) -> None:
    counts = np.zeros(128, np.int64)
    counts[[10, 65, 32]] = [3, 5, 7]
    frame = written.frame_of((128, 2))
    run = open_run(
        written.write_run(tmp_path / "run", rows=2, sealed=2, frame=frame, token_count=counts).path
    )
    assert run.tokens is not None
    assert run.tokens.live.tolist() == [10, 32, 65]
    assert len(run.tokens.dead) == 125
    assert open_run(written.write_run(tmp_path / "other", rows=2, sealed=2).path).tokens is None


def test_attributes(tmp_path: Path) -> None:
    run = open_run(written.write_run(tmp_path / "run", rows=1, sealed=0, seed=5).path)
    assert run.config == {"seed": 5}
    assert run.corpus == {}


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
    group["attributes"]["embevo"]["format"] = 3
    path.write_text(json.dumps(group))
    with pytest.raises(NotARunError, match="run format 3; this embevo reads up to 2"):
        open_run(run.path)


# Damage


def files_of(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def read_all(path: Path) -> dict[str, Any]:
    """Everything that a run gives out."""
    run = Run(path)
    rows = range(len(run.steps))
    return {
        "steps": run.steps.tobytes(),
        "images": [(step, image.tobytes()) for step, image in run.images(rows)],
        "arrays": [run[name][:].tobytes() for name in ("embeddings", "loss", "learning_rate")],
        "single": [run["embeddings"][row].tobytes() for row in rows],
        "tokens": run.tokens.count.tobytes() if run.tokens else b"",
        "attributes": run.attributes,
    }


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


def test_nothing_is_written_by_reading(tmp_path: Path) -> None:
    path = written.write_run(tmp_path / "run", rows=7, sealed=5).path

    def state() -> dict[str, tuple[bytes, int]]:
        return {
            name: ((path / name).read_bytes(), (path / name).stat().st_mtime_ns) for name in files_of(path)
        }

    before = state()
    read_all(path)
    assert state() == before


def test_a_copied_run_is_the_same_run(tmp_path: Path) -> None:
    path = written.write_run(tmp_path / "run", rows=7, sealed=5).path
    shutil.copytree(path, tmp_path / "copy")
    assert read_all(tmp_path / "copy") == read_all(path)


def test_few_rows_come_from_snapshots_or_else_from_the_group(tmp_path: Path) -> None:
    """One row of a block of many is read from its own file; a bad file is not believed, and not needed."""
    run = written.write_run(tmp_path / "run", rows=20, sealed=20, store="both", block_steps=16)
    expected = open_run(run.path)["embeddings"][:]
    chunk = run.path / "trajectory.zarr" / "embeddings" / "c.0.0.0"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"")
    assert encoded.same_bits(open_run(run.path)["embeddings"][3], expected[3])
    assert encoded.same_bits(open_run(run.path)["embeddings"][3:5, 1], expected[3:5, 1])
    chunk.write_bytes(whole)
    snapshot = RunPaths(run.path).snapshot(3)
    for damage in (snapshot.read_bytes()[:-1] + b"?", b""):
        snapshot.write_bytes(damage)
        assert encoded.same_bits(open_run(run.path)["embeddings"][3], expected[3])
    snapshot.unlink()
    assert encoded.same_bits(open_run(run.path)["embeddings"][3], expected[3])
