"""A figure as the bytes of a file: the same bytes each time."""

import io
from typing import Any, Final, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg

from embevo.analysis.figures.drawing import Drawing

Format = Literal["png", "svg", "pdf"]
FORMATS: Final[tuple[Format, ...]] = ("png", "svg", "pdf")
# No dates, and no version of matplotlib in what need not have one.
METADATA: Final[dict[Format, dict[str, Any]]] = {
    "png": {"Software": "embevo"},
    "svg": {"Date": None, "Creator": "embevo"},
    "pdf": {"CreationDate": None, "Creator": "embevo", "Producer": "embevo"},
}


def render(drawing: Drawing, form: Format, *, dpi: float = 200) -> bytes:
    """Write a finished figure, within :func:`~embevo.analysis.figures.style.styled`.

    Args:
        drawing: finished.
        form: of the file.
        dpi: pixels an inch; in SVG and PDF of those parts only that have too many points for a drawing.
    """
    FigureCanvasAgg(drawing.figure)
    file = io.BytesIO()
    drawing.figure.savefig(file, format=form, dpi=dpi, metadata=METADATA[form])
    return file.getvalue()
