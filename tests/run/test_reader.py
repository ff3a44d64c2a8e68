"""One view of a run: sealed blocks and the journal's tail, whatever the store and the dtype."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from embevo.errors import DamagedError
from embevo.run.format.layout import Store, ZarrDtype
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from support import encoded, indices, written
from support.readings import files_of, read_all

SHAPE = (5, 3)
STORES: list[Store] = ["both", "zarr", "safetensors"]


def expected_of(
    run: written.WrittenRun, dtype: str, zarr_dtype: ZarrDtype = "float32", seed: int = 0
) -> np.ndarray[Any, Any]:
    values = encoded.matrices(run.steps, run.frame.shape, dtype, seed)
    return encoded.widened(values) if zarr_dtype == "float32" else values


def test_a_run_and_its_arrays_say_what_they_are(tmp_path: Path) -> None:
    run = open_run(written.write_run(tmp_path / "run", rows=6, sealed=4, every=10).path)
    assert list(run) == ["embeddings", *run.frame.scalars]
    assert "embeddings" in run
    assert "loss" in run
    assert "weights" not in run
    assert 0 not in run
    tokens, dim = run.shape[1:]
    assert f"run: 6 rows, steps 0 to 50, embeddings float32 ({tokens}, {dim}), loss" in repr(run)
    assert repr(run["embeddings"]).startswith(f"<StepArray embeddings (step: 6, token: {tokens}, dim: {dim})")
    with pytest.raises(KeyError, match=r"it has embeddings, loss.*run\.steps"):
        run["step"]
    assert ": 0 rows, no step," in repr(open_run(written.write_run(tmp_path / "no", rows=0, sealed=0).path))


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
