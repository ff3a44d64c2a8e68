"""The first recorded row beside the last, against numpy on what was recorded."""

from pathlib import Path

import numpy as np
import pytest
from ml_dtypes import bfloat16

from embevo import open_run
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.outcome import Change, outcome_of
from embevo.experiment.record import run_experiment
from support import written

TINY = {"dim": 16, "layers": 1, "heads": 1, "context": 16, "batch": 4, "steps": 9, "device": "cpu"}


@pytest.mark.parametrize("init", ["normal", "qwen"])
@pytest.mark.parametrize(
    ("dtype", "store", "zarr_dtype"),
    [("float32", "zarr", "float32"), ("bfloat16", "safetensors", "float32"), ("bfloat16", "zarr", "native")],
)
def test_every_number_is_that_of_the_run(
    tmp_path: Path, init: str, dtype: str, store: str, zarr_dtype: str
) -> None:
    settings = {**TINY, "init": init, "dtype": dtype, "store": store, "zarr_dtype": zarr_dtype}
    run_experiment(ExperimentConfig.from_mapping(settings), tmp_path / "run")
    run = open_run(tmp_path / "run")
    found = outcome_of(run)
    assert found is not None
    values = np.asarray(run["embeddings"][:]).astype(np.float64)
    norms = np.sqrt((values**2).sum(2))
    centroid = values.mean(1)
    dead = run.tokens.dead
    live = run.tokens.live

    def pair(of: Change) -> list[float]:
        return [of.first, of.last]

    assert found.steps == (0, 9)
    assert found.tokens == 128
    np.testing.assert_allclose(pair(found.norm_least), norms[[0, -1]].min(1), rtol=1e-12)
    np.testing.assert_allclose(pair(found.norm_mean), norms[[0, -1]].mean(1), rtol=1e-12)
    np.testing.assert_allclose(pair(found.norm_most), norms[[0, -1]].max(1), rtol=1e-12)
    np.testing.assert_allclose(
        pair(found.centroid_norm), np.linalg.norm(centroid[[0, -1]], axis=1), rtol=1e-12
    )
    np.testing.assert_allclose(found.centroid_moved, np.linalg.norm(centroid[-1] - centroid[0]), rtol=1e-12)
    assert found.distinct == tuple(len(np.unique(values[row], axis=0)) for row in (0, -1))
    assert found.distinct[0] == (1 if init == "qwen" else 128)
    assert pair(found.loss) == [run["loss"][1], run["loss"][-1]]
    assert found.dead.count == len(dead) == 49
    moved = np.linalg.norm(values[-1, dead] - values[0, dead], axis=1)
    np.testing.assert_allclose(found.dead.moved, [moved.min(), moved.mean(), moved.max()], rtol=1e-12)
    assert found.dead.distinct == tuple(len(np.unique(values[row][dead], axis=0)) for row in (0, -1))
    apart = values[-1, live].mean(0) - values[-1, dead].mean(0)
    np.testing.assert_allclose(found.dead.from_live, np.linalg.norm(apart), rtol=1e-12)
    origin = np.linalg.norm(values[[0, -1]][:, dead].mean(1), axis=1)
    np.testing.assert_allclose(pair(found.dead.from_origin), origin, rtol=1e-12)


def test_runs_that_lack_something(tmp_path: Path) -> None:
    nothing = written.write_run(tmp_path / "nothing", rows=0, sealed=0)
    assert outcome_of(open_run(nothing.path)) is None
    plain = written.write_run(tmp_path / "plain", rows=6, sealed=4, frame=written.frame_of(scalars=()))
    found = outcome_of(open_run(plain.path))
    assert found is not None
    assert (found.dead, found.loss, found.steps) == (None, None, (0, 5))
    alive = np.ones(5, np.int64)
    for count, dead in ((alive, None), (0 * alive, 5)):
        run = written.write_run(tmp_path / f"{dead}", rows=2, sealed=2, token_count=count)
        found = outcome_of(open_run(run.path))
        assert found is not None
        assert (found.dead and found.dead.count) == dead
        assert found.dead is None or found.dead.from_live is None


def test_what_bfloat16_would_not_show() -> None:
    step = float(np.spacing(bfloat16(8.1875)))
    assert Change(8.204163, 8.202550).frozen_in_bfloat16 == 8.1875
    assert Change(8.204163, 8.204163 + step).frozen_in_bfloat16 is None
    assert Change(8.0, 8.0).frozen_in_bfloat16 is None
    assert Change(float("nan"), float("nan")).frozen_in_bfloat16 is None
