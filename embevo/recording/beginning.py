"""Beginning a run, or taking one up again: all that is done before the first capture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.recording.holding import end_earlier
from embevo.recording.mirrored import check_mirror
from embevo.recording.options import check_schedule
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for
from embevo.run.format.schedule import Schedule
from embevo.run.format.token_names import Annotations
from embevo.run.journal.ring import Journal
from embevo.run.mirroring.mirror import Mirror
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.reader import Run
from embevo.run.repair.recovery import has_run
from embevo.run.repair.report import Recovery
from embevo.run.repair.resuming import resume
from embevo.run.writing.run_writer import RunWriter, StagedRun
from embevo.run.writing.whole import Whole

Prepare = Callable[[Layout, Journal, int], None]


@dataclass(frozen=True)
class Wanted:
    """What a recorder was asked for: of a run, or of one that several processes record, the same in each.

    Attributes:
        paths: of the whole run.
        frame: what the whole run records.
        store: where the matrices go; of several processes, where each keeps its pieces: the whole run is a
            Zarr group.
        zarr_dtype: of 16-bit arrays.
        block_steps: S; None for what suits the largest piece.
        attributes: of the whole run's group.
        schedule: which steps are recorded.
        token_count: ``(token,)`` int64, where it is known.
        annotations: what is said of the tokens.
        resuming: whether the run that is there is taken up again; None for whether one is there.
        rewind_to: the last step that it keeps.
        overwrite: whether a run that is there may be replaced.
        sync: whether what is written survives a power cut.
        journal_dir: where the rings go; None for the runs of the processes.
        mirror: what sends the whole run to object storage; None where nothing does.
    """

    paths: RunPaths
    frame: FrameSpec
    store: Store
    zarr_dtype: ZarrDtype
    block_steps: int | None
    attributes: Mapping[str, Any]
    schedule: Schedule | None
    token_count: NDArray[np.int64] | None
    annotations: Annotations
    resuming: bool | None
    rewind_to: int | None
    overwrite: bool
    sync: bool
    journal_dir: PathLike | None
    mirror: Mirror | None

    @property
    def settings(self) -> dict[str, Any]:
        """What is to be the same in every process, by the name of the argument, as plain JSON."""
        return {
            "resume": "auto" if self.resuming is None else self.resuming,
            "rewind_to": self.rewind_to,
            "overwrite": self.overwrite,
            "steps": None if self.schedule is None else self.schedule.to_json(),
            "block_steps": self.block_steps,
            "store": self.store,
            "zarr_dtype": self.zarr_dtype,
            "durability": "power" if self.sync else "process",
        }


@dataclass(frozen=True)
class Begun:
    """This process's part of a run.

    Attributes:
        writer: of its own run; None where it records nothing.
        recorded: what its own run held already; None for a new one.
        recovery: what was found and mended, of the whole run in the process that joins it; None for a new
            one.
        whole: the run that this is a part of.
    """

    writer: RunWriter | None
    recorded: Run | None = None
    recovery: Recovery | None = None
    whole: Whole | None = None


def begin_alone(wanted: Wanted, prepare: Prepare) -> Begun:
    """Make a run that this process alone records, or take one up again.

    Args:
        wanted: what is recorded.
        prepare: called with the layout, the ring and the first row of the run, before it is put in its place.

    Raises:
        EmbevoError: as ``Recorder`` says.
    """
    continues = has_run(wanted.paths) if wanted.resuming is None else wanted.resuming
    check_mirror(wanted.mirror, wanted.paths, resumed=continues)
    if continues:
        return _take_up(wanted, prepare)
    layout = Layout.new(
        wanted.frame,
        block_steps=wanted.block_steps or block_steps_for(wanted.frame, wanted.zarr_dtype),
        store=wanted.store,
        zarr_dtype=wanted.zarr_dtype,
        has_token_count=wanted.token_count is not None,
        attributes=wanted.attributes,
        schedule=wanted.schedule,
    )
    end_earlier(wanted.paths.root)
    staged = StagedRun(
        wanted.paths,
        layout,
        slots=2 * layout.block_steps,
        token_count=wanted.token_count,
        annotations=wanted.annotations,
        overwrite=wanted.overwrite,
        sync=wanted.sync,
        journal_dir=wanted.journal_dir,
    )
    try:
        prepare(layout, staged.journal, 0)
        # Nothing else can fail now: from here on a run that was there is gone.
        return Begun(staged.publish())
    except BaseException:
        staged.abandon()
        raise


def _take_up(wanted: Wanted, prepare: Prepare) -> Begun:
    """Recover the run, take its short last block up again, and continue after its last row."""
    end_earlier(wanted.paths.root)
    resumed = resume(
        wanted.paths,
        wanted.frame,
        annotations=wanted.annotations,
        rewind_to=wanted.rewind_to,
        sync=wanted.sync,
        journal_dir=wanted.journal_dir,
    )
    run = resumed.writer
    try:
        check_schedule(wanted.schedule, run.layout.schedule)
        prepare(run.layout, run.journal, run.sealer.rows)
    except BaseException:
        run.close(complete=True)
        raise
    return Begun(run, resumed.run, resumed.recovery)
