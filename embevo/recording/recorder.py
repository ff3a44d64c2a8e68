"""The recorder: hand over the matrices after every step, and have them all on disk."""

import math
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, SupportsIndex

from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import Module

from embevo.errors import (
    ClosedError,
    RecordingError,
)
from embevo.recording.admission import Admission
from embevo.recording.annotating import annotations_of
from embevo.recording.beginning import Begun, Wanted, begin_alone
from embevo.recording.carrying import copied_by_waiting, transport_for
from embevo.recording.choose_tokens import Tokens, choose_tokens
from embevo.recording.framing import frame_of, likeness
from embevo.recording.holding import Holding, end_earlier, opened
from embevo.recording.in_flight import InFlight
from embevo.recording.mirrored import end_mirror, mirror_to
from embevo.recording.numbers import LAST_STEP, refuse_step, step_of
from embevo.recording.options import (
    Durability,
    WhenFull,
    check_options,
    check_resume,
    ring_directory,
    scalar_names,
    seconds,
    share,
    whole,
)
from embevo.recording.scalars import Scalar, Scalars
from embevo.recording.sharded import Arrival, Part, local_likes, local_sources, part_of
from embevo.recording.sharded_run import begin_together, check_shared
from embevo.recording.sources import Source, sources_of
from embevo.recording.staging import HostStaging
from embevo.recording.stats import NOTHING, CaptureTimes, RecorderStats
from embevo.recording.stillness import Steps, Stillness, is_frozen
from embevo.recording.writer import Writer
from embevo.run.format.effort import AskedEffort
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout, Store, ZarrDtype
from embevo.run.format.schedule import Schedule, at, schedule_of
from embevo.run.journal.ring import Journal
from embevo.run.paths import PathLike, RunPaths
from embevo.run.reading.recorded_steps import RecordedSteps
from embevo.run.repair.report import Recovery
from embevo.run.writing.effort_choice import DEFAULT_BUDGET, EffortChoice
from embevo.run.writing.run_writer import RunWriter
from embevo.run.writing.whole import Whole

_NAN: Final = math.nan


