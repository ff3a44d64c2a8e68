"""The figure of a difference: how far apart, how many bits are equal, and in which direction, over steps."""

from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np

from embevo.analysis.differing.difference import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embevo.analysis.figures.rendering import Format

# More lines than that are not told apart.
_MOST: Final = 6
_LABELS: Final = {"distance": "Frobenius distance", "equal": "share of equal bits", "cosine": "cosine"}


def draw(of: Difference, form: "Format" = "png") -> bytes:
    """Draw the series of the arrays that differ first, or of the first ones; the same bytes each time.

    Args:
        of: the difference.
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
        panels = figure.subplots(3, 1, sharex=True)
        first = of.first
        title = "no bit differs" if first is None else f"first differs at step {first[1].step:,}"
        more = f"; {_MOST} of {len(of.arrays)} arrays" if len(of.arrays) > _MOST else ""
        figure.suptitle(f"Two recordings: {title}{more}", fontsize=9)
        for axes, (name, label) in zip(panels, _LABELS.items(), strict=True):
            _lines(axes, of, name)
            axes.set_ylabel(label)
            step_axis(axes, of.steps, label=axes is panels[-1])
        if any((array.distance > 0).any() for array in of.arrays):
            panels[0].set_yscale("log")
        if first is not None:
            for axes in panels:
                axes.axvline(first[1].step, color="#C8C8C8", linewidth=0.8, zorder=0)
        panels[0].legend(frameon=False, fontsize=7, ncols=2)
        file = BytesIO()
        figure.savefig(file, format=form, dpi=200, metadata=METADATA[form])
    return file.getvalue()


def _lines(axes: "Axes", of: Difference, name: str) -> None:
    colours = ("#D55E00", "#0072B2", "#007A57", "#A8447F", "#9A6B00", "#404040")
    parted = sorted(of.arrays, key=lambda array: np.inf if array.first is None else array.first.step)
    for array, colour in zip(parted[:_MOST], colours, strict=False):
        values = getattr(array, name)
        if name == "distance":
            # A logarithmic axis has no zero.
            values = np.where(values > 0, values, np.nan)
        axes.plot(of.steps, values, color=colour, linewidth=0.8, label=array.name)
        if name == "distance" and array.rotated is not None:
            up_to = np.where(array.rotated > 0, array.rotated, np.nan)
            axes.plot(of.steps, up_to, color=colour, linewidth=0.8, linestyle="--", label="up to a rotation")
