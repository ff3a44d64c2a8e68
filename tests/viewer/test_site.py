"""What the page is sent, against numpy."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from embevo import Recorder
from embevo.errors import ArgumentError
from embevo.run.reading.reader import open_run
from embevo.run.repair.rewinding import rewind_to
from embevo.viewer.piece import pack_places
from embevo.viewer.projecting import mollweide
from embevo.viewer.site import NotFoundError, Site
from embevo.viewer.view_name import ViewName
from support import trajectories

KINDS = ("final", "all", "step-7", "raw", "sky-origin", "sky-centroid")


def told(site: Site, address: str) -> dict:
    return json.loads(site.get(address).data)


def unpack(data: bytes) -> NDArray[np.float64]:
    """``(row, token, number)``, as docs/viewer.md says."""
    magic, version, kind, rows, tokens, numbers = struct.unpack_from("<4sIIIII", data)
    assert (magic, version) == (b"EMBV", 1)
    rest = memoryview(data)[32:]
    if kind == 1:
        offset = np.frombuffer(rest[: 4 * numbers], "<f4")
        scale = np.frombuffer(rest[4 * numbers : 8 * numbers], "<f4")
        stored = np.frombuffer(rest[8 * numbers :], "<u2").reshape(rows, tokens, numbers)
        return np.where(stored == 65_535, np.nan, offset + scale * stored.astype(np.float64))
    return (
        np.frombuffer(rest, "<f4" if kind == 0 else "<u4").reshape(rows, tokens, numbers).astype(np.float64)
    )


def places(site: Site, view: str) -> NDArray[np.float64]:
    run = told(site, "data/0/run.json")
    pieces = range(-(-run["rows"] // run["piece_rows"]))
    return np.concatenate([unpack(site.get(f"data/0/view/{view}/piece-{k}.bin").data) for k in pieces])


def components(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean, and directions of largest variance, by a decomposition that embevo does not use."""
    mean = points.mean(axis=0)
    values, vectors = np.linalg.eig(np.cov(points.T, bias=True))
    basis = vectors.T[np.argsort(-values)]
    signs = np.sign(basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)])
    return mean, basis * signs[:, None]


@pytest.mark.parametrize("kind", ["final", "all", "step-7"])
def test_places_are_those_along_the_principal_components(site: Site, recorded: list[Path], kind: str) -> None:
    values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
    of = {"final": values[-1], "all": values.reshape(-1, values.shape[2]), "step-7": values[7]}[kind]
    mean, basis = components(of)
    expected = (values - mean) @ basis[[2, 0, 1]].T
    np.testing.assert_allclose(places(site, f"{kind}-2-0-1"), expected, atol=2e-6)


def test_places_along_dimensions_are_the_numbers_themselves(site: Site, recorded: list[Path]) -> None:
    values = open_run(recorded[0])["embeddings"][:]
    np.testing.assert_array_equal(places(site, "raw-5-0-3"), values[:, :, [5, 0, 3]])


@pytest.mark.parametrize("where", ["origin", "centroid"])
def test_a_sky_shows_directions(site: Site, recorded: list[Path], where: str) -> None:
    values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
    _, basis = components(values[-1])
    seen = values - (values.mean(axis=1, keepdims=True) if where == "centroid" else 0)
    along = seen @ basis[:3].T
    found = places(site, f"sky-{where}-0-1-2")
    longitude = np.arctan2(along[..., 1], along[..., 0])
    latitude = np.arcsin(along[..., 2] / np.linalg.norm(along, axis=-1))
    # The map keeps areas: below a parallel lies the same share of the ellipse as of the sphere.
    angle = np.arcsin(found[..., 1] / np.sqrt(2))
    np.testing.assert_allclose(2 * angle + np.sin(2 * angle), np.pi * np.sin(latitude), atol=1e-5)
    np.testing.assert_allclose(found[..., 0], 2 * np.sqrt(2) / np.pi * longitude * np.cos(angle), atol=1e-5)
    assert not found[..., 2].any()


def test_poles_and_nothing_have_their_places_on_the_map() -> None:
    found = mollweide(np.array([[0, 0, 2.0], [0, 0, -1], [1, 0, 0], [-1, 1e-300, 0], [0, 0, 0]]))
    expected = [[0, np.sqrt(2)], [0, -np.sqrt(2)], [0, 0], [2 * np.sqrt(2), 0], [np.nan, np.nan]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.just(3)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True, min_value=None, max_value=None),
    )
)
def test_rounded_places_are_within_half_a_step_of_the_exact_ones(given_places: NDArray[np.float32]) -> None:
    # Ranges beyond that of float32 are no places of any vector that can be trained.
    values = np.where(np.abs(given_places) > 1e30, np.nan, given_places)
    found = unpack(pack_places(values, rounded=True))
    finite = np.isfinite(values)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    for axis in range(3):
        mine = values[..., axis][finite[..., axis]].astype(np.float64)
        if len(mine):
            step = np.ptp(mine) / 65_534
            error = np.abs(found[..., axis][finite[..., axis]] - mine)
            assert error.max() <= 0.51 * step + 2e-6 * np.abs(mine).max() + 1e-37


