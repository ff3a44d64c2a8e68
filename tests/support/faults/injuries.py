"""How a child is hurt: killed at a moment, cut off from its disk, or made to fail at one system call."""

import contextlib
import ctypes
import fcntl
import os
import random
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from support.faults.shared import CREATED, Shared

EXT4_IOC_SHUTDOWN = 0x8004587D
# strace is told these; what only reads is of no interest.
MUTATING = (
    "write", "pwrite64", "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "msync", "rename",
    "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "openat",
)  # fmt: skip


def wait_for_moment(pid: int, shared: Shared, kill: dict[str, Any], deadline: float) -> None:
    """Wait for a phase, then a number of captures, then some time more, if the child lives that long."""
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

    Until then some files are synced anyway, as the kernel writes back what it likes and when.
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
    """Trace one thread, or a process beside, until it ends, with one call made fatal or failing.

    Says what the log says.
    """
    while not shared.waiting:
        if time.monotonic() > deadline or os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return {"traced": False}
        time.sleep(0.001)
    command = ["strace", "-q", "-y", "-o", str(log), "-e", "trace=" + ",".join(MUTATING)]
    if trace["thread"] == "process":
        command.append("-f")
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
