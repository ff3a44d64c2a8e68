"""Every measure again, from exported safetensors files, in plain numpy, step by step and pair by pair."""

import math
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from embevo.analysis import Analysis, analyze
from embevo.analysis.json_numbers import number_of
from embevo.analysis.measures.random_directions import Directions, mean_square
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


def pieces(rows: int) -> dict[str, tuple[int, int]]:
    """The first and the last row of the pieces that have at least a hundred intervals."""
    last = rows - 1
    return {
        name: ends
        for name, ends in {
            "the whole run": (0, last),
            "the run without its first 100 steps": (100, last),
            "its first half": (0, last // 2),
            "its second half": (last // 2, last),
        }.items()
        if ends[1] - ends[0] >= 100
    }


def walk(x: NDArray[np.float64]) -> dict[str, float]:
    """What docs/analysis.md says of a walk ``(row, dim)``, one number after the other."""
    v = [b - a for a, b in pairwise(x)]
    clock = [sum(float(step @ step) for step in v[:t]) for t in range(len(x))]
    marks = []
    for j in range(65):
        reached = next(t for t, time in enumerate(clock) if time >= j / 64 * clock[-1] * (1 - 1e-12))
        marks += [reached] if reached not in marks else []
    points = []
    for q in (1, 2, 4, 8, 16):
        if len(marks) > 2 * q:
            ends = list(zip(marks, marks[q:], strict=False))
            square = np.mean([((x[b] - x[a]) ** 2).sum() for a, b in ends])
            points.append((math.log(np.mean([clock[b] - clock[a] for a, b in ends])), math.log(square)))

    def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        lengths = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
        return float(a @ b) / lengths if lengths else math.nan

    borders = [int(k / 20 * (len(x) - 1)) for k in range(21)]
    windows = [x[b] - x[a] for a, b in pairwise(borders)]
    return {
        "exponent": float(np.polyfit(*zip(*points, strict=True), 1)[0]),
        "cosine": float(np.nanmean([cosine(v[t], v[t + 50]) for t in range(len(v) - 50)])),
        "windows": float(np.nanmean([cosine(a, b) for a, b in pairwise(windows)])),
        "reach": math.dist(x[-1], x[0]) / math.sqrt(clock[-1]),
    }


def test_walks(pair: Any) -> None:
    found, x, _ = pair
    ways = {"centroid": x.mean(axis=1)[:, None], "live": x[:, LIVE], "dead": x[:, DEAD]}
    said = found.summary["walks"]
    assert said.keys() == ways.keys()
    for name, way in ways.items():
        assert said[name].keys() == pieces(len(x)).keys()
        for piece, (a, b) in pieces(len(x)).items():
            each = [walk(way[a : b + 1, token]) for token in range(way.shape[1])]
            for statistic, band in said[name][piece].items():
                expected = np.mean([numbers[statistic] for numbers in each])
                assert band["value"] == pytest.approx(expected, rel=1e-9, abs=1e-9), (name, piece, statistic)
                assert band["low"] < band["null"] < band["high"]


def test_growth_against_that_of_random_walkers(pair: Any) -> None:
    found, x, _ = pair

    def moments(ids: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        own = x[:, ids] - x[:, ids].mean(axis=1, keepdims=True)
        moved = np.diff(x[:, ids], axis=0)
        moved = moved - moved.mean(axis=1, keepdims=True)
        return tuple(np.sqrt((part**2).sum(axis=2).mean(axis=1)) for part in (own, moved))

    for name, ids in (("all", IDS["all"]), ("live", LIVE)):
        radius, way = moments(ids)
        for piece, (a, b) in pieces(len(x)).items():
            of = radius[a : b + 1]
            half = of[0] + (of.max() - of[0]) / 2
            row = next((t for t, size in enumerate(of) if size >= half), b - a)
            row = row if of.max() > of[0] else b - a
            said = found.summary["growth"][name]
            flight = (of[row] - of[0]) / way[a : a + row].sum()
            assert said["flight"][piece]["value"] == pytest.approx(flight, rel=1e-6)
            assert number_of(said["expansion"][piece]) == pytest.approx(
                of[-1] / of[0] if of[0] > 1e-12 else math.inf, rel=1e-6
            )
            if of.max() > of[0]:
                step = a + row - 1 + (half - of[row - 1]) / (of[row] - of[row - 1])
                assert said["half_step"][piece] == pytest.approx(step, rel=1e-6)
    radius, way = moments(LIVE)
    each = [Directions.of(np.diff(x[:, token], axis=0), 0.9) for token in LIVE]
    share = float(np.median([one.share for one in each]))
    last = len(x) - 1
    for piece, (a, b) in {
        "its second half": (last // 2, last),
        "its last quarter": (last - last // 4, last),
        "its second quarter": (last // 4, last // 2),
    }.items():
        square = sum(
            way[s] * way[t] * (1 if s == t else share * 0.9 ** abs(s - t))
            for s in range(a, b)
            for t in range(a, b)
        )
        band = found.summary["growth"]["live"]["settling"][piece]
        expected = (radius[b] ** 2 - radius[a] ** 2) / square
        assert band["value"] == pytest.approx(expected, rel=1e-6)


def test_how_tight_the_dead_are(pair: Any) -> None:
    found, x, _ = pair
    for piece, (a, b) in pieces(len(x)).items():
        if a == 0:
            radius = [
                math.sqrt(((x[b, ids] - x[b, ids].mean(axis=0)) ** 2).sum(axis=1).mean())
                for ids in (DEAD, LIVE)
            ]
            band = found.summary["growth"]["dead"]["tightness"][piece]
            assert band["value"] == pytest.approx(radius[0] / radius[1], rel=1e-6)
            moved = np.diff(x[:, DEAD], axis=0)
            each = [Directions.of(moved[:, token], 0.9) for token in range(len(DEAD))]
            own = Directions(1, 0.9, float(np.median([one.share for one in each])))
            steps = np.sqrt((moved[a:b] ** 2).sum(axis=2).mean(axis=1))
            start = x[a, DEAD] - x[a, DEAD].mean(axis=0)
            square = (start**2).sum(axis=1).mean() + mean_square(steps, own)
            error = (band["high"] - band["null"]) / 10
            assert band["null"] == pytest.approx(math.sqrt(square) / radius[1], abs=error)


def test_exponents(pair: Any) -> None:
    """The slope over lags from ten steps to a tenth of the run, of the curves that are told."""
    found, x, _ = pair
    lags = found.series["lag"].to_numpy()
    window = (lags >= 10) & (lags <= (len(x) - 1) / 10)
    for what, name in (("tokens", "live"), ("centroid", "all")):
        logs = [np.log(of[window]) for of in (lags, found.series[f"msd_{what}"].sel(group=name).to_numpy())]
        said = found.summary["exponents"][what][name]
        assert said["value"] == pytest.approx(np.polyfit(*logs, 1)[0], rel=1e-6)
        middle = len(logs[0]) // 2
        for half, rows in (("short", slice(middle)), ("long", slice(middle, None))):
            assert said[half] == pytest.approx(np.polyfit(*(of[rows] for of in logs), 1)[0], rel=1e-6)


def test_where_bodies_and_dead_tokens_got_to(pair: Any) -> None:
    found, x, raw = pair
    for piece, (a, b) in pieces(len(x)).items():
        moved = x[b] - x[a]
        bodies = [*moved[LIVE], moved[DEAD].mean(axis=0)]
        expected = np.linalg.norm(sum(bodies)) / math.sqrt(sum(float(body @ body) for body in bodies))
        assert found.summary["drifts"][piece]["value"] == pytest.approx(expected, rel=1e-9)
        if a == 0:
            reach = np.median([math.dist(x[b, i], x[0, i]) / np.linalg.norm(x[0, i]) for i in DEAD])
            assert found.summary["dead_reach"][piece] == pytest.approx(reach, rel=1e-9)
            apart = np.linalg.norm(x[b, LIVE].mean(axis=0) - x[b, DEAD].mean(axis=0))
            assert found.summary["separations"][piece]["value"] == pytest.approx(apart, rel=1e-9)
        if piece != "its second half":
            ulp = ulps(raw[a])
            rate = 1e-3
            each = []
            for token in DEAD:
                can = [d for d in range(x.shape[2]) if ulp[token, d] / 2 <= rate]
                each.append(
                    math.sqrt(sum(moved[token, can] ** 2) / sum(ulp[token, can] ** 2)) if can else math.nan
                )
            said = number_of(found.summary["dead_quanta"][piece]["value"])
            assert said == pytest.approx(np.median(each), rel=1e-9, nan_ok=True)
    first = [row / np.linalg.norm(row) for row in x[0]]
    cosines = [float(a @ b) for a, b in combinations(first, 2)]
    assert found.summary["start_cosine"]["value"] == pytest.approx(np.mean(cosines), rel=1e-9)


def ulps(raw: NDArray[Any]) -> NDArray[np.float64]:
    """The distance from each value to the next larger magnitude, by its bits."""
    bits = np.abs(raw).view(f"u{raw.dtype.itemsize}")
    return (bits + 1).astype(bits.dtype).view(raw.dtype).astype(np.float64) - np.abs(raw).astype(np.float64)


def test_pinned_elements(pair: Any) -> None:
    found, x, raw = pair
    rows = len(x)
    rate = [1e-3 * (1 - row / rows) for row in range(rows)]
    close(found.series["learning_rate"], rate)
    pinned = np.array([ulps(raw[t - 1]) / 2 > rate[t] for t in range(1, rows)])
    for index, ids in enumerate(IDS.values()):
        close(found.series["pinned"][1:, index], pinned[:, ids].mean(axis=(1, 2)))
    assert np.isnan(found.series["pinned"][0]).all()
    close(found.series["pinned_token"], pinned.all(axis=0).sum(axis=1))
    close(found.series["pinned_moved"][1:], (pinned & (x[1:] != x[:-1])).sum(axis=(1, 2)))
    assert found.summary["pinned_share"]["dead"] == pytest.approx(pinned[:, DEAD].all(axis=0).mean())


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