def test_black_holes_are_tokens_of_the_same_bits(site: Site, recorded: list[Path]) -> None:
    values = open_run(recorded[0])["embeddings"][:]
    same = unpack(site.get("data/0/holes/piece-0.bin").data)[..., 0]
    for row in (0, 60, len(same) - 1):
        for token, first in enumerate(same[row].astype(int)):
            assert (values[row, token] == values[row, first]).all()
            assert not any((values[row, token] == values[row, other]).all() for other in range(first))


def test_the_story_of_a_token_is_that_of_its_numbers(site: Site, recorded: list[Path]) -> None:
    values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
    way = told(site, "data/0/token/4/way.json")
    mine = values[:, 4]
    np.testing.assert_allclose(way["norm"], np.linalg.norm(mine, axis=1), rtol=1e-6)
    np.testing.assert_allclose(way["away"], np.linalg.norm(mine - mine[0], axis=1), rtol=1e-6)
    np.testing.assert_allclose(way["moved"][1:], np.linalg.norm(np.diff(mine, axis=0), axis=1), rtol=1e-6)
    assert told(site, "data/0/token/3/way.json")["last_motion"] == 100
    assert told(site, "data/0/token/3/way.json")["ulps"][101:] == [0] * 49


def test_neighbours_are_the_nearest(site: Site, recorded: list[Path]) -> None:
    values = np.asarray(open_run(recorded[0])["embeddings"][:], np.float64)
    near = told(site, "data/0/token/4/near-30.json")
    distance = np.linalg.norm(values[30] - values[30, 4], axis=1)
    distance[4] = np.inf
    assert near["tokens"] == np.argsort(distance, kind="stable")[:8].tolist()
    np.testing.assert_allclose(near["distances"], np.sort(distance)[:8])
    looks = told(site, "data/0/token/4/neighbours.json")["looks"]
    assert (looks[0]["row"], looks[-1]["row"]) == (0, len(values) - 1)


def test_bits_are_those_that_were_recorded(site: Site, recorded: list[Path]) -> None:
    values = open_run(recorded[0])["embeddings"][:]
    bits = told(site, "data/0/token/4/bits-30.json")
    assert bits["dtype"] == "bfloat16"
    numbers = np.array([int(text, 16) for text in bits["bits"]], np.uint32) << 16
    np.testing.assert_array_equal(numbers.view(np.float32), values[30, 4])
    np.testing.assert_array_equal(np.array(bits["values"], np.float32), values[30, 4])


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("data/1/run.json", NotFoundError),
        ("data/0/view/final-0-1-9/view.json", None),
        ("data/0/view/final-9-9-9/view.json", ArgumentError),
        ("data/0/view/raw-0-1-6/view.json", ArgumentError),
        ("data/0/view/step-9999-0-1-2/view.json", ArgumentError),
        ("data/0/view/of-0-final-0-1-2/view.json", ArgumentError),
        ("data/0/view/nonsense/view.json", ArgumentError),
        ("data/0/view/final-0-1-2/piece-99.bin", ArgumentError),
        ("data/0/token/24/way.json", ArgumentError),
        ("data/0/token/4/bits-150.json", ArgumentError),
        ("../pyproject.toml", NotFoundError),
        ("static/../site.py", NotFoundError),
        ("site.py", NotFoundError),
    ],
)
def test_what_there_is_not_is_refused(site: Site, address: str, error: type[Exception] | None) -> None:
    if error is None:
        assert told(site, address)["labels"][2] == "no further component"
    else:
        with pytest.raises(error):
            site.get(address)


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_of_a_view_is_read_as_it_is_written(kind: str) -> None:
    for name in (f"{kind}-0-1-2", f"of-3-{kind}-10-0-7"):
        assert str(ViewName.parse(name)) == name


def test_runs_share_the_components_of_the_first(recorded: list[Path]) -> None:
    site = Site(recorded)
    values = np.asarray(open_run(recorded[1])["embeddings"][:], np.float64)
    mean, basis = components(np.asarray(open_run(recorded[0])["embeddings"][-1], np.float64))
    found = unpack(site.get("data/1/view/of-0-final-0-1-2/piece-0.bin").data)
    np.testing.assert_allclose(found, (values - mean) @ basis[:3].T, atol=2e-6)
    assert "of a" in told(site, "data/1/view/of-0-final-0-1-2/view.json")["fitted"]


