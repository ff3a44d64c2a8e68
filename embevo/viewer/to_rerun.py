"""A run for Rerun: the cloud along principal components, and the recorded scalars, over the steps."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from embevo.errors import ExportError, MissingLibraryError
from embevo.run.disk.atomic import PARTIAL
from embevo.viewer.clouds import Clouds
from embevo.viewer.exported import Exported
from embevo.viewer.view_name import ViewName

_VIEW: Final = ViewName.parse("final-0-1-2")
# Okabe and Ito's, which are told apart with every common colour vision; the first two are live and dead.
_COLOURS: Final = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
# Of the widest range of the cloud.
_RADIUS: Final = 0.004


def find_rerun() -> Any:
    """The module of rerun-sdk.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        return import_module("rerun")
    except ModuleNotFoundError as error:
        if error.name != "rerun":
            raise
        raise MissingLibraryError("an .rrd needs rerun-sdk: pip install 'embevo[rerun]'") from error


def export_rerun(
    exported: Exported,
    out: Path,
    *,
    overwrite: bool = False,
    on_row: Callable[[int], None] | None = None,
) -> None:
    """Write a file that ``rerun`` opens: ``tokens/GROUP``, points, and ``recorded/NAME``, numbers.

    Points are along the first three principal components of the last step that is exported, float32; the
    timeline ``step`` has the steps, and nothing stands between them.

    Args:
        exported: of the run.
        out: the file; it appears when it is whole.
        overwrite: replace a file that is there.
        on_row: called with the step of each row that was written.

    Raises:
        ExportError: the file is there already.
        MissingLibraryError: rerun-sdk is not installed.
        DamagedError: stored bytes are not what was written.
        OSError: the file cannot be written.
    """
    rerun = find_rerun()
    if out.exists() and not overwrite:
        raise ExportError(f"{out} is there already: name another file, or ask to overwrite it")
    partial = out.with_name(out.name + PARTIAL)
    # Rerun itself says nothing of a file that it cannot write.
    partial.touch()
    try:
        # The same run gives the same recording, so that a file opened twice is one.
        recording = rerun.RecordingStream(
            "embevo", recording_id=f"{exported.opened.name}-{exported.opened.matrix}"
        )
        recording.save(partial)
        _write(rerun, recording, exported, on_row)
        recording.flush()
        recording.disconnect()
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _write(rerun: Any, recording: Any, exported: Exported, on_row: Callable[[int], None] | None) -> None:
    opened = exported.opened
    clouds = Clouds(opened)
    said = clouds.describe(_VIEW)
    widest = max(high - low for low, high in zip(said["low"], said["high"], strict=True))
    often = np.zeros(len(exported.ids)) if exported.counts is None else np.log1p(exported.counts)
    radii = _RADIUS * (widest or 1.0) * (0.6 + 0.8 * often / max(1.0, float(often.max(initial=0))))
    for place, (group, members) in enumerate(exported.groups.items()):
        recording.log(
            f"tokens/{group}",
            rerun.Points3D.from_fields(
                colors=np.tile(np.array(_COLOURS[place % len(_COLOURS)], np.uint8), (len(members), 1)),
                radii=radii[members],
                labels=[f"{exported.labels[token]} ({exported.ids[token]})" for token in members.tolist()],
                show_labels=False,
            ),
            static=True,
        )
    rows, _, _ = opened.shape
    steps = opened.steps
    for start, places in clouds.all_places(_VIEW):
        mine = steps[start : start + len(places)]
        when = [rerun.TimeColumn("step", sequence=mine)]
        for group, members in exported.groups.items():
            points = np.ascontiguousarray(places[:, members]).reshape(-1, 3)
            columns = rerun.Points3D.columns(positions=points).partition([len(members)] * len(places))
            recording.send_columns(f"tokens/{group}", indexes=when, columns=columns)
        for step in mine.tolist():
            if on_row is not None:
                on_row(step)
    chosen = slice(None) if opened.chosen is None else opened.chosen
    with opened.reading() as run:
        scalars = {name: np.asarray(run[name][:], np.float64)[chosen][:rows] for name in run.frame.scalars}
    when = [rerun.TimeColumn("step", sequence=steps)]
    for name, values in scalars.items():
        recording.send_columns(
            f"recorded/{name}", indexes=when, columns=rerun.Scalars.columns(scalars=values)
        )
