"""Groups of many tokens: ink follows their number, every one is seen, and small groups are not drowned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from embevo.analysis import Analysis, analyze
from embevo.analysis.figures import cloud, frequency
from embevo.analysis.figures.density import MOST_MARKS, counts_at, ink_of
from embevo.analysis.figures.rendering import Format, render
from embevo.analysis.figures.style import DEAD, LIVE, styled
from embevo.analysis.film.moving_cloud import MovingCloud
from embevo.analysis.projection import project
from support import trajectories

TOKENS, FEW = MOST_MARKS + 800, 6


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """Most tokens in a core that is dense in the middle, some far out, the few dead near the middle."""
    values = trajectories.brownian(10, TOKENS, 5, scale=0.002)
    generator = np.random.default_rng(1)
    values += generator.normal(size=(1, TOKENS, 5)) * generator.gamma(0.5, 1, size=(1, TOKENS, 1))
    dead = list(range(FEW))
    values[:, dead] = 0.4 + 0.01 * generator.normal(size=(1, FEW, 5))
    path = tmp_path_factory.mktemp("density") / "run"
    return analyze(trajectories.record(path, values.astype(np.float32), dead=dead))


POINTS = st.lists(st.tuples(st.floats(-4, 16), st.floats(-4, 12)) | st.just((float("nan"), 1.0)), max_size=12)


@given(POINTS, st.floats(0.0, 2.6))
def test_each_pixel_counts_the_points_that_reach_it(points: list[tuple[float, float]], radius: float) -> None:
    height, width = 8, 12
    found = counts_at(np.array(points, float).reshape(-1, 2), (height, width), radius)
    expected = np.zeros((height, width))
    for x, y in points:
        if np.isnan(x):
            continue
        for row in range(height):
            for column in range(width):
                down, across = (height - 1 - np.floor(y)) - row, np.floor(x) - column
                expected[row, column] += down**2 + across**2 <= radius**2
    np.testing.assert_array_equal(found, expected)


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True))
def test_ink_grows_with_the_number_of_points(numbers: list[int]) -> None:
    numbers.sort()
    counts = np.array([[0, *numbers]], float)
    (row,) = ink_of([counts], ["#D55E00"], float(numbers[-1]))
    assert row[0, 3] == 0
    assert row[1, 3] >= 0.35
    assert (np.diff(row[1:, 3]) > 0).all()
    assert row[-1, 3] == pytest.approx(1)
    np.testing.assert_allclose(row[1:, :3], np.tile(to_rgb("#D55E00"), (len(numbers), 1)))


def test_where_groups_lie_together_their_colours_are_mixed_by_number() -> None:
    one, other = np.array([[3.0]]), np.array([[1.0]])
    for counts, colours in (([one, other], ["red", "blue"]), ([other, one], ["blue", "red"])):
        np.testing.assert_allclose(ink_of(counts, colours, 4)[0, 0], [0.75, 0, 0.25, 1])


def near(pixels: np.ndarray, colour: str, far: float) -> np.ndarray:
    return np.linalg.norm(pixels / 255 - to_rgb(colour), axis=-1) < far


def test_every_token_of_a_film_is_seen_and_its_core_has_a_shape(analysis: Analysis) -> None:
    steps = analysis.series["step"].to_numpy()[[0, 5, 9]]
    points = project(analysis.run_path, steps, analysis.series, components=2)
    with styled():
        cloud = MovingCloud(analysis, points, np.full(points.shape[:2], -1), steps, 80, labels=False)
        frames = list(cloud.frames(None))
        at = [cloud._axes.transData.transform(some) for some in points]
    for frame, where in zip(frames, at, strict=True):
        column, row = np.floor(where).astype(int).T
        seen = frame[len(frame) - 1 - row, column].astype(float)
        assert (seen.min(axis=1) < 230).all()
        live = seen[FEW:]
        # From a single token, which is pale, to the densest place, through many shades between.
        assert len(np.unique(live.sum(axis=1))) >= 10
        assert near(live, LIVE, 0.1).any()
        assert not near(live, LIVE, 0.3).all()
        # The few dead lie on top of the core.
        assert near(seen[:FEW], DEAD, 0.5).any()


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_every_token_of_a_figure_is_seen_where_it_is(analysis: Analysis, form: Format) -> None:
    last = int(analysis.series["step"][-1])
    places = project(analysis.run_path, [last], analysis.series, components=2)[0]
    counts = analysis.series["token_count"].to_numpy()
    norms = analysis.series["token_norm_last"].to_numpy()
    for draw, points in ((cloud.draw, places), (frequency.draw, np.column_stack([counts, norms]))):
        with styled():
            drawing = draw(analysis)
            drawing.finish()
            assert len(render(drawing, form)) < 1_000_000
            axes = drawing.figure.axes[0]
            (image,) = axes.images
            picture = np.asarray(image.get_array())
            left, right, bottom, top = image.get_extent()
            to_image = image.get_transform().inverted()
            across, up = to_image.transform(axes.transData.transform(points[FEW:])).T
            across, up = (across - left) / (right - left), (up - bottom) / (top - bottom)
        height, width = picture.shape[:2]
        assert across.min() >= 0
        assert across.max() <= 1
        assert up.min() >= 0
        assert up.max() <= 1
        row = np.clip(((1 - up) * height).astype(int), 0, height - 1)
        column = np.clip((across * width).astype(int), 0, width - 1)
        # Rounding may put a token into the next pixel, which it reaches.
        assert (picture[row, column, 3] > 0).all()
        assert picture[row, column, 3].max() == pytest.approx(1)
        # The dead, who are few, are marks.
        assert [len(line.get_xdata()) for line in axes.lines[:1]] == [FEW]
