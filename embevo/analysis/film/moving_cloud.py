"""The cloud in the plane of its principal components as it moves: one picture a frame."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from numpy.typing import NDArray

from embevo.analysis import Analysis
from embevo.analysis.figures.density import are_many
from embevo.analysis.figures.drawing import Drawing, title_of
from embevo.analysis.figures.groups import colour_of, key_of, marker_of, shown, tokens_of
from embevo.analysis.figures.holes import MOST, largest_holes, put_ring, ring
from embevo.analysis.figures.style import ALL, FAINT, INK, LENGTH, point_marks
from embevo.analysis.figures.token_names import name_of
from embevo.analysis.film.crowd import Crowd
from embevo.analysis.film.view import PLACES, View

_SIZE: Final = (8.0, 6.0)
_NAMED: Final = 60
_TYPE: Final = 11.0
# Of a character of the key, and of a line of it, in points.
_KEY_WIDTH: Final = 8.5
_KEY_LINE: Final = 330.0
# Points between a token and its name.
_BESIDE: Final = 5.0


class MovingCloud:
    """The axes, drawn once, and what moves in front of them."""

    def __init__(
        self,
        analysis: Analysis,
        points: NDArray[np.float64],
        holes: NDArray[np.int64],
        steps: NDArray[np.int64],
        dpi: int,
        *,
        labels: bool,
        view: View = PLACES,
    ) -> None:
        """Make the axes.

        Args:
            analysis: of the run.
            points: ``(frame, token, 2)`` in embedding units.
            holes: ``(frame, token)`` black hole of each token, the largest 0; -1 for none.
            steps: ``(frame,)`` global steps.
            dpi: pixels an inch.
            labels: write the names of frequent tokens beside them, where there is room.
            view: what is shown of them, for the words on the picture.
        """
        self._points, self._holes, self._steps = points, holes, steps
        self._figure = Figure(figsize=_SIZE, dpi=dpi)
        self._canvas: Any = FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_subplot()
        words = f"; {view.words(int(steps[0]))}" if view.words(int(steps[0])) else ""
        self._figure.suptitle(
            title_of(analysis) + words, x=0.01, ha="left", fontsize=10, color=FAINT, parse_math=False
        )
        _frame(self._axes, points, view)
        series = analysis.series
        loss = series["loss"].to_numpy() if "loss" in series else np.full(series.sizes["step"], np.nan)
        self._unit = " nats" if analysis.is_experiment else ""
        self._loss = loss[np.searchsorted(series["step"].to_numpy(), steps)]
        self._groups = [
            (group, tokens_of(analysis, group)) for group in shown(analysis, Drawing.of(analysis))
        ]
        self._few = [(group, ids) for group, ids in self._groups if not are_many(len(ids))]
        look = point_marks(sum(len(ids) for _, ids in self._few), 5)
        self._marks = [
            self._axes.plot([], [], marker_of(analysis, group), color=colour_of(analysis, group), **look)[0]
            for group, _ in self._few
        ]
        self._crowd = Crowd(
            [(ids, colour_of(analysis, group)) for group, ids in self._groups if are_many(len(ids))]
        )
        self._rings = [ring(self._axes) for _ in range(MOST)]
        self._counts = [self._beside("", INK) for _ in range(MOST)]
        for text in self._counts:
            # They lie among the points.
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        self._dead = tokens_of(analysis, "dead")
        self._caption = self._above(0, f"step {steps[-1]:,}", "bold")
        self._said = self._above(130, "", "normal")
        across, line = 0.0, 0
        for group, _ in reversed(self._groups):
            key_text = key_of(analysis, group)
            width = max(110.0, _KEY_WIDTH * len(key_text))
            if across + width > _KEY_LINE:
                across, line = 0.0, line + 1
            key = self._above(-across, key_text, "normal", right=True, line=line)
            key.set_color(colour_of(analysis, group))
            key.set_animated(False)
            across += width
        self._names = self._labels(analysis) if labels else []

    def frames(self, on_frame: Callable[[int, int], None] | None) -> Iterator[NDArray[np.uint8]]:
        """``(height, width, 3)`` of each step."""
        for artist in (*self._marks, *self._rings, *self._counts, *(text for _, text in self._names)):
            artist.set_animated(True)
        self._canvas.draw()
        background = self._canvas.copy_from_bbox(self._figure.bbox)
        for index in range(len(self._steps)):
            self._canvas.restore_region(background)
            self._crowd.draw(self._canvas, self._axes, self._points[index], self._points[-1])
            for artist in self._place(index):
                self._axes.draw_artist(artist)
            yield np.asarray(self._canvas.buffer_rgba())[:, :, :3].copy()
            if on_frame:
                on_frame(index + 1, len(self._steps))

    def _place(self, index: int) -> Sequence[Any]:
        """Move everything to where it is in a frame; what is to be drawn of it."""
        points = self._points[index]
        for (_, ids), mark in zip(self._few, self._marks, strict=True):
            mark.set_data(points[ids, 0], points[ids, 1])
        self._caption.set_text(f"step {self._steps[index]:,}")
        loss = self._loss[index]
        self._said.set_text(f"loss {loss:.2f}{self._unit}" if np.isfinite(loss) else "")
        holes = largest_holes(self._holes[index], self._dead)
        texts: list[tuple[int, tuple[float, float], Text]] = []
        for (token, count, what), mark, text in zip(holes, self._rings, self._counts, strict=False):
            put_ring(mark, points[token], count)
            text.set_text(what)
            # Above the ring, where fewer tokens are than beside it.
            texts.append((token, (0, _BESIDE + _TYPE / 2 + float(mark.get_markersize()) / 2), text))
        # A token in a black hole has no place of its own to be named at.
        texts += [(token, (_BESIDE, 0), text) for token, text in self._names if self._holes[index, token] < 0]
        shown = self._free_texts(points, texts)
        return [*self._marks, *self._rings[: len(holes)], *shown, self._caption, self._said]

    def _free_texts(
        self, points: NDArray[np.float64], texts: Sequence[tuple[int, tuple[float, float], Text]]
    ) -> list[Text]:
        """Put texts beside their tokens, so far away; those that cover none that comes before them."""
        pixel = self._figure.dpi / 72
        at = self._axes.transData.transform(points) / pixel
        height = 1.15 * _TYPE
        taken: list[tuple[float, float, float]] = []
        free = []
        edge = self._axes.bbox.x1 / pixel
        for token, away, text in texts:
            x, y = at[token] + away
            width = 0.65 * _TYPE * len(text.get_text())
            # To the left of a token near the right end.
            fits = x + width <= edge
            anchor = x if fits else x - 2 * away[0]
            x = anchor if fits else anchor - width
            right = x + width
            if np.isfinite(x) and all(
                right < left or x > end or abs(y - other) > height for left, end, other in taken
            ):
                taken.append((x, right, y))
                text.set_horizontalalignment("left" if fits else "right")
                text.set_position((float(anchor * pixel), float(y * pixel)))
                free.append(text)
        return free

    def _labels(self, analysis: Analysis) -> list[tuple[int, Text]]:
        """Names of the most frequent tokens, in that order; without counts, of the outermost ones."""
        if "token_count" in analysis.series:
            weight = analysis.series["token_count"].to_numpy().astype(float)
        else:
            last = self._points[-1]
            weight = np.nan_to_num(np.linalg.norm(last - np.nanmedian(last, axis=0), axis=1))
        colours = dict.fromkeys(range(len(weight)), ALL)
        for group, ids in self._groups:
            colours |= dict.fromkeys(ids.tolist(), colour_of(analysis, group))
        order = np.argsort(-weight, kind="stable")[:_NAMED].tolist()
        return [
            (token, self._beside(name_of(analysis.labels[token]), colours[token]))
            for token in order
            if weight[token] > 0
        ]

    def _beside(self, text: str, colour: str) -> Text:
        """A text whose place in pixels changes from frame to frame."""
        return self._axes.text(
            0,
            0,
            text,
            transform=None,
            color=colour,
            fontsize=_TYPE,
            va="center",
            parse_math=False,
            in_layout=False,
        )

    def _above(self, shift: float, text: str, weight: str, *, right: bool = False, line: int = 0) -> Text:
        """A line of text above the axes, from the left or to the right end."""
        annotation = self._axes.annotate(
            text,
            (1.0 if right else 0.0, 1),
            xycoords="axes fraction",
            xytext=(shift, 8 + 18 * line),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=13,
            weight=weight,
        )
        annotation.set_animated(True)
        return annotation


def _frame(axes: Axes, points: NDArray[np.float64], view: View) -> None:
    """Ranges that hold every point of every frame, with the same scale in both directions."""
    axes.update_datalim(points[np.isfinite(points).all(axis=2)])
    axes.margins(0.05)
    axes.autoscale_view()
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(labelsize=11)
    what = "displacement along component" if view.from_start else "component"
    axes.set_xlabel(f"{what} 1 ({LENGTH})", fontsize=12)
    axes.set_ylabel(f"{what} 2 ({LENGTH})", fontsize=12)
