"""Figures: they show what was measured, all of it can be read, and the same run gives the same bytes."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.collections import QuadMesh

from embevo.analysis import Analysis, analyze
from embevo.analysis.figures.binning import log_bins, medians_in, rms_in
from embevo.analysis.figures.catalogue import FIGURES, NAMES, Figure
from embevo.analysis.figures.diffusion import local_slopes
from embevo.analysis.figures.drawing import Drawing, apart, share_scales
from embevo.analysis.figures.rendering import FORMATS, render
from embevo.analysis.figures.saving import save_figures
from embevo.analysis.figures.style import point_marks, styled
from embevo.analysis.figures.token_names import name_of
from embevo.errors import NothingToDrawError
from embevo.run.format.tokens import SPACE
from support import drawn, trajectories

SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Analysis]:
    """Small runs that have everything, and runs that lack something."""
    folder = tmp_path_factory.mktemp("runs")
    still = np.ones((20, 4, 3), np.float32)
    walk = trajectories.brownian(30, 6, 4).astype(np.float32)
    broken = walk.copy()
    broken[20:, 1] = np.nan
    paths = {
        "singular": drawn.record_singular(folder / "singular"),
        "normal": drawn.record_normal(folder / "normal"),
        "no counts": trajectories.record(folder / "counts", walk),
        "no dead": trajectories.record(folder / "living", walk, dead=[]),
        "no live": trajectories.record(folder / "ghosts", walk, dead=range(6)),
        "still": trajectories.record(folder / "still", still, dead=[1]),
        "one row": trajectories.record(folder / "row", walk[:1], dead=[1]),
        "two rows": trajectories.record(folder / "rows", walk[:2], dead=[1]),
        "one token": trajectories.record(folder / "token", walk[:, :1], dead=[]),
        "one dimension": trajectories.record(folder / "dim", walk[:, :, :1], dead=[1]),
        "gaps": trajectories.record(folder / "gaps", walk, dead=[1], steps=[*range(3, 23), *range(90, 100)]),
        "not finite": trajectories.record(folder / "nan", broken, dead=[1]),
        "no loss": trajectories.record(folder / "loss", walk, dead=[1]),
    }
    found = {name: analyze(path, keep=False) for name, path in paths.items()}
    found["no loss"].series["loss"][:] = np.nan
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """More tokens than the map has rows."""
    walk = trajectories.brownian(9, 2000, 2).astype(np.float32)
    return analyze(trajectories.record(tmp_path_factory.mktemp("large") / "run", walk), keep=False)


def draw(figure: Figure | str, analysis: Analysis) -> Drawing:
    """A finished figure."""
    of = figure if isinstance(figure, Figure) else FIGURES[NAMES.index(figure)]
    with styled():
        drawing = of.draw(analysis)
        drawing.finish()
    return drawing


# What can be read


READ = [*((name, "singular") for name in NAMES), *((name, "normal") for name in ("cloud", "radius"))]


@pytest.mark.parametrize(("figure", "name"), READ)
def test_no_text_is_cut_off_and_none_covers_another(
    runs: dict[str, Analysis], figure: str, name: str
) -> None:
    with styled():
        drawing = draw(figure, runs[name])
        texts = list(drawn.written_text(drawing.figure))
    assert len(texts) > 5
    page = drawing.figure.bbox
    for text, box in texts:
        assert box.x0 >= page.x0 - 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y1 <= page.y1 + 1, text
    for (one, first), (other, second) in combinations(texts, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        up = min(first.y1, second.y1) - max(first.y0, second.y0)
        # The boxes have room for accents and descenders that are not there.
        assert across <= 1 or up <= 4, (one, other)


LACKING = [
    *((figure, name) for figure in NAMES for name in ("not finite", "still", "one row")),
    *(
        (figure, name)
        for figure in ("cloud", "centroid", "displacement")
        for name in ("one token", "one dimension")
    ),
    *(
        (figure, name)
        for figure in ("radius", "lattice", "norm_frequency")
        for name in ("no live", "no dead")
    ),
    *((figure, name) for figure in ("loss", "displacement") for name in ("gaps", "two rows")),
    *((figure, "no counts") for figure in ("cloud", "displacement", "lattice", "norm_frequency")),
]
NOT_DRAWN = {
    ("loss", "no loss"): "recorded no loss",
    ("cloud", "still"): "all tokens are at one point",
    ("cloud", "not finite"): "or not finite",
    ("cloud", "one token"): "no plane",
    ("cloud", "one dimension"): "no plane",
    ("radius", "still"): "all tokens are at one point",
    ("centroid", "not finite"): "not finite",
    ("centroid", "still"): "does not move",
    ("centroid", "one row"): "does not move",
    ("centroid", "one token"): "no plane",
    ("centroid", "one dimension"): "no plane",
    ("displacement", "still"): "no token moves",
    ("displacement", "one row"): "no token moves",
    ("pinned", "one row"): "has one row",
    ("lattice", "still"): "no dead token moves",
    ("lattice", "one row"): "no dead token moves",
    ("life", "still"): "no token moves",
    ("life", "one row"): "no token moves",
    ("form", "still"): "all tokens are at one point",
    ("form", "one row"): "one step",
    ("diffusion", "still"): "nothing moves",
    ("diffusion", "one row"): "too few steps",
    ("norm_frequency", "no counts"): "is not known",
    ("norm_frequency", "no live"): "no live token",
}


@pytest.mark.parametrize(("figure", "name"), [("loss", "no loss"), *LACKING])
def test_what_a_run_lacks_is_said_and_no_reason_to_fail(
    runs: dict[str, Analysis], figure: str, name: str
) -> None:
    if (figure, name) in NOT_DRAWN:
        with pytest.raises(NothingToDrawError, match=NOT_DRAWN[figure, name]):
            draw(figure, runs[name])
        return
    drawing = draw(figure, runs[name])
    assert render_in_style(drawing, "png").startswith(SIGNATURES["png"])
    assert drawing.alt.endswith("."), drawing.alt
    assert "nan" not in drawing.alt, drawing.alt


def test_groups_that_are_not_there_are_named(runs: dict[str, Analysis]) -> None:
    assert any("not told apart" in note for note in draw("radius", runs["no counts"]).notes)
    assert "This run has no dead tokens." in draw("radius", runs["no dead"]).notes
    assert "This run has no live tokens." in draw("radius", runs["no live"]).notes


def render_in_style(drawing: Drawing, form: Any) -> bytes:
    with styled():
        return render(drawing, form, dpi=50)


# What is shown


def lines_of(drawing: Drawing) -> Iterator[Any]:
    for axes in drawing.figure.axes:
        yield from (np.asarray(line.get_ydata(), float) for line in axes.lines)


def shows(drawing: Drawing, values: Any) -> bool:
    return any(
        len(line) == len(values) and np.array_equal(line, values, equal_nan=True)
        for line in lines_of(drawing)
    )


def test_lines_are_the_series(runs: dict[str, Analysis]) -> None:
    series = runs["singular"].series
    live, dead = (series.sel(group=group) for group in ("live", "dead"))
    assert shows(draw("loss", runs["singular"]), series["loss"].to_numpy())
    radius = live["radius_rms"].to_numpy()
    assert radius[0] == 0
    assert shows(draw("radius", runs["singular"]), np.where(radius > 0, radius, np.nan))
    distinct = draw("distinct_rows", runs["singular"])
    assert shows(distinct, live["distinct_rows"].to_numpy())
    assert shows(distinct, dead["black_hole_population"].to_numpy())
    squares = live["msd_tokens"].to_numpy()
    assert shows(draw("diffusion", runs["singular"]), squares)
    assert shows(draw("diffusion", runs["singular"]), local_slopes(series["lag"].to_numpy(), squares)[1])
    for name in ("token_norm_last", "radius_last"):
        assert shows(draw("norm_frequency", runs["singular"]), series[name].to_numpy()[drawn.DEAD])


@given(st.floats(0.2, 2.5), st.integers(2, 400))
def test_slopes_are_those_of_the_lags_they_stand_at(slope: float, bend: int) -> None:
    """A curve that is bent has one slope before the bend, the other after it, and none beyond these."""
    lags = np.unique(np.geomspace(1, 1000, 60).astype(np.int64))
    squares = 3 * lags**slope * np.where(lags > bend, (lags / bend) ** -0.5, 1.0)
    at, slopes = local_slopes(lags, squares)
    assert len(at) > 10
    half = 10**0.25
    assert slopes[at * half < bend / 1.1] == pytest.approx(slope)
    assert slopes[at / half > 1.1 * bend] == pytest.approx(slope - 0.5)
    assert (slopes < slope + 1e-9).all()
    assert (slopes > slope - 0.5 - 1e-9).all()


def test_the_entropy_line_is_where_the_counts_say(runs: dict[str, Analysis]) -> None:
    share = runs["singular"].series["token_count"].to_numpy()
    share = share[share > 0] / share.sum()
    (level,) = [line for line in lines_of(draw("loss", runs["singular"])) if len(line) == 2]
    # The experiment's loss is divided by all labels of an example, and one of 128 is not predicted.
    np.testing.assert_allclose(level, -(share * np.log(share)).sum() * 127 / 128)


def test_the_map_holds_every_displacement_of_early_steps(runs: dict[str, Analysis]) -> None:
    analysis = runs["singular"]
    meshes = draw("displacement", analysis).figure.findobj(QuadMesh)
    live, dead = (
        mesh for mesh in meshes if isinstance(mesh, QuadMesh) and mesh.axes.get_label() != "<colorbar>"
    )
    moved = analysis.series["displacement"].to_numpy()
    frequent = np.argsort(-analysis.series["token_count"].to_numpy(), kind="stable")
    # Up to step 20 every step has a column of its own; column 0 is step 0, which no step precedes.
    columns = np.ma.getdata(live.get_array())[:, 1:20]
    np.testing.assert_allclose(columns, moved[1:20][:, frequent[: len(columns)]].T)
    assert np.ma.getmaskarray(dead.get_array())[:, -1].all(), "the dead rest at the end"
    assert not np.ma.getmaskarray(dead.get_array())[:, 1].any()
    assert live.axes.get_xlim()[0] == 1, "step 0 is no displacement"


def cells_of(drawing: Drawing) -> np.ma.MaskedArray[Any, Any]:
    """Rows and columns of the map of the first group."""
    meshes = [mesh for mesh in drawing.figure.findobj(QuadMesh) if mesh.axes.get_label() != "<colorbar>"]
    assert isinstance(meshes[0], QuadMesh)
    return np.ma.asarray(meshes[0].get_array())


@given(moving=st.integers(1, 2000), seed=st.integers(0, 9))
def test_the_white_of_a_large_map_is_the_share_at_rest(large: Analysis, moving: int, seed: int) -> None:
    """However many move and wherever their ids lie, and the fastest of each column is in it."""
    rng = np.random.default_rng(seed)
    moved = np.zeros(large.series["displacement"].shape)
    moved[0] = np.nan
    ids = rng.choice(2000, moving, replace=False)
    moved[1:, ids] = rng.uniform(0.1, 1, (len(moved) - 1, moving))
    series = large.series.copy()
    series["displacement"] = (("step", "token"), moved)
    drawing = draw("displacement", replace(large, series=series))
    cells = cells_of(drawing)
    white = np.ma.getmaskarray(cells)[:, 1:].mean(axis=0)
    np.testing.assert_allclose(white, 1 - moving / 2000, atol=1 / 300)
    np.testing.assert_allclose(np.ma.getdata(cells)[0, 1:], moved[1:].max(axis=1))
    assert f"{2000 - moving:,} of 2,000" in drawing.notes[-1]


def test_what_is_not_a_number_is_not_shown_at_rest(runs: dict[str, Analysis]) -> None:
    assert any("not a number" in note for note in draw("displacement", runs["not finite"]).notes)
    assert not any("not a number" in note for note in draw("displacement", runs["normal"]).notes)


@given(st.integers(1, 200_000), st.integers(1, 200_000))
def test_many_points_are_smaller_and_more_transparent(one: int, other: int) -> None:
    few, many = (point_marks(count, 4) for count in sorted((one, other)))
    assert few["markersize"] >= many["markersize"] > 0.5
    assert few["alpha"] >= many["alpha"] >= 0.1


def test_every_figure_says_which_run_and_matrix_it_shows(large: Analysis) -> None:
    for name in ("loss", "cloud", "displacement", "diffusion"):
        assert draw(name, large).figure.get_suptitle() == "run: embeddings"


def test_displacements_say_what_interval_they_are_over(tmp_path: Path) -> None:
    walk = trajectories.brownian(30, 6, 4).astype(np.float32)
    every = analyze(trajectories.record(tmp_path / "run", walk, dead=[1], steps=range(0, 300, 10)))
    labels = [
        axes.get_ylabel() for name in ("displacement", "lattice") for axes in draw(name, every).figure.axes
    ]
    assert [label for label in labels if "per 10 steps" in label] == [
        "displacement per 10 steps (embedding units); white: at rest",
        "displacement of dead tokens per 10 steps (ULP)",
    ]


def test_phases_are_marked_where_they_end(runs: dict[str, Analysis]) -> None:
    drawing = draw("lattice", runs["singular"])
    phases = runs["singular"].summary["phases"]["dead"]
    assert phases["moving"] == 50
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert "last motion: step 50" in texts
    assert "at rest" in texts
    places = {
        float(line.get_xdata()[0]) for line in drawing.figure.axes[0].lines if len(line.get_xdata()) == 2
    }
    assert {float(phases[name]) for name in ("flowing", "hopping", "moving")} <= places


def test_a_black_hole_is_counted_in_the_cloud(runs: dict[str, Analysis]) -> None:
    texts = [text.get_text() for text in draw("cloud", runs["singular"]).figure.axes[0].texts]
    assert "6 dead tokens at one point" in texts
    assert "● live (104)" in texts
    assert "■ dead (6)" in texts


def test_figures_side_by_side_have_one_scale(runs: dict[str, Analysis]) -> None:
    with styled():
        drawings = [FIGURES[NAMES.index("radius")].draw(runs[name]) for name in ("singular", "normal")]
        apart_from = [drawing.figure.axes[0].get_ylim() for drawing in drawings]
        assert apart_from[0] != apart_from[1]
        share_scales(drawings)
        together = [drawing.figure.axes[0].get_ylim() for drawing in drawings]
    assert together[0] == together[1]
    assert together[0] == (min(low for low, _ in apart_from), max(high for _, high in apart_from))


# Bytes


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_run_gives_the_same_bytes(
    runs: dict[str, Analysis], form: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["displacement" if form == "png" else "cloud"]
    first = save_figures(runs["singular"], tmp_path / "a", form, names)
    # What a user has set elsewhere neither shows nor is lost.
    monkeypatch.setitem(mpl.rcParams, "xtick.direction", "in")
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    second = save_figures(runs["singular"], tmp_path / "b", form, names)
    assert (mpl.rcParams["xtick.direction"], mpl.rcParams["font.size"]) == ("in", 30)
    for one, other in zip(first, second, strict=True):
        assert one.path is not None
        assert other.path is not None
        data = one.path.read_bytes()
        assert data.startswith(SIGNATURES[form])
        assert data == other.path.read_bytes()


def test_another_process_writes_the_same_without_pyplot(runs: dict[str, Analysis], tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from embevo.analysis import analyze
from embevo.analysis.figures.saving import save_figures
save_figures(analyze(sys.argv[1], keep=False), Path(sys.argv[2]), "svg", ["radius"])
assert "matplotlib.pyplot" not in sys.modules
assert "torch" not in sys.modules
"""
    path = str(runs["singular"].run_path)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program, path, str(tmp_path / "there")],
        check=True,
        env={"PYTHONHASHSEED": "7", "PATH": "", "MPLBACKEND": "svg"},
    )
    save_figures(runs["singular"], tmp_path / "here", "svg", ["radius"])
    assert (tmp_path / "there/radius.svg").read_bytes() == (tmp_path / "here/radius.svg").read_bytes()


