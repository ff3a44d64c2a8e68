"""How figures look: size, colours, type, axes. Everything is set here; no matplotlibrc applies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common colour vision, and in grey.
LIVE: Final = "#D55E00"
DEAD: Final = "#0072B2"
ALL: Final = "#404040"
COLOURS: Final = {"all": ALL, "live": LIVE, "dead": DEAD}
# Blue and vermilion are near to each other in grey, so that the second difference is the dash.
DASHES: Final[dict[str, Any]] = {"all": (0, (1, 1)), "live": "-", "dead": (0, (5, 1.5))}
MARKERS: Final = {"all": "o", "live": "o", "dead": "s"}
# For groups of the user's own, in turn: the rest of that palette, darker where it is too light on white.
OWN_COLOURS: Final = ("#007A57", "#A8447F", "#9A6B00", "#1F83BB", "#6A3D9A", "#7A7A00")
OWN_DASHES: Final[tuple[Any, ...]] = ((0, (3, 1, 1, 1)), (0, (7, 1.5)), (0, (2, 1)))
OWN_MARKERS: Final = ("^", "D", "v")
SIGNS: Final = {"o": "\u25cf", "s": "\u25a0", "^": "\u25b2", "D": "\u25c6", "v": "\u25bc"}
INK: Final = "#1A1A1A"
FAINT: Final = "#6B6B6B"
RULE: Final = "#C8C8C8"

# At the width of a phone (343 CSS pixels inside the margins) a point of this figure is a pixel.
WIDTH: Final = 4.8
HEIGHT: Final = 3.3

LENGTH: Final = "embedding units"
STEP_LABEL: Final = "training step (logarithmic from 1 on)"

_STYLE: Final[dict[str, Any]] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "axes.unicode_minus": True,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.06,
    "savefig.facecolor": "white",
    # Glyphs are drawn, so that a figure looks the same where the font is not installed.
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    # Ids in an SVG are hashes; with this salt they are the same each time.
    "svg.hashsalt": "embevo",
}


# Up to so many points each is seen by itself, at full size.
_FEW: Final = 1000


def point_marks(count: int, size: float) -> dict[str, Any]:
    """How points of a cloud are drawn: the more there are, the smaller and the more transparent.

    The ink on the page grows more slowly than their number, so that density is still seen where many lie
    above each other.

    Args:
        count: how many.
        size: of few of them, in points.
    """
    more = max(1.0, count / _FEW)
    return {
        "markersize": size / more**0.25,
        "alpha": max(0.75 / more**0.35, 0.1),
        "markeredgewidth": 0,
        "rasterized": count > 2 * _FEW,
    }


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults with the above; what was set before comes back afterwards."""
    with mpl.style.context(["default", _STYLE]):
        yield


def from_one_axis(axes: Axes, last: int) -> None:
    """Make x logarithmic from 1 on, with a short linear piece from 0 to 1, for numbers up to ``last``."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    decades = [10**k for k in range(len(str(last)))]
    axes.xaxis.set_major_locator(FixedLocator([0, *decades]))
    axes.xaxis.set_minor_locator(FixedLocator([m * d for d in decades for m in range(2, 10)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def step_axis(axes: Axes, steps: NDArray[np.int64], *, label: bool = True) -> None:
    """Make x an axis of steps."""
    last = max(int(steps[-1]), 1)
    from_one_axis(axes, last)
    axes.set_xlim(min(int(steps[0]), 0), last * 1.02)
    if label:
        axes.set_xlabel(STEP_LABEL)
    else:
        axes.tick_params(labelbottom=False)


def interval_between(stride: int) -> str:
    """What a displacement belongs to, in words, where every ``stride``-th step was recorded."""
    return "step" if stride == 1 else f"{stride:,} steps"


def plain_log_axis(axis: Any, low: float, high: float) -> None:
    """Label powers of ten that one can read (0.01, 0.1, 1, 10), or 10^k where they span too many digits."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    stride = max(1, -(-(last - first + 1) // 7))
    axis.set_major_locator(FixedLocator([10.0**k for k in range(first - first % stride, last + 1, stride)]))
    minor = [m * 10.0**k for k in range(first - 1, last + 1) for m in range(2, 10)] if stride == 1 else []
    axis.set_minor_locator(FixedLocator(minor) if minor else NullLocator())
    axis.set_minor_formatter(NullFormatter())
    if first >= -3 and last <= 4:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if stride == 1 and np.log10(high / low) <= 2:
        # So short an axis has one or two powers of ten in it: 2 and 5 are labelled too.
        axis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:,.10g}" if f"{value:e}"[0] in "25" else "")
        )


def quiet_grid(axes: Axes) -> None:
    """Horizontal lines that help to read values, behind everything."""
    axes.grid(visible=True, axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