class Recorder:
    """Records named arrays, such as a matrix ``(token, dim)``, at every step given to :meth:`capture`.

    Use it as a context manager, from one thread. Leaving the context seals everything that was captured.

    Attributes:
        paths: where the parts of the run lie.
        recovery: what was found and mended when a run was resumed; None for a new one.
        is_replaced: whether this process has made another recorder of the run, which has ended this one.
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
        tokenizer: object = None,
        groups: Mapping[str, object] | None = None,
        dimensions: Mapping[str, Sequence[str]] | None = None,
        tokens: Tokens | None = None,
        steps: int | Iterable[int] | Schedule | None = None,
        overwrite: bool = False,
        resume: bool | Literal["auto"] = False,
        rewind_to: int | None = None,
        durability: Durability = "process",
        sync_seconds: float = 1.0,
        sync_steps: int | None = None,
        block_steps: int | None = None,
        journal_dir: PathLike | None = None,
        effort: AskedEffort = "auto",
        budget: float = DEFAULT_BUDGET,
        mirror: str | None = None,
        mirror_wait: float = 60.0,
    ) -> None:
        """Create the run, or with ``resume`` continue it, and start the writer thread.

        Args:
            run_dir: directory of the run; it must not exist yet, or be empty.
            matrices: what to record, by array name, each of one to three axes: a tensor; a callable that
                gives one at every capture, or None where there is none, which is recorded as NaN; or a source
                such as :func:`embevo.gradient` and :func:`embevo.optimizer_state`. A parameter is followed to
                whatever its module holds in its place, a gradient to whatever its parameter has.
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
            token_count: occurrences of each token of the vocabulary in the corpus, ``(token,)`` whole numbers
                from 0.
            tokenizer: what says the text of each token, which the run keeps: a tokenizer of transformers,
                tokenizers, tiktoken or sentencepiece, the path of a ``tokenizer.json``, a list of strings in
                the order of ids, or a mapping of strings and ids. Of a resumed run it replaces what was said.
            groups: groups of tokens that analysis and figures show beside the live and the dead: name to
                token ids or texts, or to a mask over the vocabulary. A resumed run keeps its own as well.
            dimensions: names of the axes of arrays, by name of the array. Without them the first array of two
                axes is ``(token, dim)``, as is every other of its shape; other arrays have axes named after
                themselves.
            tokens: which rows of the arrays along ``token`` to record: token ids, a mask ``(token,)``, a file
                of ids, or ``dead`` or ``live``, as ``token_count`` says. All of them if None.
            steps: which steps to record: a number N for every N-th, a list, or a schedule such as
                :func:`embevo.log_spaced`. A capture of any other step returns at once. All of them if None. A
                resumed run keeps the schedule that it was begun with.
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
            journal_dir: a directory on a local disk for the ring, where ``run_dir`` is on a network file
                system; by default that which the environment variable ``EMBEVO_JOURNAL_DIR`` names, and else
                the run's own. The run says where its ring is.
            effort: how hard the writer compresses the trajectory: ``small`` as far as pays, ``fast`` by LZ4,
                ``none`` not at all, or ``auto``, each block as far as training leaves idle cores for it. Any
                reader reads them all.
            budget: with ``auto``, the share of a step that recording is to take from the loop where no core
                is idle. Captures and files take what they must, and compressing what they leave, or a quarter
                of the budget if that is more.
            mirror: URL in object storage, such as ``s3://bucket/prefix``, to which sealed blocks are sent
                while recording goes on, by a thread that nobody waits for. Credentials are taken from the
                environment.
            mirror_wait: seconds that closing waits for what is not sent yet.

        Raises:
            RunExistsError: the directory holds something, or the URL another run.
            RunInUseError: another process is writing the run.
            NotARunError: there is no run to resume.
            FrameMismatchError: a matrix cannot be recorded, or is not what the resumed run records.
            StaleTensorError: a matrix is a copy of what is trained, or not in the module.
            ArgumentError: an option has a value that it cannot have.
            CreationError: the run cannot be created, for want of space or permission.
            StorageRefusedError: there is no such bucket, or no permission.
            MissingLibraryError: a mirror is wanted, and obstore is not installed.
        """
        with Arrival(matrices, module) as arrival:
            self._sources = sources_of(matrices, module)
            self._likes = {name: likeness(name, take) for name, take in self._sources.items()}
            arrival.part = part = part_of(self._sources, self._likes)
            check_options(
                store=store, when_full=when_full, zarr_dtype=zarr_dtype, durability=durability, effort=effort
            )
            block_steps = whole("block_steps", block_steps, least=1)
            sync_steps = whole("sync_steps", sync_steps, least=1)
            rewind_to = whole("rewind_to", rewind_to, least=-1)
            check_resume(resume=resume, overwrite=overwrite, rewind_to=rewind_to)
            sync_seconds = seconds("sync_seconds", sync_seconds)
            self._times = CaptureTimes()
            self._effort = EffortChoice(effort, share("budget", budget), captures=self._times.seconds)
            names = scalar_names(scalars)
            self._frozen = [name for name, like in self._likes.items() if is_frozen(like)]
            subset, counts = choose_tokens(tokens, self._likes, dimensions, token_count)
            self._frame = frame = frame_of(self._likes, ("loss", "learning_rate", *names), dimensions, subset)
            schedule = schedule_of(steps)
            said = annotations_of(frame, tokenizer, groups, attributes=attributes)
            self._sources, self._likes = local_sources(self._sources, self._likes), local_likes(self._likes)
            self._mirror = mirror_to(mirror, mirror_wait)
            self.paths = self._place = RunPaths(run_dir)
            sync = durability == "power"
            journal_dir = ring_directory(journal_dir, self.paths.root, sync=sync)
            if part is not None:
                check_shared(store=store, when_full=when_full, tokens=tokens)
        self._when_full = when_full
        self._recorded: RecordedSteps | None = None
        self.recovery: Recovery | None = None
        self.is_replaced = False
        self._sync_seconds = sync_seconds if sync else None
        self._sync_steps = sync_steps
        self._records = True
        wanted = Wanted(
            self.paths,
            frame,
            store=store,
            zarr_dtype=zarr_dtype,
            block_steps=block_steps,
            attributes={} if attributes is None else attributes,
            schedule=schedule,
            token_count=counts,
            annotations=said,
            resuming=None if resume == "auto" else bool(resume),
            rewind_to=rewind_to,
            overwrite=overwrite,
            sync=sync,
            journal_dir=journal_dir,
            mirror=self._mirror,
        )
        self._begin(part, wanted)

    def _begin(self, part: Part | None, wanted: Wanted) -> None:
        """Begin, or take up again, a run that this process records, alone or with others of the training."""
        if part is None:
            begun = begin_alone(wanted, self._prepare)
        else:
            self._place = self.paths.rank(part.rank)
            end_earlier(self._place.root)
            begun = Begun(None) if part.meeting is None else begin_together(part, wanted, self._prepare)
        if begun.writer is None:
            # A process that has no piece, or only what another one records.
            self._rest(wanted.frame)
            return
        self.recovery = begun.recovery
        self._recorded = None if begun.recorded is None else RecordedSteps(begun.recorded)
        self._start(begun.writer, begun.whole)

    def _rest(self, frame: FrameSpec) -> None:
        """Record nothing: no step is ever due."""
        never = at([])
        self._records = False
        self._schedule: Schedule | None = never
        self._due = never.after(-1)
        self._scalars = Scalars(frame.scalars)
        self._closed = self._released = False

    def _prepare(self, layout: Layout, journal: Journal, row: int) -> None:
        """Everything that is needed to capture into a ring from a row on, but for the writer."""
        self._layout = layout
        self._journal = journal
        self._staging = HostStaging(self._sources, journal)
        likes = [self._likes[name].new_empty(spec.shape) for name, spec in layout.frame.arrays]
        transport = transport_for(likes, len(layout.frame.scalars))
        self._in_flight = None if transport is None else InFlight(transport, journal, self._sources, row=row)
        self._waited_for = () if transport is not None else copied_by_waiting(layout.frame, likes)
        # Tensors that were only looked at are not kept alive.
        self._likes = {}
        self._schedule = layout.schedule
        self._due = 0 if self._schedule is None else self._schedule.after(-1)
        self._row = self._first_row = row
        self._last_step = -1
        self._scalars = Scalars(layout.frame.scalars)
        # What a capture looks at before it asks for more.
        self._only_two, self._logged = len(layout.frame.scalars) == 2, self._scalars.logged
        self._compared = 0
        self._deferred = self._deferred_ns = 0
        self._closed = False
        self._released = False
        # Why it records no more, where that was not its own doing.
        self._ended = ""

    def _start(self, run: RunWriter, whole: Whole | None = None) -> None:
        """Have a thread write what is captured, of a whole run or of a part of one."""
        self._holding = Holding(run, self._mirror)
        if self._mirror is not None and whole is None:
            run.sealer.sinks.append(self._mirror)
        run.sealer.effort = self._effort
        self._steps = Steps()
        stillness = Stillness(run.journal, self._steps, self._frozen)
        self._noticed, self._say_still = stillness.noticed, stillness.say
        try:
            self._writer = Writer(
                run.journal,
                run.sealer,
                self._holding,
                stillness,
                row=self._row,
                block_steps=run.layout.block_steps,
                sync_seconds=self._sync_seconds,
                sync_steps=self._sync_steps,
                in_flight=self._in_flight,
            )
        except BaseException:
            self._steps.stop()
            run.close(complete=True)
            raise
        if self._mirror is not None and whole is not None:
            whole.send_with(self._mirror)
        elif self._mirror is not None:
            self._mirror.begin(run.paths, block_steps=run.layout.block_steps, rows=run.sealer.rows)
        self._admission = Admission(self._writer, run.journal.slots, self._in_flight, self._when_full)
        opened(self._place.root, self._writer, self._disown)
        # The thread knows nothing of the recorder, and does not keep it alive. At the end of the interpreter
        # it finds out by itself.
        weakref.finalize(self, self._writer.abandon).atexit = False
        weakref.finalize(self, self._steps.stop).atexit = False

    def _disown(self, why: str, *, is_replaced: bool) -> None:
        """Record nothing more: the run is another recorder's now, or another process's."""
        if not self._released:
            self._ended, self.is_replaced = why, is_replaced
            self._closed = self._released = True

    @property
    def frame(self) -> FrameSpec:
        """What a step records."""
        return self._frame

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
        if self._schedule is not None and not self._is_due(self._schedule, step):
            return
        writer = self._writer
        in_flight = self._in_flight
        row = self._row if in_flight is None else in_flight.next_row
        if self._noticed or writer.error is not None or self._closed:
            self._attend()
        if not self._last_step < step <= LAST_STEP:
            raise refuse_step(step, self._last_step)
        if self._recorded is not None and self._compare(self._recorded, row, step):
            return
        admission = self._admission
        if admission.refused or row >= writer.released + self._journal.slots:
            waited = admission.slot(row, step)
            if waited is None:
                self._scalars.forget()
                return
            started += waited
        if in_flight is not None:
            departed = self._depart(in_flight, step, loss, lr, scalars)
            if departed is not None:
                self._times.add(time.perf_counter_ns() - started - departed)
            return
        values: tuple[float, ...]
        if type(loss) is float and type(lr) is float and self._only_two and not self._logged and not scalars:
            values = (loss, lr)
        else:
            values, _ = self._scalars.take(loss, lr, scalars, crossing=False)
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
        waited = self._admission.buffer(in_flight, step)
        if waited is None:
            self._scalars.forget()
            return None
        values, crossing = self._scalars.take(loss, lr, scalars, crossing=True)
        in_flight.depart(step, values, crossing)
        self._last_step = step
        return waited

    def before_step(self, step: SupportsIndex | float | Tensor | None = None) -> None:
        """Take what is taken before the optimizer's step, such as gradients.

        Call it when the gradient is as the optimizer gets it: after accumulation, unscaling and clipping. The
        next capture takes the rest. What the optimizer then skips is written over by the next call.
        :func:`embevo.record` and the adapters call it.

        Args:
            step: that the capture will be of, if it is known: nothing is done for one that is not recorded.

        Raises:
            ClosedError: the recorder was closed.
            RecordingError: the writer has failed before.
            RingFullError: no slot is free and the policy is ``error``.
            FrameMismatchError: a tensor has changed its shape or dtype.
        """
        if not self._records or not self._staging.takes_before:
            return
        if step is not None and not self.records(step):
            return
        if self._writer.error is not None or self._closed:
            self._raise_failure()
        in_flight = self._in_flight
        row = self._row if in_flight is None else in_flight.next_row
        if self._recorded is not None:
            # Steps that are compared with what the run holds are copied by this thread, wherever they lie.
            self._journal.begin(row)
            self._staging.before(row)
        if not self._admission.before_step(row):
            return
        if in_flight is not None:
            in_flight.before()
            return
        self._journal.begin(row)
        self._staging.before(row)

    def log(self, **scalars: Scalar) -> None:
        """Keep scalars for the coming capture, such as ``log(loss=loss, grad_norm=norm)``.

        Of a name that is logged twice the later value counts. A value on a device is copied there and crosses
        with the step: nothing waits for it.

        Args:
            scalars: as for :meth:`capture`: ``loss``, ``lr`` and the names given as ``scalars`` when the
                recorder was made.

        Raises:
            ArgumentError: the recorder has no scalar of a name.
        """
        self._scalars.log(scalars)

    def records(self, step: SupportsIndex | float | Tensor) -> bool:
        """Whether the schedule has a step."""
        return self._schedule is None or self._schedule.has(step_of(step))

    def _is_due(self, schedule: Schedule, step: int) -> bool:
        if step > self._due:
            self._due = schedule.after(step - 1)
        if step == self._due:
            return True
        # What was logged for this step is not the next one's.
        self._scalars.forget()
        return False

    def _compare(self, recorded: RecordedSteps, row: int, step: int) -> bool:
        """Compare a step with what the resumed run holds of it; False when it is past the run's last step."""
        if step > recorded.last:
            self._recorded = None
            return False
        if recorded.has(step):
            # The next slot serves as scratch: it holds no row until it is committed. None is in flight yet.
            self._journal.begin(row)
            self._staging.missing.clear()
            self._staging.copy(row)
            recorded.check(step, self._journal.image(row), self._staging.missing)
            self._compared += 1
        if self._in_flight is not None:
            self._in_flight.forget_before()
        self._last_step = step
        return True

    def _attend(self) -> None:
        """See to what has come up since the capture before."""
        self._say_still()
        if self._writer.error is not None or self._closed:
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._ended:
            raise ClosedError(f"nothing is recorded: {self._ended}")
        if self._writer.error is not None:
            raise RecordingError(str(self._writer.error)) from self._writer.error.__cause__
        raise ClosedError(f"the recorder of {self.paths.root} is closed")

    def tensors(self) -> list[Tensor]:
        """The recorded tensors as they are now, in the order given, but for those that are None.

        Raises:
            StaleTensorError: training has let go of one.
        """
        return [tensor for take in self._sources.values() if (tensor := take()) is not None]

    @property
    def durable_step(self) -> int | None:
        """The last step that would survive a power cut now; None without ``durability="power"`` or steps."""
        return self._writer.durable_step if self._records else None

    def flush(self) -> None:
        """Return when every captured step is sealed: a ``zarr.open`` sees them all.

        It seals a block before it is full, and that block is written again when it is: use it seldom.

        Raises:
            RecordingError: the writer has failed; what was captured is safe in the journal.
        """
        if not self._records:
            return
        if not self._closed:
            self._writer.flush()
            self._say_still()
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
        if not self._closed:
            self._deferred = self.stats.pending
        self._closed = True
        if not self._records:
            self._released = True
            return
        # An interrupt while it waits leaves the run to the writer; closing again waits again.
        began = time.perf_counter_ns()
        self._writer.stop()
        self._deferred_ns = time.perf_counter_ns() - began
        self._released = True
        self._staging.close()
        self._journal.close()
        self._steps.stop()
        self._say_still()
        end_mirror(self._mirror, self.paths.root)
        unremoved = self._writer.holding.error
        if unremoved is not None:
            raise RecordingError(f"cannot remove {unremoved.filename}: {unremoved.strerror}") from unremoved
        if self._writer.error is not None and not (self._writer.exited and self._writer.complete):
            self._raise_failure()

    @property
    def stats(self) -> RecorderStats:
        """Counts and times so far; also after :meth:`close`."""
        if not self._records:
            return NOTHING
        row = self._row if self._in_flight is None else self._in_flight.next_row
        return RecorderStats(
            captured=row - self._first_row,
            compared=self._compared,
            dropped=self._admission.dropped,
            capture_ns_p50=self._times.percentile(50),
            capture_ns_p99=self._times.percentile(99),
            capture_ns_max=self._times.longest,
            waits=self._admission.waits,
            waited_ns=self._admission.waited_ns,
            pending=row - self._writer.drained,
            deferred=self._deferred,
            deferred_ns=self._deferred_ns,
            file_maker=self._writer.files.maker,
            ring_slots=self._journal.slots,
            ring_bytes=self._journal.size,
            waited_for=self._waited_for,
            mirror=None if self._mirror is None else self._mirror.stats,
            effort=self._effort.last,
            blocks=dict(self._effort.counts),
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
            # The body's own error is what the user must see first; it may be this one, raised by a capture.
            if str(failure) != str(error):
                error.add_note(f"Recording had failed too: {failure}")