def test_the_example_of_the_documentation_runs(
    runs: dict[str, Analysis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs/figures.md").read_text()
    ((name, code),) = re.findall(r"<!-- test: ([\w ]+) -->\n```python\n(.*?)```", text, re.DOTALL)
    assert name == "figure"
    for figure in NAMES:
        assert f"| `{figure}` |" in text
    shutil.copytree(runs["singular"].run_path, tmp_path / "runs/mine")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["radius.pdf"]


# Parts


@given(st.lists(st.floats(-50, 150), max_size=8), st.floats(0.1, 30), st.floats(-10, 10), st.floats(20, 110))
def test_labels_are_kept_apart_and_in_order(places: list[float], gap: float, low: float, high: float) -> None:
    moved = apart(places, gap, low, high)
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    for one, other in pairwise(order):
        assert moved[other] - moved[one] >= gap - 1e-9
    assert all(place >= low - 1e-9 for place in moved)
    if len(places) and low + gap * (len(places) - 1) <= high:
        assert max(moved) <= high + 1e-9
        inside = sorted(places)
        far_enough = all(b - a >= gap for a, b in pairwise(inside))
        if far_enough and low <= inside[0] and inside[-1] <= high:
            assert moved == pytest.approx(places, abs=1e-9), "what is apart is left where it is"


@given(st.sets(st.integers(0, 20_000), min_size=1, max_size=200), st.integers(1, 80))
def test_bins_of_steps_are_narrow_and_leave_nothing_out(numbers: set[int], per_decade: int) -> None:
    steps = np.array(sorted(numbers))
    bins = log_bins(steps, per_decade)
    assert bins[0] == 0
    assert (np.diff(bins) > 0).all()
    for part in np.split(steps, bins[1:]):
        assert len(part)
        assert part[0] > 0 or len(part) == 1
        assert part[-1] <= max(part[0], 1) * 10 ** (1 / per_decade) * (1 + 1e-6)


def test_bins_hold_means_and_medians_of_what_is_known() -> None:
    values = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan], [5.0, 6.0, np.nan]])
    rows, columns = np.array([0, 2]), np.array([0, 2])
    expected = [[np.sqrt((1 + 4 + 9) / 3), np.nan], [np.sqrt((25 + 36) / 2), np.nan]]
    np.testing.assert_allclose(rms_in(values, rows, columns), expected)
    np.testing.assert_array_equal(
        medians_in(np.array([1.0, np.nan, 9.0, np.nan]), np.array([0, 3])), [5.0, np.nan]
    )


