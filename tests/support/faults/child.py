"""What a forked child does: it records, recovers, rewinds or compacts, and reports what is raised."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embevo.errors import EmbevoError
from embevo.recording import snapshot_files
from embevo.recording.recorder import Recorder
from embevo.run.disk.lock import WriterLock
from embevo.run.paths import RunPaths
from embevo.run.repair.compacting import compact
from embevo.run.repair.recovery import recover
from embevo.run.repair.rewinding import rewind
from support import encoded
from support.faults.oracle import Plan
from support.faults.shared import CLOSING, CREATED, DONE, STARTED, Shared
from support.faults.sources import Sources
from support.faults.wrong_orders import use_wrong_order


def plan_of(request: dict[str, Any]) -> Plan:
    fields = {
        key: tuple(value) if isinstance(value, list) else value for key, value in request["plan"].items()
    }
    return Plan(**fields)


def wait_for_tracer(shared: Shared, thread: int) -> None:
    """Offer a thread to strace, and return when it is traced."""
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1).value, 0, 0, 0)
    # Opened before strace counts calls, and read by one that it does not count: or else the numbers of the
    # calls would depend on when it attaches.
    status = os.open(f"/proc/{thread}/status", os.O_RDONLY)
    shared.waiting = thread
    while b"TracerPid:\t0\n" in os.pread(status, 4096, 0):
        time.sleep(0.001)
    os.close(status)


def record(path: Path, plan: Plan, shared: Shared, options: dict[str, Any]) -> None:
    """Record what the plan says, and report everything that is raised."""
    use_wrong_order(plan.control)
    if options.get("process"):
        snapshot_files.STARTS_AFTER_FILES = snapshot_files.STARTS_AT_RATE = 0
    sources = Sources(plan)
    trace = options.get("trace", {})
    if trace.get("from") == "creation":
        wait_for_tracer(shared, os.getpid())
    raised: list[dict[str, str]] = []

    def attempt(what: str, call: Callable[[], object]) -> bool:
        try:
            call()
        except EmbevoError as error:
            raised.append({"during": what, "type": type(error).__name__, "message": str(error)})
            shared.say(raised)
            return False
        return True

    made: list[Recorder] = []

    def create() -> None:
        made.append(
            Recorder(
                path,
                sources.tensors,
                store=plan.store,  # type: ignore[arg-type]
                zarr_dtype=plan.zarr_dtype,  # type: ignore[arg-type]
                block_steps=plan.block_steps,
                attributes={"config": {"seed": plan.seed}},
                durability=plan.durability,  # type: ignore[arg-type]
                overwrite=bool(options.get("overwrite")),
                resume=bool(options.get("resume")),
                sync_seconds=0.0,
                # What the writer reads of the load of the machine may fail, and nobody needs to be told.
                effort="small",
                journal_dir=options.get("journal_dir"),
                **sources.arguments,
            )
        )

    if not attempt("creation", create):
        return
    (recorder,) = made
    shared.phase = CREATED
    if trace.get("from") == "captures":
        wait_for_tracer(shared, thread_of(recorder, trace["thread"]))
    for index in range(options.get("first", 0), plan.steps):
        step = plan.step(index)
        for between in plan.skipped_before(index):
            recorder.capture(between, loss=-1.0)
        sources.put(index)
        shared.attempted = index + 1

        def capture(step: int = step) -> None:
            recorder.capture(step, loss=encoded.loss_of(step, plan.seed), **sources.scalars(step))

        if not attempt("capture", capture):
            break
        shared.captured = index + 1
        shared.durable = 0 if recorder.durable_step is None else recorder.durable_step + 1
        sources.spoil()
        if options.get("process") and index == 0:
            wait_for_process(recorder)
            if trace.get("thread") == "process":
                wait_for_tracer(shared, process_of(recorder))
        if index + 1 in options.get("kill_process_at", ()):
            os.kill(process_of(recorder), signal.SIGKILL)
        if index + 1 in plan.flush_at and not attempt("flush", recorder.flush):
            break
        if plan.pace:
            time.sleep(plan.pace)
    if options.get("die"):
        return
    if trace.get("from") == "close":
        # How much of the captured is drained when strace attaches would decide the numbers of the calls.
        while recorder._writer.drained < recorder._writer.captured and recorder._writer.error is None:
            time.sleep(0.001)
        wait_for_tracer(shared, thread_of(recorder, trace["thread"]))
    shared.phase = CLOSING
    attempt("close", recorder.close)


def thread_of(recorder: Recorder, name: str) -> int:
    return os.getpid() if name == "main" else int(recorder._writer._thread.native_id or 0)


def wait_for_process(recorder: Recorder) -> None:
    until = time.monotonic() + 10
    while not recorder._writer.files.in_process:
        assert time.monotonic() < until, "no process makes files"
        time.sleep(0.001)


def process_of(recorder: Recorder) -> int:
    process = recorder._writer.files._process
    assert process is not None
    return process.pid


def child(request: dict[str, Any], shared: Shared) -> None:
    path, plan, options = Path(request["path"]), plan_of(request), request.get("options", {})
    operation = request.get("operation", "record")
    shared.phase = STARTED
    if operation == "record":
        record(path, plan, shared, options)
        if shared.phase >= CREATED:
            shared.phase = DONE
        return
    if options.get("trace"):
        wait_for_tracer(shared, os.getpid())
    try:
        if operation == "recover":
            recover(path)
        elif operation == "compact":
            compact(path)
        elif operation == "rewind":
            lock = WriterLock(RunPaths(path).lock)
            rewind(RunPaths(path), options["rows"])
            lock.release()
        else:
            raise ValueError(operation)
    except (EmbevoError, OSError) as error:
        shared.say([{"during": operation, "type": type(error).__name__, "message": str(error)}])
    shared.phase = DONE
