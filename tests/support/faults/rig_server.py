"""A server that forks children which record, kills them, and looks at what they leave.

It imports torch and zarr once and starts no thread, so that a child costs a fork. Requests and answers are
lines of JSON. What a child has captured is known to this process through shared anonymous memory, which
outlives the child.
"""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embevo.errors import WeakerPromiseWarning
from embevo.recording.recorder import Recorder
from embevo.run.repair.compacting import compact
from embevo.run.repair.recovery import recover
from support import encoded
from support.faults import oracle
from support.faults.child import child, plan_of
from support.faults.injuries import cut_power, run_strace, wait_for_moment
from support.faults.ranks import Exchange, rank_child
from support.faults.ranks import check as check_ranks
from support.faults.ranks import plan_of as ranks_plan_of
from support.faults.shared import CREATED, Shared

HANG_SECONDS = 120.0


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


def run_ranks(request: dict[str, Any]) -> dict[str, Any]:
    """Fork the processes of a training, kill one of them or all, and say how they ended."""
    world, options = ranks_plan_of(request).world, request.get("options", {})
    exchange, shared = Exchange(world), [Shared() for _ in range(world)]
    pids = [
        fork(lambda rank=rank: rank_child(request, rank, shared[rank], exchange))  # type: ignore[misc]
        for rank in range(world)
    ]
    exchange.leave()
    deadline = time.monotonic() + HANG_SECONDS
    traced: dict[str, Any] = {}
    if "trace" in options:
        victim, log = options["victim"], Path(request["path"] + ".strace")
        traced = run_strace(pids[victim], shared[victim], options["trace"], log, deadline)
        if options.get("all") and traced.get("injected"):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
    statuses = [wait(pid, deadline) for pid in pids]
    for pid, status in zip(pids, statuses, strict=True):
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return {
        "hung": None in statuses,
        "killed": [os.WIFSIGNALED(status or 0) for status in statuses],
        "exits": [os.waitstatus_to_exitcode(status or 0) for status in statuses],
        "phases": [each.phase for each in shared],
        "captured": [each.captured for each in shared],
        "attempted": [each.attempted for each in shared],
        "raised": [each.said() or [] for each in shared],
        **traced,
    }


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


def look_at_ranks(request: dict[str, Any], outcome: dict[str, Any]) -> str:
    """Check the run of several processes; returns a word that begins with ok, or what is wrong."""
    created = min(outcome["phases"]) >= CREATED
    return in_a_process(
        lambda: (
            "ok: "
            + check_ranks(
                Path(request["path"]),
                ranks_plan_of(request),
                outcome["captured"],
                outcome["attempted"],
                created=created,
            )
        )
    )


def resume_ranks(request: dict[str, Any]) -> str:
    """Record on to the end; what is there is compared, bit for bit, with what is captured again."""
    plan = {**request["ranks"], "fewer": []}
    resumed = run_ranks({**request, "ranks": plan, "options": {"resume": "auto"}})
    ended = {
        "phases": [CREATED],
        "captured": [plan["steps"]] * plan["world"],
        "attempted": [plan["steps"]] * plan["world"],
    }
    return f"{resumed['raised']}{resumed['exits']} {look_at_ranks({**request, 'ranks': plan}, ended)}"


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
        # With hard links as they are: what is written into one name is seen under the other.
        subprocess.run(["cp", "-a", request["template"], str(path)], check=True)
    operation = request.get("operation")
    if operation == "ranks":
        outcome = run_ranks(request)
    else:
        # With nothing to do, only what comes then is done.
        outcome = {} if operation == "nothing" else run_child(request)
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
        elif step == "check ranks":
            outcome["found"] = look_at_ranks(request, outcome)
        elif step == "resume ranks":
            outcome["resumed"] = resume_ranks(request)
        elif step == "as it is":
            outcome["rows"] = in_a_process(lambda: str(oracle.check_as_it_is(path, plan_of(request), None)))
        elif step == "rows":
            outcome["rows"] = in_a_process(lambda: str(oracle.check_recovered(path, plan_of(request))))
        elif step == "recover":
            outcome["recovery"] = in_a_process(lambda: recover(path) and None)
        elif step == "compact":
            outcome["compaction"] = in_a_process(lambda: compact(path) and None)
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
    # The rig's directory is in memory, where a power cut is only simulated. That this is said would be a call
    # that fails like those of the recorder, and nobody need be told of it.
    warnings.simplefilter("ignore", WeakerPromiseWarning)
    # Children have the tables of this process, which take longer to make than a child lives.
    for name in ("bfloat16", "float16"):
        encoded.widened(np.zeros(1, encoded.DTYPES[name]))
    # Nothing that is here now is looked at by a child's garbage collection, which would copy its pages.
    gc.collect()
    gc.freeze()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