def test_a_run_of_many_elements_is_rounded_and_says_from_which_rows_its_axes_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embevo.viewer.clouds._EXACT_BYTES", 1000)
    monkeypatch.setattr("embevo.viewer.fitting._READ_ELEMENTS", 1000)
    values = trajectories.brownian(40, 10, 4).astype(np.float32)
    site = Site([trajectories.record(tmp_path / "run", values, block_steps=16)])
    said = told(site, "data/0/view/raw-0-1-2/view.json")
    assert said["range_rows"] < said["rows"] == 40
    assert told(site, "data/0/run.json")["rounded"]
    exact = values[:, :, :3]
    assert np.abs(places(site, "raw-0-1-2") - exact).max() <= np.ptp(exact) / 65_534


def test_a_vector_that_is_not_finite_takes_the_others_places_from_nobody(tmp_path: Path) -> None:
    values = trajectories.brownian(20, 10, 4).astype(np.float32)
    values[7:, 3] = np.nan
    site = Site([trajectories.record(tmp_path / "run", values)])
    finite = values[np.isfinite(values).all(axis=2)].astype(np.float64)
    of = {"final": np.delete(values[-1], 3, axis=0).astype(np.float64), "all": finite}
    for kind, points in of.items():
        mean, basis = components(points)
        np.testing.assert_allclose(places(site, f"{kind}-0-1-2"), (values - mean) @ basis[:3].T, atol=2e-6)
    assert "without 1 of 10 vectors" in told(site, "data/0/view/final-0-1-2/view.json")["fitted"]
    assert "without 13 of 200 vectors" in told(site, "data/0/view/all-0-1-2/view.json")["fitted"]
    sky = places(site, "sky-centroid-0-1-2")
    assert np.isnan(sky[7:, 3, :2]).all()
    assert np.isfinite(np.delete(sky, 3, axis=1)).all()


def test_where_no_vector_is_finite_there_is_no_cloud_in_one_point(tmp_path: Path) -> None:
    values = trajectories.brownian(20, 10, 4).astype(np.float32)
    values[7:] = np.inf
    site = Site([trajectories.record(tmp_path / "run", values)])
    assert np.isnan(places(site, "final-0-1-2")).all()
    assert "no vector is finite" in told(site, "data/0/view/final-0-1-2/view.json")["fitted"]
    assert np.isfinite(places(site, "all-0-1-2")[:7]).all()


def test_charts_have_the_groups_that_have_tokens(tmp_path: Path) -> None:
    for tokens, dead, groups in (
        (1, None, ["all"]),
        (9, [], ["all", "live"]),
        (9, [2], ["all", "live", "dead"]),
    ):
        values = trajectories.brownian(20, tokens, 4).astype(np.float32)
        run = trajectories.record(tmp_path / f"{tokens}{dead}", values, dead=dead)
        site = Site([run])
        charts = site.subjects[0].charts.measured()
        assert not charts["failure"]
        assert [list(chart["lines"]) for chart in charts["charts"] if chart["unit"]] == [groups] * 4


def test_measuring_that_fails_in_a_way_that_nobody_has_foreseen_says_so_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("embevo.viewer.charts.analyze", fail)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    charts = site.subjects[0].charts
    assert "ended with an error" in charts.measured()["failure"]
    assert charts.tell()["measuring"] is None


def write_drawn(run: Path, seed: int, steps: range, *, resume: bool = False) -> None:
    drawn = torch.Generator().manual_seed(seed)
    matrix = torch.zeros(10, 4)
    with Recorder(run, {"embeddings": matrix}, store="zarr", block_steps=16, resume=resume) as recorder:
        for step in steps:
            matrix.copy_(torch.randn(10, 4, generator=drawn))
            recorder.capture(step, loss=float(step))


@pytest.mark.parametrize("asked", ["run.json", "live-100.json"])
def test_rows_recorded_after_a_rewind_are_shown_in_place_of_those_before(tmp_path: Path, asked: str) -> None:
    run = tmp_path / "run"
    write_drawn(run, 1, range(100))
    site = Site([run])
    before, fitted = places(site, "raw-0-1-2"), places(site, "final-0-1-2")
    rewinds = told(site, "data/0/run.json")["rewinds"]
    site.subjects[0].charts.measured()
    rewind_to(run, 49)
    write_drawn(run, 2, range(50, 100), resume=True)
    assert told(site, f"data/0/{asked}")["rewinds"] == rewinds + 1
    values = open_run(run)["embeddings"][:]
    assert not np.array_equal(before, values[:, :, :3])
    np.testing.assert_array_equal(places(site, "raw-0-1-2"), values[:, :, :3])
    np.testing.assert_array_equal(places(site, "final-0-1-2"), places(Site([run]), "final-0-1-2"))
    assert not np.array_equal(fitted, places(site, "final-0-1-2"))
    assert site.subjects[0].charts.measured()["charts"] == Site([run]).subjects[0].charts.measured()["charts"]