@given(st.text())
@example(SPACE)
def test_names_are_short_and_in_letters_that_every_font_has(label: str) -> None:
    name = name_of(label)
    assert len(name) <= 14
    assert all(0x20 <= ord(character) < 0x7F or character == SPACE for character in name)


def test_hostile_names_are_drawn_as_they_are(runs: dict[str, Analysis]) -> None:
    analysis = runs["singular"]
    before = list(analysis.labels)
    try:
        analysis.labels[:] = ["$\\frac{$", "<b>", "\x00", "漢字", "$a$", "\ud800"] * 20
        assert render_in_style(draw("cloud", analysis), "svg")
        assert "$\\frac{$" in [
            text.get_text() for text in draw("norm_frequency", analysis).figure.axes[0].texts
        ]
    finally:
        analysis.labels[:] = before


def test_pinned_elements_are_a_share_of_all(tmp_path: Path, runs: dict[str, Analysis]) -> None:
    """Numbers of 1 in bfloat16 cannot be moved by 0.001, and numbers of 0.01 can, while the rate is high."""
    values = np.full((50, 4, 2), 0.01).astype(ml_dtypes.bfloat16)
    values[:, 1] = 1
    found = analyze(trajectories.record(tmp_path / "run", values, dead=[1]), keep=False)
    drawing = draw("pinned", found)
    live, dead = (line.get_ydata() for line in drawing.figure.axes[0].lines[:2])
    assert (np.asarray(dead)[1:] == 1).all()
    assert np.asarray(live)[1] == 0
    assert "dead: 100 % at step 1" in drawing.alt
    runs["no loss"].series["pinned"][:] = np.nan
    with pytest.raises(NothingToDrawError, match="no learning rate"):
        draw("pinned", runs["no loss"])
