"""The figure of one token's story: how far its attempts reach, what they are made of, what came of them."""

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from embevo.analysis.explaining.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embevo.analysis.figures.rendering import Format


def draw(of: Explanation, form: "Format" = "png") -> bytes:
    """Draw it, as the bytes of a file.

    Args:
        of: the story.
        form: of the file.
    """
    # Importing this room says it where matplotlib is missing.
    from embevo.analysis.figures.rendering import METADATA  # noqa: PLC0415
    from embevo.analysis.figures.style import HEIGHT, WIDTH, step_axis, styled  # noqa: PLC0415

    with styled():
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415 - loaded when something is drawn

        figure = Figure(figsize=(WIDTH, 2 * HEIGHT))
        FigureCanvasAgg(figure)
        upper, middle, lower = figure.subplots(3, 1, sharex=True)
        figure.suptitle(f"Token {of.label}: what was attempted, and what the {of.dtype} kept", fontsize=9)
        _lines(upper, of, ("gradient", "momentum", "decay", "common"))
        upper.set_ylabel("length of the part")
        _lines(middle, of, ("attempted", "realised"))
        middle.set_ylabel("length of the update")
        lower.plot(of.steps, np.where(of.reach > 0, of.reach, np.nan), color="#404040", linewidth=0.8)
        lower.axhline(1, color="#D55E00", linewidth=0.8)
        lower.set_ylabel("reach (half gaps)")
        for axes in (upper, middle, lower):
            axes.set_yscale("log")
            step_axis(axes, of.steps, label=axes is lower)
        if of.stuck_from is not None:
            lower.axvline(of.stuck_from, color="#0072B2", linewidth=0.8)
            lower.set_title(f"cannot move from step {of.stuck_from:,} on", fontsize=8)
        file = BytesIO()
        figure.savefig(file, format=form, dpi=200, metadata=METADATA[form])
    return file.getvalue()


def _lines(axes: "Axes", of: Explanation, names: tuple[str, ...]) -> None:
    colours = ("#D55E00", "#0072B2", "#007A57", "#404040")
    for name, colour in zip(names, colours, strict=False):
        length = np.linalg.norm(getattr(of, name), axis=1)
        axes.plot(of.steps, np.where(length > 0, length, np.nan), color=colour, linewidth=0.8, label=name)
    axes.legend(frameon=False, fontsize=7, ncols=len(names))
