"""Naming a process so that another one can tell, later, whether it still lives."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def boot_id() -> str:
    """Names this boot of this machine; empty where that cannot be told, and then nothing equals it."""
    if sys.platform == "darwin":
        return _printed("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def this_process() -> dict[str, Any]:
    """What :func:`is_alive` needs to know of this process: plain JSON."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": boot_id(),
        "namespace": _namespace(),
        "started": _started(os.getpid()) or "",
    }


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Whether a process lives, as far as this machine can tell; None where it cannot.

    Only a process of this boot and this namespace of process ids can be looked for: the same number means
    another process in another container, on another machine, and after the machine was started anew.
    """
    pid, boot, started = process.get("pid"), process.get("boot"), process.get("started")
    if type(pid) is not int or not 0 < pid < 2**31 or not boot or not started:
        return None
    if boot != boot_id() or process.get("namespace") != _namespace():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    now = _started(pid)
    # It is there, though how long it has been there is hidden from us.
    return True if now is None else now == started


def _started(pid: int) -> str | None:
    """When a process was started, in whatever unit; None where that is not shown, empty if it has ended."""
    if sys.platform != "linux":
        return _printed("/bin/ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        # After the name of the program, which may hold anything: state is the first, threads the 18th, and
        # the start, in ticks after the boot, the 20th.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        ended = fields[0] in {b"Z", b"X", b"x"} and int(fields[17]) <= 1
        return "" if ended else fields[19].decode()
    except (OSError, IndexError):
        return None


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _printed(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
