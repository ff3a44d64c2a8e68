"""Import and export: what goes in comes out, bit for bit, as safetensors itself would have written it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from embevo.errors import DamagedError, ExportError, FrameMismatchError, NotSafetensorsError, RunExistsError
from embevo.run.exchange.exporting import export_snapshots, export_stacked, select_steps
from embevo.run.exchange.importing import import_snapshots, inspect_folder
from embevo.run.format.layout import block_steps_for
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.verification import verify
from embevo.run.writing.directory import claim
from embevo.run.writing.sealing import Sealer
from support import encoded, written
from support.saved import saved, write_folder

WORDS = {2: np.uint16, 4: np.uint32, 8: np.uint64}
# Negative zero, the smallest subnormal, a signalling NaN and a NaN with every bit set.
SPECIAL = {
    "float64": [1 << 63, 1, 0x7FF0000000000001, (1 << 64) - 1],
    "float32": [1 << 31, 1, 0x7F800001, (1 << 32) - 1],
    "bfloat16": [1 << 15, 1, 0x7F81, (1 << 16) - 1],
    "float16": [1 << 15, 1, 0x7C01, (1 << 16) - 1],
}


@st.composite
def trajectories(draw: st.DrawFn) -> tuple[list[int], NDArray[Any]]:
    """Ascending steps with gaps, and any bits: ``(step, token, dim)``."""
    dtype = draw(st.sampled_from(sorted(encoded.DTYPES)))
    steps = sorted(draw(st.sets(st.integers(0, 10**8), min_size=1, max_size=6)))
    shape = (len(steps), draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    word = WORDS[encoded.DTYPES[dtype].itemsize]
    elements = st.one_of(st.sampled_from(SPECIAL[dtype]), st.integers(0, np.iinfo(word).max))
    bits = draw(npst.arrays(word, shape, elements=elements))
    return steps, bits.view(encoded.DTYPES[dtype])


@given(trajectory=trajectories(), zarr_dtype=st.sampled_from(["float32", "native"]))
@settings(deadline=None, max_examples=50)
def test_a_zarr_only_run_gives_the_imported_files_back(
    tmp_path_factory: pytest.TempPathFactory,
    trajectory: tuple[list[int], NDArray[Any]],
    zarr_dtype: Any,
) -> None:
    steps, values = trajectory
    tmp_path = tmp_path_factory.mktemp("exchange")
    folder = tmp_path / "folder"
    folder.mkdir()
    originals = [folder / f"step_{step:07d}.safetensors" for step in steps]
    for path, matrix in zip(originals, values, strict=True):
        path.write_bytes(saved({"embeddings": matrix}))
    import_snapshots(inspect_folder(folder), tmp_path / "run", store="zarr", zarr_dtype=zarr_dtype)
    run = open_run(tmp_path / "run")
    assert not RunPaths(run.path).snapshots.exists()
    assert run.steps.tolist() == steps

    files = export_snapshots(run, tmp_path / "out", range(len(steps)))
    assert [file.read_bytes() for file in files] == [path.read_bytes() for path in originals]

    stacked = export_stacked(run, tmp_path / "out", range(len(steps)))
    assert stacked.read_bytes() == saved({"embeddings": values, "step": np.array(steps)})


@pytest.fixture(params=["both", "zarr", "safetensors"])
def half_sealed(request: pytest.FixtureRequest, tmp_path: Path) -> written.WrittenRun:
    """Ten steps 0, 10, ..., 90 of two matrices; seven of them sealed, three in the journal."""
    frame = written.frame_of(embeddings="bfloat16", moments="float32")
    return written.write_run(tmp_path / "run", rows=10, sealed=7, frame=frame, store=request.param, every=10)


def image_of(step: int, tokens: list[int] | None = None, metadata: dict[str, str] | None = None) -> bytes:
    return saved(
        {
            name: encoded.matrix(step, (5, 3), dtype)[slice(None) if tokens is None else tokens]
            for name, dtype in (("embeddings", "bfloat16"), ("moments", "float32"))
        },
        metadata,
    )


@pytest.mark.parametrize("tokens", [None, [0, 3, 4]])
def test_rows_are_exported_from_wherever_they_are(
    half_sealed: written.WrittenRun, tmp_path: Path, tokens: list[int] | None
) -> None:
    run = open_run(half_sealed.path)
    seen: list[int] = []
    files = export_snapshots(run, tmp_path / "out", range(10), tokens=tokens, on_step=seen.append)
    assert seen == list(range(0, 100, 10))
    with safe_open(files[0], "numpy") as opened:
        metadata = opened.metadata()
    assert (metadata is None) == (tokens is None)
    assert {file.name: file.read_bytes() for file in files} == {
        f"step_{step:07d}.safetensors": image_of(step, tokens, metadata) for step in seen
    }
    assert sorted((tmp_path / "out").iterdir()) == files


def test_the_stacked_file_holds_steps_and_tokens(half_sealed: written.WrittenRun, tmp_path: Path) -> None:
    path = export_stacked(open_run(half_sealed.path), tmp_path / "out", [1, 6, 8], tokens=[2, 4])
    assert path.name == "steps_0000010_0000080.safetensors"
    arrays = {
        name: encoded.matrices([10, 60, 80], (5, 3), dtype)[:, [2, 4]]
        for name, dtype in (("embeddings", "bfloat16"), ("moments", "float32"))
    }
    expected = saved({**arrays, "step": np.array([10, 60, 80]), "token": np.array([2, 4])})
    assert path.read_bytes() == expected
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (slice(None), [0, 10, 20, 30]),
        (slice(10, 30), [10, 20]),
        (slice(11, None), [20, 30]),
        (slice(None, -10), [0, 10, 20]),
        (slice(-1, None), [30]),
        (slice(None, None, 4), [0, 20]),
        (slice(10, None, 20), [10, 30]),
        (slice(30, 31), [30]),
        (slice(0, 10**12), [0, 10, 20, 30]),
    ],
)
def test_steps_are_selected_by_number(tmp_path: Path, chosen: slice, expected: list[int]) -> None:
    run = open_run(written.write_run(tmp_path / "run", rows=4, sealed=3, every=10).path)
    rows = select_steps(run, chosen)
    assert run.steps[rows].tolist() == expected
    assert expected == [step for step in range(31)[chosen] if step in run.steps]


def test_what_cannot_be_selected_says_what_there_is(tmp_path: Path) -> None:
    run = open_run(written.write_run(tmp_path / "run", rows=4, sealed=3, every=10).path)
    with pytest.raises(ExportError, match=r"has no step in 1\.\.9; it has 0\.\.30 every 10"):
        select_steps(run, slice(1, 10))
    with pytest.raises(ExportError, match="stride -1 must be positive"):
        select_steps(run, slice(None, None, -1))
    with pytest.raises(ExportError, match=r"token ids 0\.\.4; asked for \[5, 7\]"):
        export_snapshots(run, tmp_path / "out", [0], tokens=[4, 5, 7])
    with pytest.raises(ExportError, match="belongs to the run itself"):
        export_snapshots(run, run.path / "more", [0])
    empty = open_run(written.write_run(tmp_path / "empty", rows=0, sealed=0).path)
    with pytest.raises(ExportError, match="has no steps yet"):
        select_steps(empty, slice(None))


@pytest.mark.parametrize("export", [export_snapshots, export_stacked])
def test_files_are_replaced_only_when_that_is_asked_for(tmp_path: Path, export: Any) -> None:
    run = open_run(written.write_run(tmp_path / "run", rows=4, sealed=3).path)
    export(run, tmp_path / "out", [1, 2])
    files = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    for file in files:
        file.write_bytes(b"mine")
    with pytest.raises(ExportError, match=f"are there already, the first is {min(files)}"):
        export(run, tmp_path / "out", [1, 2])
    assert {file.read_bytes() for file in files} == {b"mine"}
    export(run, tmp_path / "out", [1, 2], overwrite=True)
    assert {file: file.read_bytes() for file in files} == files


def test_damage_stops_an_export_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    run = written.write_run(tmp_path / "run", rows=8, sealed=8, store="zarr")
    (chunk,) = (run.path / "trajectory.zarr" / "embeddings").glob("c.1.*")
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    for export in (export_snapshots, export_stacked):
        with pytest.raises(DamagedError, match=r"block 1, steps 4\.\.7"):
            export(open_run(run.path), tmp_path / export.__name__, range(8))
    assert len(list((tmp_path / "export_snapshots").iterdir())) == 4
    assert list((tmp_path / "export_stacked").iterdir()) == []


def test_gaps_odd_padding_and_numeric_order_survive_an_import(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", [0, 9, 10])
    (folder / "step_0000009.safetensors").rename(folder / "step_9.safetensors")
    write_folder(tmp_path / "more", [12_345_678])
    (tmp_path / "more" / "step_12345678.safetensors").rename(folder / "step_00012345678.safetensors")
    (folder / "notes.txt").write_text("left alone")
    found = inspect_folder(folder)
    import_snapshots(found, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 9, 10, 12_345_678]
    assert encoded.same_bits(run["embeddings"][:], encoded.matrices(run.steps, (5, 3), "float32"))
    assert run.attributes["imported"]["steps"] == [[0, 9, 9], [10, 12_345_678, 12_345_668]]
    assert verify(run.path, deep=True).ok


def test_an_import_of_several_blocks_is_whole(tmp_path: Path) -> None:
    steps = list(range(2100))
    found = inspect_folder(write_folder(tmp_path / "folder", steps, shape=(2, 3), dtype="float16"))
    import_snapshots(found, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.sealed_rows == len(steps) > 2 * run.layout.block_steps
    assert encoded.same_bits(
        run["embeddings"][:], encoded.widened(encoded.matrices(steps, (2, 3), "float16"))
    )
    assert not RunPaths(run.path).journal.exists()
    assert verify(run.path, deep=True).ok


def test_other_headers_come_in_with_their_values_and_go_out_in_ours(tmp_path: Path) -> None:
    """With metadata, other tensors, and a name that cannot name an array."""
    matrix = encoded.matrix(3, (5, 3), "bfloat16")
    others = {"bias": np.zeros(7), "wte.weight": matrix}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "step_3.safetensors").write_bytes(saved(others, {"format": "pt"}))
    found = inspect_folder(tmp_path / "folder", {"wte.weight": "embeddings"})
    assert found.left_out == ["bias"]
    import_snapshots(found, tmp_path / "run", store="both")
    run = open_run(tmp_path / "run")
    ((step, image),) = run.images([0])
    assert (step, image.tobytes()) == (3, saved({"embeddings": matrix}))
    assert RunPaths(run.path).snapshot(3).read_bytes() == image.tobytes()
    with pytest.raises(FrameMismatchError, match=r"step_3\.safetensors: 'wte/weight' cannot name an array"):
        inspect_folder(tmp_path / "folder", {"wte.weight": "wte/weight"})
    with pytest.raises(FrameMismatchError, match=r"needs an array of its own"):
        inspect_folder(tmp_path / "folder", {"wte.weight": "a", "bias": "a"})


def test_folders_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", [0, 1, 2])
    odd = folder / "step_0000001.safetensors"

    odd.write_bytes(saved({"embeddings": encoded.matrix(1, (6, 3), "float32")}))
    with pytest.raises(
        FrameMismatchError, match=r"step_0000001.*F32 \(6, 3\); in step_0000000.*F32 \(5, 3\)"
    ):
        inspect_folder(folder)
    odd.write_bytes(saved({"embeddings": encoded.matrix(1, (5, 3), "float64")}))
    with pytest.raises(
        FrameMismatchError, match=r"step_0000001.*F64 \(5, 3\); in step_0000000.*F32 \(5, 3\)"
    ):
        inspect_folder(folder)
    odd.write_bytes(saved({"weights": encoded.matrix(1, (5, 3), "float32")}))
    with pytest.raises(FrameMismatchError, match=r"step_0000001.* no tensor 'embeddings'; it has weights"):
        inspect_folder(folder)
    odd.write_bytes(odd.read_bytes()[:-1])
    with pytest.raises(NotSafetensorsError, match="step_0000001"):
        inspect_folder(folder)
    odd.rename(folder / "step_2.safetensors")
    with pytest.raises(FrameMismatchError, match=r"are both step 2"):
        inspect_folder(folder)
    (folder / "step_2.safetensors").rename(folder / "step_last.safetensors")
    with pytest.raises(FrameMismatchError, match=r"step_last.* is not named step_<number>"):
        inspect_folder(folder)


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "step_0.safetensors").write_bytes(saved({"embeddings": np.zeros((2, 3), np.complex64)}))
    with pytest.raises(FrameMismatchError, match=r"step_0\.safetensors: embeddings is C64; embevo records"):
        inspect_folder(tmp_path)
    (tmp_path / "step_0.safetensors").write_bytes(saved({"embeddings": np.zeros((1, 2, 3, 4))}))
    with pytest.raises(FrameMismatchError, match=r"step_0\.safetensors.*1 to 3 axes"):
        inspect_folder(tmp_path)
    (tmp_path / "step_0.safetensors").rename(tmp_path / f"step_{2**63}.safetensors")
    with pytest.raises(FrameMismatchError, match="step numbers go up to"):
        inspect_folder(tmp_path)
    (tmp_path / "empty" / "snapshots").mkdir(parents=True)
    with pytest.raises(FrameMismatchError, match=r"holds no files named .* Did you mean .*empty/snapshots\?"):
        inspect_folder(tmp_path / "empty")


def test_a_run_is_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    found = inspect_folder(write_folder(tmp_path / "folder", [5, 6]))
    old = written.write_run(tmp_path / "run", rows=3, sealed=3)
    with pytest.raises(RunExistsError, match="already holds"):
        import_snapshots(found, old.path)
    assert open_run(old.path).steps.tolist() == [0, 1, 2]
    import_snapshots(found, old.path, overwrite=True)
    assert open_run(old.path).steps.tolist() == [5, 6]


@pytest.mark.parametrize("cut", [-1, None])
def test_a_file_that_changes_during_the_import_is_not_taken(tmp_path: Path, cut: int | None) -> None:
    folder = write_folder(tmp_path / "folder", [0, 1, 2, 3])
    found = inspect_folder(folder)
    victim = folder / "step_0000002.safetensors"
    other = saved({"embeddings": encoded.matrix(2, (3, 5), "float32")})
    victim.write_bytes(other if cut is None else victim.read_bytes()[:cut])
    with pytest.raises((FrameMismatchError, NotSafetensorsError), match="step_0000002") as caught:
        import_snapshots(found, tmp_path / "run")
    assert any("unfinished import" in note for note in caught.value.__notes__)


def test_an_interrupted_import_says_so_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = inspect_folder(write_folder(tmp_path / "folder", list(range(1100)), shape=(2, 2)))
    block = block_steps_for(found.frame, "float32")

    def stop(step: int) -> None:
        if step == block + 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_snapshots(found, tmp_path / "run", on_step=stop)
    run = open_run(tmp_path / "run")
    assert RunPaths(run.path).journal.exists()
    assert run.steps.tolist() == list(range(block + 11))
    assert encoded.same_bits(run["embeddings"][:], encoded.matrices(run.steps, (2, 2), "float32"))
    assert run.attributes["imported"]["steps"] == [[0, 1099, 1]]
    # Nothing holds the lock any more.
    import_snapshots(found, tmp_path / "run", overwrite=True)
    assert len(open_run(tmp_path / "run").steps) == 1100


def test_an_import_holds_the_writers_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = inspect_folder(write_folder(tmp_path / "folder", [0, 1]))
    seal = Sealer.seal

    def while_locked(self: Sealer, journal: Journal, stop: int) -> None:
        with pytest.raises(Exception, match="is being written by process"):
            claim(RunPaths(tmp_path / "run"), overwrite=True)
        seal(self, journal, stop)

    monkeypatch.setattr(Sealer, "seal", while_locked)
    import_snapshots(found, tmp_path / "run")
    assert not RunPaths(tmp_path / "run").lock.exists()


def test_the_stacked_file_is_read_by_safetensors(tmp_path: Path) -> None:
    run = open_run(written.write_run(tmp_path / "run", rows=9, sealed=4).path)
    arrays = load_file(export_stacked(run, tmp_path, range(9)))
    assert arrays["step"].tolist() == list(range(9))
    assert encoded.same_bits(arrays["embeddings"], encoded.matrices(arrays["step"], (5, 3), "float32"))
