"""Films: the steps they show, that they play, and that half of one is never left behind."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image

from embevo.analysis import Analysis, analyze, projection
from embevo.analysis.figures.holes import largest_holes
from embevo.analysis.figures.style import DEAD, INK, LIVE
from embevo.analysis.film import animation
from embevo.analysis.film import encoding as film
from embevo.analysis.film.animation import animate, frame_rows
from embevo.analysis.film.encoding import find_ffmpeg, suffix_of, write_film
from embevo.analysis.film.looking import look
from embevo.analysis.film.moving_cloud import MovingCloud
from embevo.analysis.film.view import View
from embevo.analysis.membership import black_holes
from embevo.analysis.projection import project
from embevo.analysis.reading import values_of
from embevo.errors import ArgumentError, DestinationError, FilmError, NothingToDrawError
from support import drawn, trajectories


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyze(drawn.record_singular(tmp_path_factory.mktemp("film") / "run"))


@given(st.integers(1, 20_000), st.integers(1, 500), st.just(0) | st.integers(0, 19_999))
def test_frames_go_from_the_first_row_to_the_last_ever_faster(rows: int, frames: int, first: int) -> None:
    first = min(first, rows - 1)
    chosen = frame_rows(rows, frames, first)
    assert len(chosen) == min(rows - first, frames)
    assert chosen[-1] == rows - 1
    assert len(chosen) == 1 or chosen[0] == first
    strides = np.diff(chosen)
    assert (strides > 0).all()
    # Rounding may shorten a stride by one.
    assert (np.diff(strides) >= -1).all()


@given(st.floats(0.01, 1000), st.integers(0, 9))
def test_magnified_motion_and_displacements_are_those_of_the_places(times: float, seed: int) -> None:
    places = np.random.default_rng(seed).normal(size=(4, 5, 2))
    way = places - places[0]
    np.testing.assert_allclose(View(magnify=times).of(places) - places[0], times * way, atol=1e-9)
    np.testing.assert_array_equal(View(from_start=True).of(places), way)
    assert View().of(places) is places


@pytest.mark.parametrize("times", [0.0, -1.0, float("nan"), float("inf")])
def test_motion_is_not_magnified_by_what_is_no_factor(times: float) -> None:
    with pytest.raises(ArgumentError, match="positive"):
        View(magnify=times)
    with pytest.raises(ArgumentError, match="not both"):
        View(magnify=3, from_start=True)


@pytest.mark.parametrize(
    ("view", "said", "along"),
    [
        (View(), "run: embeddings", "component 1"),
        (View(magnify=20), "run: embeddings; motion since step 0 magnified 20 times", "component 1"),
        (
            View(from_start=True),
            "run: embeddings; displacement from step 0",
            "displacement along component 1",
        ),
    ],
)
def test_the_picture_says_what_it_shows(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: View, said: str, along: str
) -> None:
    made: list[MovingCloud] = []

    def keep(*arguments: Any, **how: Any) -> MovingCloud:
        made.append(MovingCloud(*arguments, **how))
        return made[-1]

    monkeypatch.setattr(animation, "MovingCloud", keep)
    animate(analysis, tmp_path / "out.gif", frames=3, view=view)
    figure = made[0]._figure
    assert figure.get_suptitle() == said
    assert figure.axes[0].get_xlabel() == f"{along} (embedding units)"
    rings = [mark for mark in made[0]._rings if len(mark.get_xdata())]
    assert bool(rings) == view.in_place


def test_each_step_is_read_once_for_places_and_black_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = trajectories.brownian(20, 6, 4).astype(np.float32)
    walk[[5, 12, 13], 1] = walk[[5, 12, 13], 2]
    found = analyze(trajectories.record(tmp_path / "run", walk, block_steps=4), keep=False)
    read: list[int] = []

    def watched(run: Any, name: str, rows: Any) -> Any:
        read.extend(rows.tolist())
        return values_of(run, name, rows)

    monkeypatch.setattr(projection, "values_of", watched)
    steps = np.array([0, 4, 5, 7, 12, 19])
    crowded = np.array([False, False, True, False, True, False])
    points, holes = look(found.run_path, steps, found.series, crowded)
    assert read == steps.tolist()
    np.testing.assert_array_equal(points, project(found.run_path, steps, found.series, components=2))
    np.testing.assert_array_equal(holes, black_holes(found.run_path, steps))
    assert (holes[[2, 4]] >= 0).sum() == 4
    _, none = look(found.run_path, steps, found.series, np.zeros(6, bool))
    assert (none == -1).all()


def close_to(frame: Any, colour: str) -> int:
    """How many pixels have about that colour."""
    wanted = np.array(to_rgb(colour)) * 255
    return int((np.abs(np.asarray(frame, float) - wanted).max(axis=2) < 60).sum())


def test_a_gif_shows_each_step_with_the_live_and_the_dead(analysis: Analysis, tmp_path: Path) -> None:
    out = tmp_path / "out.gif"
    done: list[tuple[int, int]] = []
    shown = animate(analysis, out, frames=4, fps=10, labels=True, on_frame=lambda *at: done.append(at))
    assert shown == 4
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with Image.open(out) as gif:
        assert (gif.n_frames, gif.info["loop"], gif.info["comment"]) == (4, 0, b"embevo")
        assert gif.info["duration"] == 100
        frames = [gif.seek(number) or gif.convert("RGB") for number in range(4)]
    body = [frame.crop((0, 40, *frame.size)) for frame in frames]
    assert close_to(body[0], LIVE) < 200, "one point, under the dead"
    assert close_to(body[-1], LIVE) > 400
    assert close_to(body[-1], DEAD) > 10
    again = tmp_path / "again.gif"
    animate(analysis, again, frames=4, fps=10, labels=True)
    assert again.read_bytes() == out.read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["again.gif", "out.gif"]


def test_a_part_of_a_run_is_shown_where_that_is_asked_for(analysis: Analysis, tmp_path: Path) -> None:
    steps = analysis.series["step"].to_numpy().tolist()
    assert animate(analysis, tmp_path / "out.gif", frames=99, between=(steps[2], steps[4])) == 3
    with pytest.raises(
        NothingToDrawError, match=rf"no step from .*: choose steps between {steps[0]} and {steps[-1]}"
    ):
        animate(analysis, tmp_path / "none.gif", between=(steps[-1] + 1, steps[-1] + 9))


def test_black_holes_are_ringed_and_counted(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hole, dead = np.array([1, 0, 2, 0, 2, 1, 0, -1, 3, 3]), np.array([1, 3, 6, 2, 7])
    assert largest_holes(hole, dead) == [
        (1, 3, "3 dead tokens at one point"),
        (0, 2, "2 tokens at one point"),
        (2, 2, "2 tokens at one point, 1 dead"),
    ]
    assert largest_holes(np.full(3, -1), dead) == []

    def ink(name: str) -> int:
        animate(analysis, tmp_path / name, frames=2)
        with Image.open(tmp_path / name) as gif:
            # Below the line with step and loss, and above the axis.
            return close_to(gif.convert("RGB").crop((120, 60, 600, 380)), INK)

    seen = ink("holes.gif")
    monkeypatch.setattr(animation, "look", lambda *asked: (look(*asked)[0], np.full((2, 110), -1, np.int64)))
    assert seen > ink("none.gif") + 100


def test_an_mp4_plays_in_browsers(analysis: Analysis, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    animate(analysis, out, frames=3, fps=2)
    command = [find_ffmpeg(), "-nostdin", "-i", str(out), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    played = subprocess.run(command, capture_output=True, check=True)
    for said in (b"Video: h264", b"yuv420p(", b"960x720", b" 2 fps"):
        assert said in played.stderr
    frames = np.frombuffer(played.stdout, np.uint8).reshape(-1, 720, 960, 3)
    assert len(frames) == 3 + 3, "the last one stays for a second and a half"
    assert close_to(frames[2][60:], LIVE) > 400
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"embevo" in data


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_interrupted_film_leaves_what_was_there(tmp_path: Path, suffix: str, before: bytes | None) -> None:
    out = tmp_path / f"out{suffix}"
    if before is not None:
        out.write_bytes(before)

    def frames() -> Any:
        for _ in range(2000 if suffix == ".mp4" else 1):
            yield np.zeros((256, 256, 3), np.uint8)
            if out.with_name(f"{out.name}.partial").exists():
                break
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_film(out, frames(), 5)
    assert list(tmp_path.iterdir()) == ([] if before is None else [out])
    assert before is None or out.read_bytes() == before


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(FilmError, match=r"out\.gif could not be written: No space left"):
        write_film(tmp_path / "out.gif", iter([np.zeros((32, 32, 3), np.uint8)]), 5)


def test_what_ffmpeg_complains_of_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'no such codec' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(film, "find_ffmpeg", lambda: str(broken))
    out = tmp_path / "out.mp4"
    many = (np.zeros((256, 256, 3), np.uint8) for _ in range(20))
    with pytest.raises(FilmError, match=r"could not write out\.mp4: no such codec"):
        write_film(out, many, 5)
    assert list(tmp_path.iterdir()) == [broken]


def test_ffmpeg_is_the_one_that_is_brought_or_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_ffmpeg() == imageio_ffmpeg.get_ffmpeg_exe()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FilmError, match=r"pip install 'embevo\[animate\]'"):
        find_ffmpeg()
    own = tmp_path / "ffmpeg"
    own.touch(mode=0o755)
    assert find_ffmpeg() == str(own)


def test_only_films_are_films() -> None:
    assert (suffix_of(Path("a.MP4")), suffix_of(Path("a.b.gif"))) == (".mp4", ".gif")
    for name in ("a.webm", "gif", "a.mp4.partial"):
        with pytest.raises(DestinationError, match=r"is an \.mp4 or a \.gif"):
            suffix_of(Path(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values[:, :, :1], "no plane"),
        (lambda values: np.full_like(values, np.nan), "no token is at a finite place"),
    ],
)
def test_what_has_no_plane_has_no_film(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    values = change(trajectories.brownian(5, 4, 3).astype(np.float32))
    found = analyze(trajectories.record(tmp_path / "run", values), keep=False)
    with pytest.raises(NothingToDrawError, match=message):
        animate(found, tmp_path / "out.gif", frames=3)
    assert not (tmp_path / "out.gif").exists()
