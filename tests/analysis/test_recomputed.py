"""Every measure again, from exported safetensors files, in plain numpy, step by step and pair by pair."""

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from embevo.analysis import Analysis, analyze
from embevo.analysis.membership import black_holes
from embevo.analysis.projection import project
from embevo.errors import AnalysisError
from embevo.run.exchange.exporting import export_snapshots
from embevo.run.reading.reader import open_run
from support import trajectories

DEAD = [2, 3, 7, 8]
LIVE = [0, 1, 4, 5, 6, 9, 10]
IDS = {"all": list(range(11)), "live": LIVE, "dead": DEAD}


def moving(rows: int, dtype: Any, seed: int = 3) -> NDArray[Any]:
    """Tokens that slow down on the lattice, some of them together, from a common start."""
    rng = np.random.default_rng(seed)
    increments = rng.normal(size=(rows, 11, 9)) * np.linspace(0.05, 0.0005, rows)[:, None, None]
    increments[0] = rng.normal(size=(1, 9))
    increments[:, DEAD[1:]] = increments[:, DEAD[:1]]
    increments[rows // 3, 8] += 0.25
    increments[rows // 2, 8] -= 0.25
    return increments.cumsum(axis=0).astype(dtype)


@pytest.fixture(scope="module", params=[ml_dtypes.bfloat16, np.float16, np.float32, np.float64])
def pair(request: Any, tmp_path_factory: Any) -> tuple[Analysis, NDArray[np.float64], NDArray[Any]]:
    """The analysis, and ``(step, token, dim)`` in float64 and as recorded, from the exported files."""
    folder = tmp_path_factory.mktemp(np.dtype(request.param).name)
    path = trajectories.record(
        folder / "run",
        moving(210, request.param),
        dead=DEAD,
        block_steps=32,
        config=trajectories.experiment(init="qwen"),
    )
    run = open_run(path)
    files = export_snapshots(run, folder / "out", range(len(run.steps)))
    raw = np.stack([load_file(file)["embeddings"] for file in files])
    assert raw.dtype == request.param
    return analyze(path, keep=False), raw.astype(np.float64), raw


def close(actual: Any, expected: Any, scale: float = 0.0) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-9, atol=1e-9 * scale)


def test_geometry(pair: Any) -> None:
    found, x, _ = pair
    series = found.series
    for index, ids in enumerate(IDS.values()):
        centroid = np.array([sum(step[i] for i in ids) / len(ids) for step in x])
        # What is exactly zero there comes out as rounding of numbers of about 1 here.
        close(series["centroid"][:, index], centroid, 1e-6)
        close(series["centroid_norm"][:, index], [math.sqrt(sum(c * c)) for c in centroid])
        close(series["centroid_displacement"][:, index], np.linalg.norm(centroid - centroid[0], axis=1), 1e-6)
        steps = np.linalg.norm(np.diff(centroid, axis=0), axis=1)
        close(series["centroid_path"][:, index], [sum(steps[:n]) for n in range(len(x))], 1e-5)
        norms = np.linalg.norm(x[:, ids], axis=2)
        close(series["token_norm_min"][:, index], norms.min(axis=1))
        close(series["token_norm_mean"][:, index], norms.mean(axis=1))
        close(series["token_norm_max"][:, index], norms.max(axis=1))
        radii = np.linalg.norm(x[:, ids] - centroid[:, None], axis=2)
        close(series["radius_rms"][:, index], np.sqrt((radii**2).mean(axis=1)), 1e-6)
        close(series["radius_max"][:, index], radii.max(axis=1), 1e-6)
    apart = np.linalg.norm(x[:, LIVE].mean(axis=1) - x[:, DEAD].mean(axis=1), axis=1)
    close(series["live_dead_distance"], apart, 1e-6)
    assert found.summary["live_dead_distance"] == pytest.approx(apart[-1], rel=1e-9)


def test_motion(pair: Any) -> None:
    found, x, _ = pair
    series = found.series
    moved = np.diff(x, axis=0)
    close(series["displacement"][1:], np.linalg.norm(moved, axis=2))
    for index, ids in enumerate(IDS.values()):
        bulk = moved[:, ids].mean(axis=1)
        close(series["displacement_bulk"][1:, index], np.linalg.norm(bulk, axis=1), 1e-9)
        own = moved[:, ids] - bulk[:, None]
        close(
            series["displacement_peculiar_rms"][1:, index], np.sqrt((own**2).sum(axis=2).mean(axis=1)), 1e-9
        )
    for row in range(1, len(x)):
        directions = [d / np.linalg.norm(d) for d in moved[row - 1, DEAD] if d.any()]
        cosines = [float(a @ b) for a, b in combinations(directions, 2)]
        actual = float(series["dead_coherence"][row])
        assert math.isnan(actual) if not cosines else actual == pytest.approx(np.mean(cosines), abs=1e-9)
    moved = x[-1] - x[0]
    close(series["net_displacement"], np.linalg.norm(moved, axis=1))


def test_lattice(pair: Any) -> None:
    found, x, raw = pair
    series = found.series
    # Numbered one by one: the representable numbers from the smallest to the largest in the trajectory
    # are what counts, so that the place of a number is how many steps of nextafter it is from zero.
    integers = raw.view(f"u{raw.dtype.itemsize}").astype(object)
    half = 1 << (8 * raw.dtype.itemsize - 1)
    places = np.where(integers >= half, half - integers, integers)
    ulps = np.abs(places[1:] - places[:-1]).astype(np.float64)
    close(series["ulp_l1"][1:], ulps.sum(axis=2))
    close(series["ulp_l2"][1:], np.sqrt((ulps**2).sum(axis=2)))
    close(series["ulp_linf"][1:], ulps.max(axis=2))
    last = [max([row + 1 for row in range(len(ulps)) if ulps[row, i].any()], default=-1) for i in range(11)]
    assert series["last_motion"].values.tolist() == last
    dead = ulps[:, DEAD]
    flowing = [row + 1 for row in range(len(ulps)) if (np.sqrt((dead[row] ** 2).sum(axis=1)) > 3).any()]
    hopping = [row + 1 for row in range(len(ulps)) if (dead[row] > 1).any()]
    phases = found.summary["phases"]["dead"]
    assert (phases["flowing"], phases["hopping"]) == (flowing[-1], hopping[-1])
    assert phases["moving"] == max(last[i] for i in DEAD)
    assert phases["frozen"] == (phases["moving"] < len(x) - 1)
    close(series["net_ulp_linf"], np.abs(places[-1] - places[0]).astype(np.float64).max(axis=1))


def test_singularities(pair: Any) -> None:
    found, _, raw = pair
    for index, ids in enumerate(IDS.values()):
        for row, matrix in enumerate(raw[:, ids]):
            rows = [vector.tobytes() for vector in matrix]
            sizes = [rows.count(vector) for vector in set(rows)]
            holes = [size for size in sizes if size > 1]
            at = {name: int(found.series[name][row, index]) for name in found.series if name in COUNTS}
            assert at == dict(
                zip(COUNTS, (len(sizes), len(holes), sum(holes), max(holes, default=0)), strict=True)
            )
    assert found.summary["groups"]["all"]["distinct_rows_first"] == 1


def test_membership_of_black_holes_at_any_step(pair: Any) -> None:
    found, _, raw = pair
    steps = [150, 0, 72, 150]
    held = black_holes(found.run_path, steps)
    for step, hole in zip(steps, held, strict=True):
        rows = [vector.tobytes() for vector in raw[step]]
        sets = {vector: [i for i in range(11) if rows[i] == vector] for vector in rows}
        ordered = sorted((ids for ids in sets.values() if len(ids) > 1), key=lambda ids: (-len(ids), ids[0]))
        assert [np.flatnonzero(hole == number).tolist() for number in range(len(ordered))] == ordered
        assert (hole == -1).sum() == 11 - sum(map(len, ordered))
    assert held[-1].tolist() == np.asarray(black_holes(found.run_path, [150]))[0].tolist()
    with pytest.raises(AnalysisError, match="has no step 999"):
        black_holes(found.run_path, [999])


COUNTS = ("distinct_rows", "black_holes", "black_hole_population", "black_hole_largest")


def test_diffusion(pair: Any) -> None:
    found, x, _ = pair
    series = found.series
    assert series["lag"].values.tolist()[7:13] == [8, 10, 12, 14, 16, 20]
    assert series["lag"].values[-1] == 96
    for at, lag in enumerate(series["lag"].values.tolist()):
        unit = 1
        while unit * 32 < lag:
            unit *= 2
        origins = range(unit // 2, len(x) - lag, unit)
        assert int(series["lag_origins"][at]) == len(origins)
        for index, ids in enumerate(IDS.values()):
            of = x[:, ids]
            square = [((of[t + lag] - of[t]) ** 2).sum(axis=1).mean() for t in origins]
            close(series["msd_tokens"][at, index], np.mean(square))
            centre = of.mean(axis=1)
            close(
                series["msd_centroid"][at, index],
                np.mean([((centre[t + lag] - centre[t]) ** 2).sum() for t in origins]),
            )
            pairs = [(of[t + lag] - of[t + lag - 1], of[t] - of[t - 1]) for t in origins if t > 0]
            products = np.mean([(a * b).sum(axis=1).mean() for a, b in pairs])
            powers = np.mean([((a * a + b * b) / 2).sum(axis=1).mean() for a, b in pairs])
            close(series["vacf"][at, index], products / powers, 1.0)


def test_components(pair: Any) -> None:
    found, x, _ = pair
    series = found.series
    final = x[-1] - x[-1].mean(axis=0)
    variances = np.sort(np.linalg.eigvalsh(final.T @ final / 11))[::-1]
    close(series["pca_variance"], variances, 1e-6)
    for at, step in enumerate(series["spectrum_step"].values.tolist()):
        cloud = x[step] - x[step].mean(axis=0)
        close(series["spectrum"][at], np.sort(np.linalg.eigvalsh(cloud.T @ cloud / 11))[::-1], 1e-6)
        close(series["spectrum"][at].sum(), series["radius_rms"][step, 0] ** 2, 1e-6)
    basis = series["pca_basis"].to_numpy()
    close(basis @ basis.T, np.eye(9), 1.0)
    assert (np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], 1) > 0).all()
    projected = project(found.run_path, [200, 5, 5], series)
    close(projected, (x[[200, 5, 5]] - x[-1].mean(axis=0)) @ basis.T, 1.0)
    close(projected.var(axis=1)[0].sum(), x[200].var(axis=0).sum())
    close(series["centroid_projected"][:, 1], (x[:, LIVE].mean(axis=1) - x[-1].mean(axis=0)) @ basis.T, 1.0)


