"""A server that forks children which record, kills them, and looks at what they leave.

It imports torch and zarr once and starts no thread, so that a child costs a fork. Requests and answers are
lines of JSON. What a child has captured is known to this process through shared anonymous memory, which
outlives the child.
"""

import contextlib
import ctypes
import fcntl
import gc
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embevo.errors import EmbevoError
from embevo.recording import recorder as recorder_module
from embevo.recording.recorder import Recorder
from embevo.run.disk.lock import WriterLock
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.repair.recovery import recover
from embevo.run.repair.rewinding import rewind
from embevo.run.writing import local_sink
from support import encoded, tensors
from support.faults import oracle
from support.faults.oracle import Plan

STARTED, CREATED, CLOSING, DONE = 1, 2, 3, 4
EXT4_IOC_SHUTDOWN = 0x8004587D
# strace is told these; what only reads is of no interest.
MUTATING = (
    "write", "pwrite64", "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "msync", "rename",
    "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "openat",
)  # fmt: skip
HANG_SECONDS = 120.0


class Shared:
    """Numbers and one message that a child leaves for the server, whatever becomes of the child."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 1 << 16)
        self.words = memoryview(self.memory).cast("q")

    phase = property(lambda self: self.words[0], lambda self, value: self.words.__setitem__(0, value))
    captured = property(lambda self: self.words[1], lambda self, value: self.words.__setitem__(1, value))
    attempted = property(lambda self: self.words[2], lambda self, value: self.words.__setitem__(2, value))
    waiting = property(lambda self: self.words[3], lambda self, value: self.words.__setitem__(3, value))

    # One more than the last durable step.
    durable = property(lambda self: self.words[5], lambda self, value: self.words.__setitem__(5, value))

    def say(self, message: object) -> None:
        data = json.dumps(message).encode()[: (1 << 16) - 64]
        self.memory[64 : 64 + len(data)] = data
        self.words[4] = len(data)

    def said(self) -> Any:
        return json.loads(self.memory[64 : 64 + self.words[4]]) if self.words[4] else None


# In the child


def wait_for_tracer(shared: Shared, thread: int) -> None:
    """Offer a thread to strace, and return when it is traced."""
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1).value, 0, 0, 0)
    # Opened before strace counts calls, and read by one that it does not count: or else the numbers of the
    # calls would depend on when it attaches.
    status = os.open(f"/proc/self/task/{thread}/status", os.O_RDONLY)
    shared.waiting = thread
    while b"TracerPid:\t0\n" in os.pread(status, 4096, 0):
        time.sleep(0.001)
    os.close(status)


def use_wrong_order(name: str) -> None:
    """The orders that lose data: a rig that does not notice them proves nothing."""
    if name == "commit word before payload":
        original_begin, original_copy = Journal.begin, recorder_module.HostStaging.copy

        def begin(journal: Journal, row: int) -> None:
            original_begin(journal, row)
            journal._words[journal._start(row) >> 3] = row + 1

        def copy(staging: Any, row: int) -> None:
            time.sleep(0.002)
            original_copy(staging, row)

        Journal.begin = begin
        recorder_module.HostStaging.copy = copy
    elif name == "metadata before chunks":
        original_write = local_sink.write_file
        held: list[tuple[Path, bytes]] = []

        def write(where: Path | str, data: bytes, *, sync: bool) -> None:
            path = Path(where)
            if path.name.startswith("c."):
                held.append((path, data))
                return
            original_write(path, data, sync=sync)
            if path.name == "zarr.json" and path.parent.suffix == ".zarr":
                for chunk in held:
                    time.sleep(0.02)
                    original_write(*chunk, sync=sync)
                held.clear()

        local_sink.write_file = write
    elif name == "no fsync":
        os.fsync = lambda _: None
    elif name == "no sync of the journal":
        Journal.sync = lambda _: None
    elif name:
        raise ValueError(name)


def record(path: Path, plan: Plan, shared: Shared, options: dict[str, Any]) -> None:
    """Record what the plan says, and report everything that is raised."""
    use_wrong_order(plan.control)
    parameter = torch.zeros(plan.shape, dtype=tensors.DTYPES[plan.dtype])
    values = [torch.from_numpy(v.view(np.uint8)) for v in plan.expected(plan.steps)]
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
                {"embeddings": parameter},
                store=plan.store,  # type: ignore[arg-type]
                zarr_dtype=plan.zarr_dtype,  # type: ignore[arg-type]
                block_steps=plan.block_steps,
                attributes={"config": {"seed": plan.seed}},
                durability=plan.durability,  # type: ignore[arg-type]
                overwrite=bool(options.get("overwrite")),
                resume=bool(options.get("resume")),
                sync_seconds=0.0,
            )
        )

    if not attempt("creation", create):
        return
    (recorder,) = made
    shared.phase = CREATED
    if trace.get("from") == "captures":
        wait_for_tracer(shared, thread_of(recorder, trace["thread"]))
    view = parameter.view(torch.uint8)
    for index in range(options.get("first", 0), plan.steps):
        step = plan.step(index)
        view.copy_(values[index])
        shared.attempted = index + 1
        if not attempt("capture", lambda: recorder.capture(step, loss=encoded.loss_of(step, plan.seed))):  # noqa: B023
            break
        shared.captured = index + 1
        shared.durable = 0 if recorder.durable_step is None else recorder.durable_step + 1
        view.fill_(0x5A)
        if index + 1 in plan.flush_at and not attempt("flush", recorder.flush):
            break
        if plan.pace:
            time.sleep(plan.pace)
    if options.get("die"):
        return
    if trace.get("from") == "close":
        wait_for_tracer(shared, thread_of(recorder, trace["thread"]))
    shared.phase = CLOSING
    attempt("close", recorder.close)


def thread_of(recorder: Recorder, name: str) -> int:
    return os.getpid() if name == "main" else int(recorder._writer._thread.native_id or 0)


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
        elif operation == "rewind":
            lock = WriterLock(RunPaths(path).lock)
            rewind(RunPaths(path), options["rows"])
            lock.release()
        else:
            raise ValueError(operation)
    except (EmbevoError, OSError) as error:
        shared.say([{"during": operation, "type": type(error).__name__, "message": str(error)}])
    shared.phase = DONE


# In the server


def plan_of(request: dict[str, Any]) -> Plan:
    fields = {
        key: tuple(value) if isinstance(value, list) else value for key, value in request["plan"].items()
    }
    return Plan(**fields)


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - reported by the exit code, and on stderr
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, until: float) -> int | None:
    """The wait status of a process; None when it still runs at the given time."""
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.0005)
    return None


def run_child(request: dict[str, Any]) -> dict[str, Any]:
    """Fork a child, do to it what was asked for, and say how it ended."""
    shared = Shared()
    pid = fork(lambda: child(request, shared))
    deadline = time.monotonic() + request.get("patience", HANG_SECONDS)
    options = request.get("options", {})
    traced: dict[str, Any] = {}
    if "kill" in options:
        wait_for_moment(pid, shared, options["kill"], deadline)
        os.kill(pid, signal.SIGKILL)
    elif "cut" in options:
        traced = cut_power(pid, shared, Path(request["path"]), options["cut"], deadline)
    elif "trace" in options:
        traced = run_strace(pid, shared, options["trace"], Path(request["path"] + ".strace"), deadline)
    status = wait(pid, deadline)
    hung = status is None
    if hung:
        os.kill(pid, signal.SIGKILL)
        status = wait(pid, time.monotonic() + HANG_SECONDS) or 0
    return {
        "hung": hung,
        "killed": os.WIFSIGNALED(status or 0),
        "exit": os.waitstatus_to_exitcode(status or 0),
        "phase": shared.phase,
        "captured": shared.captured,
        "attempted": shared.attempted,
        "raised": shared.said() or [],
        **traced,
    }


def wait_for_moment(pid: int, shared: Shared, kill: dict[str, Any], deadline: float) -> None:
    """Until a phase, then a number of captures, then for some time more, if the child lives that long."""
    while time.monotonic() < deadline:
        if shared.phase >= kill["phase"] and shared.captured >= kill["captured"]:
            break
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
    until = time.monotonic() + kill["delay"]
    while time.monotonic() < until:
        pass


def cut_power(pid: int, shared: Shared, path: Path, cut: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Shut the file system down under a process at a moment; says what it took for durable just before.

    Until then some files are synced by somebody else, as the kernel writes back what it likes and when.
    """
    rng = random.Random(cut["seed"])
    mount = os.open(cut["mount"], os.O_RDONLY)
    until = 0.0
    while time.monotonic() < deadline:
        if until == 0.0 and shared.phase >= cut["phase"] and shared.captured >= cut["captured"]:
            until = time.monotonic() + cut["delay"]
        if cut["created_is_synced"] and shared.phase >= CREATED:
            ctypes.CDLL(None).syncfs(mount)
            cut["created_is_synced"] = False
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended or 0.0 < until <= time.monotonic():
            break
        if rng.random() < cut["writeback"]:
            sync_something(rng, path)
        time.sleep(0.001)
    seen = {"durable": shared.durable - 1, "captured_before": shared.captured, "phase_before": shared.phase}
    fcntl.ioctl(mount, EXT4_IOC_SHUTDOWN, struct.pack("I", cut["flags"]))
    os.close(mount)
    os.kill(pid, signal.SIGKILL)
    return seen


