"""A run that is held open while another one is recorded in its place."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embevo.errors import RunReplacedError
from embevo.run.format.layout import Store
from embevo.run.paths import RunPaths
from embevo.run.reading.following import Following
from embevo.run.reading.reader import Run, open_run
from embevo.run.reading.rows import Rows
from embevo.run.writing import replacing
from support import encoded, written
from support.written import write_run

READS: dict[str, Callable[[Run], Any]] = {
    "row": lambda run: run["embeddings"][0],
    "last row": lambda run: run["embeddings"][-1],
    "rows": lambda run: run["embeddings"][2:6],
    "all": lambda run: run["embeddings"][:],
    "tokens": lambda run: run["embeddings"][:, [0, 2]],
    "scalar": lambda run: run["loss"][:],
    "images": lambda run: list(run.images(range(len(run.steps)))),
    "tail images": lambda run: list(run.images([len(run.steps) - 1])),
    "steps": lambda run: run.sealed_steps([0, 1]),
    "counts": lambda run: run.tokens,
    "refresh": lambda run: run.refresh(),
}
STORES: list[Store] = ["both", "zarr", "safetensors"]


def record(path: Path, *, rows: int, sealed: int, store: Store, shape: tuple[int, int], seed: int) -> None:
    """Record a run, over the one that is there, as recording with overwrite does."""
    parts = path if not path.exists() else RunPaths(path).staged
    counts = np.arange(shape[0], dtype=np.int64)
    run = write_run(
        parts,
        rows=rows,
        sealed=sealed,
        store=store,
        seed=seed,
        frame=written.frame_of(shape),
        token_count=counts,
        config={},
    )
    run.journal.close()
    if rows == sealed:
        (parts / "journal").unlink()
    if parts != path:
        replacing.put_in_place(RunPaths(path), sync=False)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("before", [None, "all", "refresh"])
@pytest.mark.parametrize(
    ("rows", "now", "shape"),
    [(10, 6, (5, 3)), (10, 14, (5, 3)), (3, 3, (5, 3)), (10, 14, (7, 2))],
    ids=["shorter", "longer", "as long", "of another shape"],
)
def test_reading_on_says_that_the_run_was_replaced(
    tmp_path: Path, shape: tuple[int, int], store: Store, before: str | None, rows: int, now: int
) -> None:
    for tail, tail_now in ((0, 0), (2, 0), (0, 2), (2, 2)):
        path = tmp_path / f"{tail}{tail_now}"
        record(path, rows=rows, sealed=rows - tail, store=store, shape=(5, 3), seed=1)
        opened = {name: open_run(path) for name in READS}
        if before is not None:
            for run in opened.values():
                READS[before](run)
        record(path, rows=now, sealed=now - tail_now, store=store, shape=shape, seed=2)
        for name, run in opened.items():
            steps = run.steps.copy()
            for _ in range(2):
                with pytest.raises(RunReplacedError, match=r"was replaced .* open_run\('"):
                    READS[name](run)
            assert run.steps.tolist() == steps.tolist()
        again = open_run(path)
        assert encoded.same_bits(again["embeddings"][:], encoded.matrices(range(now), shape, "float32", 2))


@pytest.mark.parametrize("name", READS)
def test_what_is_replaced_in_the_middle_of_a_read_is_not_mixed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    record(path, rows=10, sealed=8, store="both", shape=(5, 3), seed=1)
    run = open_run(path)
    for other in READS.values():
        other(run)

    def replaced_first(*given: Any, **named: Any) -> Any:
        if not (path / "replaced").exists():
            (path / "replaced").touch()
            record(path, rows=10, sealed=10, store="both", shape=(5, 3), seed=2)
        return original(*given, **named)

    target = {
        "refresh": (Following, "_read_group"),
        "tail images": (Rows, "tail_frame"),
        "last row": (Rows, "tail_frame"),
        "counts": (type(run._rows.sealed), "token_count"),
        "images": (type(run._rows.sealed), "images"),
        "steps": (type(run._rows.sealed), "read"),
    }.get(name, (type(run._rows.sealed), "read_into"))
    original = getattr(*target)
    monkeypatch.setattr(*target, replaced_first)
    with pytest.raises(RunReplacedError):
        READS[name](run)


def test_a_run_that_was_moved_away_is_gone_and_not_damaged(tmp_path: Path) -> None:
    record(tmp_path / "run", rows=10, sealed=8, store="zarr", shape=(5, 3), seed=1)
    opened = {name: open_run(tmp_path / "run") for name in READS}
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    for name, run in opened.items():
        with pytest.raises(RunReplacedError, match="moved or deleted"):
            READS[name](run)


def test_a_run_that_is_only_read_on_keeps_no_file_open(tmp_path: Path) -> None:
    record(tmp_path / "run", rows=10, sealed=10, store="zarr", shape=(5, 3), seed=1)
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        open_run(tmp_path / "run")["embeddings"][:]
    assert len(list(Path("/dev/fd").iterdir())) <= before + 1