def test_training(pair: Any) -> None:
    found, x, _ = pair
    close(found.series["loss"], 4 - 0.001 * np.arange(len(x)))
    counts = [0 if token in DEAD else token + 1 for token in range(11)]
    shares = [count / sum(counts) for count in counts if count]
    assert found.summary["unigram_entropy"] == pytest.approx(-sum(p * math.log(p) for p in shares), rel=1e-12)
    assert found.series.attrs["unigram_entropy"] == found.summary["unigram_entropy"]


def test_every_variable_says_what_it_is(pair: Any) -> None:
    found, _, _ = pair
    for name, variable in found.series.variables.items():
        assert variable.attrs["long_name"], name
        assert "units" in variable.attrs, name


@pytest.mark.parametrize("store", ["both", "safetensors"])
@pytest.mark.parametrize("zarr_dtype", ["float32", "native"])
def test_it_does_not_matter_how_a_run_is_stored(tmp_path: Path, store: str, zarr_dtype: str) -> None:
    values = moving(70, ml_dtypes.bfloat16)
    plain = analyze(trajectories.record(tmp_path / "plain", values, dead=DEAD, block_steps=16), keep=False)
    other = trajectories.record(
        tmp_path / "other", values, dead=DEAD, store=store, zarr_dtype=zarr_dtype, block_steps=16, close=False
    )
    found = analyze(other, keep=False)
    assert found.series.drop_attrs().equals(plain.series.drop_attrs())
    assert found.events == plain.events


def test_components_of_all_rows(tmp_path: Path) -> None:
    values = moving(50, np.float32)
    found = analyze(trajectories.record(tmp_path / "run", values, block_steps=8), basis="all", keep=False)
    x = values.astype(np.float64).reshape(-1, 9)
    close(found.series["pca_mean"], x.mean(axis=0))
    apart = x - x.mean(axis=0)
    close(found.series["pca_variance"], np.sort(np.linalg.eigvalsh(apart.T @ apart / len(x)))[::-1])