def sync_something(rng: random.Random, path: Path) -> None:
    with contextlib.suppress(OSError):
        found = sorted(path.rglob("*"))
        if found:
            descriptor = os.open(rng.choice(found), os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def run_strace(pid: int, shared: Shared, trace: dict[str, Any], log: Path, deadline: float) -> dict[str, Any]:
    """Trace one thread until it ends, with one call made fatal or failing; says what the log says."""
    while not shared.waiting:
        if time.monotonic() > deadline or os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return {"traced": False}
        time.sleep(0.001)
    command = ["strace", "-q", "-y", "-o", str(log), "-e", "trace=" + ",".join(MUTATING)]
    if "inject" in trace:
        command += ["-e", "inject=" + trace["inject"]]
    tracer = subprocess.Popen([*command, "-p", str(shared.waiting)], stderr=subprocess.PIPE)
    try:
        tracer.communicate(timeout=max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.communicate()
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return {"traced": True, "injected": any("INJECTED" in line for line in lines), "calls": lines}


def look(request: dict[str, Any], outcome: dict[str, Any]) -> str:
    """Check the run; returns a word that begins with ok, or what is wrong."""
    return in_a_process(
        lambda: (
            "ok: "
            + oracle.check(
                Path(request["path"]),
                plan_of(request),
                outcome["captured"],
                outcome["attempted"],
                created=outcome["phase"] >= CREATED,
            )
        )
    )


def in_a_process(work: Callable[[], object]) -> str:
    """Run something that starts threads; returns an empty string, what it returned, or the traceback."""
    read_end, write_end = os.pipe()

    def guarded() -> None:
        try:
            word = work() or ""
        except Exception:  # noqa: BLE001 - whatever it is, the test shows it
            word = traceback.format_exc()
        os.write(write_end, str(word).encode()[:60_000])

    pid = fork(guarded)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        word = pipe.read().decode()
    os.waitpid(pid, 0)
    return word


def record_over(path: Path) -> None:
    """Whatever a killed creation has left, a new run can be recorded over it."""
    with Recorder(path, {"embeddings": torch.zeros(2, 2)}, overwrite=True) as recorder:
        recorder.capture(0)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    path = Path(request["path"])
    if "template" in request:
        shutil.copytree(request["template"], path)
    # With nothing to do, only what comes then is done.
    outcome = {} if request.get("operation") == "nothing" else run_child(request)
    for step in request.get("then", []):
        if step == "check":
            outcome["found"] = look(request, outcome)
        elif step == "check resumed":
            # The run was there before, whole.
            first = request["options"]["first"]
            seen = {
                "captured": max(first, outcome["captured"]),
                "attempted": max(first, outcome["attempted"]),
                "phase": CREATED,
            }
            outcome["found"] = look(request, {**outcome, **seen})
        elif step == "check replaced":
            outcome["found"] = in_a_process(
                lambda: (
                    "ok: "
                    + oracle.check_replaced(
                        path, plan_of({"plan": request["before"]}), plan_of(request), outcome["captured"]
                    )
                )
            )
        elif step == "cut":
            outcome["found"] = in_a_process(
                lambda: oracle.check_after_cut(path, plan_of(request), **request["seen"])
            )
        elif step == "as it is":
            outcome["rows"] = in_a_process(lambda: str(oracle.check_as_it_is(path, plan_of(request), None)))
        elif step == "rows":
            outcome["rows"] = in_a_process(lambda: str(oracle.check_recovered(path, plan_of(request))))
        elif step == "recover":
            outcome["recovery"] = in_a_process(lambda: recover(path) and None)
        elif step == "record over":
            outcome["recorded_over"] = in_a_process(lambda: record_over(path))
        elif step == "tree":
            outcome["tree"] = oracle.tree(path)
        else:
            raise ValueError(step)
    if request.get("remove", True):
        shutil.rmtree(path, ignore_errors=True)
    return outcome


def main() -> None:
    torch.set_num_threads(1)
    # Nothing that is here now is looked at by a child's garbage collection, which would copy its pages.
    gc.collect()
    gc.freeze()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
