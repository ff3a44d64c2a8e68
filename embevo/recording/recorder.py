"""The recorder: hand over the matrices after every step, and have them all on disk."""

import math
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, SupportsFloat, SupportsIndex

from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import Module

from embevo.errors import (
    ArgumentError,
    ClosedError,
    RecordingError,
    RecordingWarning,
    RingFullError,
)
from embevo.recording.holding import Holding, end_earlier, opened
from embevo.recording.in_flight import InFlight
from embevo.recording.numbers import LAST_STEP, number_of, refuse_step, shown, step_of
from embevo.recording.options import (
    Durability,
    WhenFull,
    check_options,
    check_resume,
    counts_of,
    scalar_names,
    seconds,
    whole,
)
from embevo.recording.sources import Source, sources_of
from embevo.recording.staging import HostStaging, check_matches, frame_of
from embevo.recording.stats import CaptureTimes, RecorderStats
from embevo.recording.transport import transport_for
from embevo.recording.writer import Writer
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype, block_steps_for
from embevo.run.journal.ring import Journal
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.recorded_steps import RecordedSteps
from embevo.run.repair.recovery import Recovery, has_run
from embevo.run.repair.resuming import resume as resume_run
from embevo.run.writing.run_writer import RunWriter, StagedRun

_NAN: Final = math.nan
Scalar = SupportsFloat | Sequence[SupportsFloat] | None


