"""save_figures(): the figures of a run as files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embevo.analysis import Analysis
from embevo.analysis.destination import check_destination, check_directory
from embevo.analysis.figures.catalogue import FIGURES, NAMES
from embevo.analysis.figures.rendering import Format, render
from embevo.analysis.figures.style import styled
from embevo.errors import NothingToDrawError
from embevo.run.disk.atomic import write_file
from embevo.run.paths import absolute


@dataclass(frozen=True)
class Saved:
    """What became of a figure.

    Attributes:
        name: of the figure.
        path: its file; None if there was nothing to draw.
        remarks: what is missing from it or must be known to read it; without a file, the reason for that.
    """

    name: str
    path: Path | None
    remarks: tuple[str, ...]


def check_folder(folder: Path, form: Format, names: Sequence[str] = NAMES, *, overwrite: bool) -> None:
    """Find out whether the figures can be written, before they are computed.

    Raises:
        DestinationError: the folder, or without it the one above, cannot be written, or a file is in the way.
    """
    if not folder.exists():
        check_directory(folder.absolute().parent, what=str(folder))
        return
    check_directory(folder, what=f"figures in {folder}")
    for name in names:
        check_destination(folder / f"{name}.{form}", overwrite=overwrite)


def save_figures(
    analysis: Analysis,
    folder: Path,
    form: Format,
    names: Sequence[str] = NAMES,
    *,
    overwrite: bool = False,
    on_figure: Callable[[int, int], None] | None = None,
) -> list[Saved]:
    """Draw figures, and write each to ``folder/NAME.FORM``; the same run gives the same bytes.

    Args:
        analysis: of the run.
        folder: made if it is not there; the folder above it is.
        form: of the files.
        names: of the figures, as in :data:`~embevo.analysis.figures.catalogue.NAMES`.
        overwrite: replace files that embevo did not make.
        on_figure: called after each with how many are finished, and how many there will be.

    Raises:
        DestinationError: the folder cannot be written, or a file is in the way.
        OSError: writing failed; the file of that name is what it was.
    """
    folder = absolute(folder)
    check_folder(folder, form, names, overwrite=overwrite)
    folder.mkdir(exist_ok=True)
    saved = []
    for figure in FIGURES:
        if figure.name not in names:
            continue
        path = folder / f"{figure.name}.{form}"
        with styled():
            try:
                drawing = figure.draw(analysis)
            except NothingToDrawError as reason:
                saved.append(Saved(figure.name, None, (str(reason),)))
            else:
                drawing.finish()
                write_file(path, render(drawing, form), sync=False)
                saved.append(Saved(figure.name, path, tuple(drawing.notes)))
        if on_figure:
            on_figure(len(saved), len(names))
    return saved