class Recorder:
    """Records named matrices of shape ``(token, dim)`` at every step given to :meth:`capture`.

    Use it as a context manager, from one thread. Leaving the context seals everything that was captured.

    Attributes:
        paths: where the parts of the run lie.
        recovery: what was found and mended when a run was resumed; None for a new one.
    """

    def __init__(
        self,
        run_dir: PathLike,
        matrices: Mapping[str, Source],
        *,
        module: Module | None = None,
        store: Store = "both",
        when_full: WhenFull = "block",
        zarr_dtype: ZarrDtype = "float32",
        scalars: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
        token_count: ArrayLike | None = None,
        overwrite: bool = False,
        resume: bool | Literal["auto"] = False,
        rewind_to: int | None = None,
        durability: Durability = "process",
        sync_seconds: float = 1.0,
        sync_steps: int | None = None,
        block_steps: int | None = None,
    ) -> None:
        """Create the run, or with ``resume`` continue it, and start the writer thread.

        Args:
            run_dir: directory of the run; it must not exist yet, or be empty.
            matrices: what to record, by array name; float64, float32, bfloat16 or float16, all of one shape
                ``(token, dim)``: a tensor, or a callable that gives one at every capture. A parameter is
                followed to whatever its module holds in its place, a gradient to whatever its parameter has.
            module: model in which the matrices are looked up at every capture. They may be given by their
                names in it then, such as ``transformer.wte.weight``, and are followed also where modules are
                replaced.
            store: ``zarr`` for the trajectory, ``safetensors`` for one file a step, or ``both``.
            when_full: what a capture does while all slots of the ring wait to be written: ``block`` until one
                is free, ``drop`` the step (counted, and missing from ``step``), or raise an ``error``.
            zarr_dtype: ``float32`` stores 16-bit matrices widened exactly, for any reader; ``native`` stores
                bfloat16 as Zarr's extension type.
            scalars: names of float64 scalars to record beside ``loss`` and ``learning_rate``.
            attributes: for the attributes of the Zarr group, such as a configuration: mappings, lists,
                strings, numbers, bools and None. They are taken once, as JSON, when the recorder is made.
            token_count: ``(token,)`` occurrences of each token in the corpus: whole numbers from 0.
            overwrite: delete the run that is there.
            resume: continue the run that is there, after recovering it; it keeps its attributes, token
                counts, store, dtypes and block size. Steps up to its last one that are captured again are
                compared with what it holds, bit for bit, and not recorded twice. ``auto`` continues a run
                that is there, and else begins one: for jobs that are queued again.
            rewind_to: with ``resume``, drop what the run holds after this step, so that it is recorded anew
                and not compared; -1 drops everything.
            durability: ``process`` survives the death of the process at any instant; ``power`` survives a
                power cut too, at the cost of fsyncs in the writer thread.
            sync_seconds: with ``power``, how often the journal of unsealed steps is synced.
            sync_steps: with ``power``, sync it also as soon as this many steps wait for it.
            block_steps: S, steps of a block; by default 32 MiB worth of them in Zarr, at most 1,000.

        Raises:
            RunExistsError: the directory holds something.
            RunInUseError: another process is writing the run.
            NotARunError: there is no run to resume.
            FrameMismatchError: a matrix cannot be recorded, or is not what the resumed run records.
            StaleTensorError: a matrix is a copy of what is trained, or not in the module.
            ArgumentError: an option has a value that it cannot have.
            CreationError: the run cannot be created, for want of space or permission.
        """
        check_options(store=store, when_full=when_full, zarr_dtype=zarr_dtype, durability=durability)
        block_steps = whole("block_steps", block_steps, least=1)
        sync_steps = whole("sync_steps", sync_steps, least=1)
        rewind_to = whole("rewind_to", rewind_to, least=-1)
        check_resume(resume=resume, overwrite=overwrite, rewind_to=rewind_to)
        sync_seconds = seconds("sync_seconds", sync_seconds)
        names = scalar_names(scalars)
        self._sources = sources_of(matrices, module)
        tensors = {name: take() for name, take in self._sources.items()}
        frame = frame_of(tensors, ("loss", "learning_rate", *names))
        counts = None if token_count is None else counts_of(token_count, frame.shape[0])
        self.paths = RunPaths(run_dir)
        self._when_full = when_full
        self._recorded: RecordedSteps | None = None
        self.recovery: Recovery | None = None
        self._sync_seconds = sync_seconds if durability == "power" else None
        self._sync_steps = sync_steps
        sync = durability == "power"
        if resume is True or (resume == "auto" and has_run(self.paths)):
            self._resume(frame, rewind_to=rewind_to, sync=sync)
            return
        layout = Layout.new(
            frame,
            block_steps=block_steps or block_steps_for(frame, zarr_dtype),
            store=store,
            zarr_dtype=zarr_dtype,
            has_token_count=counts is not None,
            attributes={} if attributes is None else attributes,
        )
        end_earlier(self.paths.root)
        staged = StagedRun(
            self.paths,
            layout,
            slots=2 * layout.block_steps,
            token_count=counts,
            overwrite=overwrite,
            sync=sync,
        )
        try:
            self._prepare(layout, staged.journal, row=0)
            # Nothing else can fail now: from here on a run that was there is gone.
            run = staged.publish()
        except BaseException:
            staged.abandon()
            raise
        self._start(run)

    def _resume(self, frame: FrameSpec, *, rewind_to: int | None, sync: bool) -> None:
        """Recover the run, take its short last block up again, and continue after its last row."""
        end_earlier(self.paths.root)
        resumed = resume_run(self.paths, frame, rewind_to=rewind_to, sync=sync)
        self.recovery = resumed.recovery
        self._recorded = RecordedSteps(resumed.run)
        run = resumed.writer
        try:
            self._prepare(run.layout, run.journal, row=run.sealer.rows)
        except BaseException:
            run.close(complete=True)
            raise
        self._start(run)

    def _prepare(self, layout: Layout, journal: Journal, row: int) -> None:
        """Everything that is needed to capture into a ring from a row on, but for the writer."""
        self._layout = layout
        self._journal = journal
        self._staging = HostStaging(self._sources, journal)
        names = [name for name, _ in layout.frame.matrices]
        transport = transport_for([self._sources[name]() for name in names])
        self._in_flight = None if transport is None else InFlight(transport, journal, names, row=row)
        self._row = self._first_row = row
        self._last_step = -1
        self._extra = self._layout.frame.scalars[2:]
        # Scalars of which it was said already that they cannot be read.
        self._unread: set[str] = set()
        self._compared = 0
        self._dropped = 0
        self._waits = 0
        self._waited_ns = 0
        self._times = CaptureTimes()
        self._closed = False
        self._released = False
        # Why it records no more, where that was not its own doing.
        self._ended = ""

    def _start(self, run: RunWriter) -> None:
        """Have a thread write what is captured."""
        self._holding = Holding(run)
        try:
            self._writer = Writer(
                run.journal,
                run.sealer,
                self._holding,
                row=self._row,
                block_steps=run.layout.block_steps,
                sync_seconds=self._sync_seconds,
                sync_steps=self._sync_steps,
                in_flight=self._in_flight,
            )
        except BaseException:
            run.close(complete=True)
            raise
        opened(self.paths.root, self._writer, self._disown)
        # The thread knows nothing of the recorder, and does not keep it alive. At the end of the interpreter
        # it finds out by itself.
        weakref.finalize(self, self._writer.abandon).atexit = False

    def _disown(self, why: str) -> None:
        """Record nothing more: the run is another recorder's now, or another process's."""
        if not self._released:
            self._ended = why
            self._closed = self._released = True

    @property
    def frame(self) -> FrameSpec:
        """What a step records."""
        return self._layout.frame

    def capture(
        self,
        step: SupportsIndex | float | Tensor,
        loss: Scalar = _NAN,
        lr: Scalar = _NAN,
        **scalars: Scalar,
    ) -> None:
        """Copy the matrices as they are now, as the state after ``step`` optimizer steps.

        When it returns, the tensors may be overwritten, and the process may die: the step is kept. Matrices
        on a CUDA device are copied there, and cross to the host while training goes on; the step is kept when
        it has crossed, a moment later. :meth:`flush` waits for that.

        Args:
            step: global step, larger than that of the capture before, at most 2^53; an integer, a tensor of
                one element, or a float that is whole. It is taken by value.
            loss: of the batch that led to this state.
            lr: learning rate of the update that led to this state.
            scalars: a value for each name given as ``scalars`` when the recorder was made; NaN if left out.

        A scalar is a number, a tensor or an array of one element on any device, a list of one of them, or
        None, which is recorded as NaN. A scalar that is anything else is recorded as NaN, and the first time
        with a ``RecordingWarning``: no step is lost because of it.

        Raises:
            ArgumentError: the step is no step, or does not come after the one before, or a scalar has no such
                name.
            ClosedError: the recorder was closed.
            RecordingError: the writer has failed before; this step was not captured, all before it are safe.
            RingFullError: no slot is free and the policy is ``error``; the step was not captured.
            FrameMismatchError: a tensor has changed its shape or dtype.
            StaleTensorError: training has let go of a tensor that was handed over.
        """
        started = time.perf_counter_ns()
        if type(step) is not int:
            step = step_of(step)
        writer = self._writer
        if self._in_flight is not None:
            self._row = self._in_flight.next_row
        row = self._row
        if writer.error is not None or self._closed:
            self._raise_failure()
        if not self._last_step < step <= LAST_STEP:
            raise refuse_step(step, self._last_step)
        if self._recorded is not None and self._compare(self._recorded, step):
            return
        if row >= writer.released + self._journal.slots:
            waited = self._make_room(step)
            if waited is None:
                return
            started += waited
        if self._in_flight is not None:
            departed = self._depart(self._in_flight, step, loss, lr, scalars)
            if departed is not None:
                self._times.add(time.perf_counter_ns() - started - departed)
            return
        values: tuple[float, ...] = (
            loss if type(loss) is float else self._number("loss", loss),
            lr if type(lr) is float else self._number("lr", lr),
        )
        if self._extra or scalars:
            values += self._extra_values(scalars)
        journal = self._journal
        journal.begin(row)
        self._staging.copy(row)
        journal.commit(row, step, values, seal=journal.seals_at_capture)
        # In one statement without a call, which an interrupt cannot divide.
        self._row, self._last_step, writer.captured = row + 1, step, row + 1
        self._times.add(time.perf_counter_ns() - started)

    def _depart(
        self,
        in_flight: InFlight,
        step: int,
        loss: Scalar,
        lr: Scalar,
        scalars: Mapping[str, Scalar],
    ) -> int | None:
        """Send a step on its way from the device: nanoseconds waited for a buffer; None if dropped."""
        tensors = [self._sources[name]() for name, _ in self._layout.frame.matrices]
        for (name, _), tensor in zip(self._layout.frame.matrices, tensors, strict=True):
            check_matches(name, tensor, self._layout.frame)
        crossing = (
            loss if isinstance(loss, Tensor) and loss.device.type != "cpu" and loss.numel() == 1 else None
        )
        values = (
            _NAN if crossing is not None else self._number("loss", loss),
            self._number("lr", lr),
            *self._extra_values(scalars),
        )
        waited = 0
        if not in_flight.has_buffer and self._when_full != "block":
            self._refuse(step, "every buffer is on its way from the device")
            return None
        if not in_flight.has_buffer:
            began = time.perf_counter_ns()
            while not in_flight.has_buffer:
                if self._writer.error is not None:
                    self._raise_failure()
                self._writer.wake()
                in_flight.wait_for_buffer()
            waited = time.perf_counter_ns() - began
            self._waits += 1
            self._waited_ns += waited
        in_flight.depart(step, tensors, values, crossing)
        self._last_step = step
        return waited

    def _compare(self, recorded: RecordedSteps, step: int) -> bool:
        """Compare a step with what the resumed run holds of it; False when it is past the run's last step."""
        if step > recorded.last:
            self._recorded = None
            return False
        if recorded.has(step):
            # The next slot serves as scratch: it holds no row until it is committed. None is in flight yet.
            self._journal.begin(self._row)
            self._staging.copy(self._row)
            recorded.check(step, self._journal.image(self._row))
            self._compared += 1
        self._last_step = step
        return True

    def _make_room(self, step: int) -> int | None:
        """Follow the policy for a full ring: nanoseconds waited, or None when the step is dropped."""
        if self._when_full != "block":
            self._refuse(step, f"all {self._journal.slots} slots of the ring wait to be written")
            return None
        waited = self._writer.wait_for_room(self._row)
        self._waits += 1
        self._waited_ns += waited
        if self._writer.error is not None:
            self._raise_failure()
        return waited

    def _refuse(self, step: int, why: str) -> None:
        """Drop a step, or raise the error, as the policy for a full ring says."""
        if self._when_full == "error":
            raise RingFullError(
                f"step {step} was not captured: {why}. The disk is slower than the training; record fewer "
                "steps, or let capture block."
            )
        self._dropped += 1

    def _extra_values(self, scalars: Mapping[str, Scalar]) -> tuple[float, ...]:
        unknown = scalars.keys() - set(self._extra)
        if unknown:
            raise ArgumentError(
                f"no scalar {', '.join(sorted(unknown))}: the recorder was made with scalars={self._extra}"
            )
        return tuple(self._number(name, scalars.get(name)) for name in self._extra)

    def _number(self, name: str, value: Scalar) -> float:
        """A scalar as float64; NaN, and the first time a warning, where it cannot be read."""
        found = number_of(value)
        if found is None:
            if name not in self._unread:
                self._unread.add(name)
                warnings.warn(
                    f"{name} is {shown(value)}, which is not one number: NaN is recorded for it, now and "
                    "whenever it cannot be read. Pass a number or a tensor of one element.",
                    RecordingWarning,
                    stacklevel=3,
                )
            return _NAN
        return found

    def _raise_failure(self) -> None:
        if self._ended:
            raise ClosedError(f"nothing is recorded: {self._ended}")
        if self._writer.error is not None:
            raise RecordingError(str(self._writer.error)) from self._writer.error.__cause__
        raise ClosedError(f"the recorder of {self.paths.root} is closed")

    def tensors(self) -> list[Tensor]:
        """The recorded tensors as they are now, in the order in which they were given.

        Raises:
            StaleTensorError: training has let go of one.
        """
        return [take() for take in self._sources.values()]

    @property
    def durable_step(self) -> int | None:
        """The last step that would survive a power cut now; None without ``durability="power"`` or steps."""
        return self._writer.durable_step

    def flush(self) -> None:
        """Return when every captured step is sealed: a ``zarr.open`` sees them all.

        It seals a block before it is full, and that block is written again when it is: use it seldom.

        Raises:
            RecordingError: the writer has failed; what was captured is safe in the journal.
        """
        if not self._closed:
            self._writer.flush()
        if self._writer.error is not None or self._closed:
            self._raise_failure()

    def close(self) -> None:
        """Seal everything, end the writer thread and let go of the run. Closing twice does nothing.

        Raises:
            RecordingError: the writer has failed; the journal stays, and ``embevo recover`` seals it. Or
                everything is sealed, but a file cannot be removed.
        """
        if self._released:
            return
        self._closed = True
        # An interrupt while it waits leaves the run to the writer; closing again waits again.
        self._writer.stop()
        self._released = True
        self._staging.close()
        self._journal.close()
        unremoved = self._writer.holding.error
        if unremoved is not None:
            raise RecordingError(f"cannot remove {unremoved.filename}: {unremoved.strerror}") from unremoved
        if self._writer.error is not None and not (self._writer.exited and self._writer.complete):
            self._raise_failure()

    @property
    def stats(self) -> RecorderStats:
        """Counts and times so far; also after :meth:`close`."""
        row = self._row if self._in_flight is None else self._in_flight.next_row
        return RecorderStats(
            captured=row - self._first_row,
            compared=self._compared,
            dropped=self._dropped,
            capture_ns_p50=self._times.percentile(50),
            capture_ns_p99=self._times.percentile(99),
            capture_ns_max=self._times.longest,
            waits=self._waits,
            waited_ns=self._waited_ns,
            pending=row - self._writer.drained,
            ring_slots=self._journal.slots,
            ring_bytes=self._journal.size,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except RecordingError as failure:
            if error is None:
                raise
            # The body's own error is what the user must see first.
            error.add_note(f"Recording had failed too: {failure}")


def _crossing(loss: Scalar) -> Tensor | None:
    """A loss that is on a device: to read it here would wait for the device."""
    if isinstance(loss, Tensor) and loss.device.type != "cpu" and loss.numel() == 1 and not loss.is_complex():
        return loss
    return None
