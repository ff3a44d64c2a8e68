"""What the machine leaves to a process: memory, cores, disk and files, and what it is that limits them."""

import functools
import math
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_IN_MEMORY: Final = ("tmpfs", "ramfs")
# Version 1 writes "no limit" as the largest whole number of pages.
_NO_LIMIT: Final = 1 << 62


@dataclass(frozen=True)
class Limit:
    """An amount, and what sets it.

    Attributes:
        amount: bytes, or cores.
        source: such as ``memory.max of /sys/fs/cgroup/job``.
    """

    amount: float
    source: str


@dataclass(frozen=True)
class DiskRoom:
    """What a file system has left for a user who is not root.

    Quotas of projects and containers are in these numbers. Those of users and groups are not, and cannot be
    told from a path alone.

    Attributes:
        free_bytes: of data.
        free_files: new files and directories; None where the file system does not count them.
        block_bytes: each file takes a multiple of that.
        file_bytes: size of the longest file that the process may write (``ulimit -f``); None without a limit.
        in_memory: what is written takes memory (tmpfs).
    """

    free_bytes: int
    free_files: int | None
    block_bytes: int
    file_bytes: int | None
    in_memory: bool


def available_memory(root: Path = Path("/")) -> Limit:
    """Bytes that a process can still have: the least that machine, control groups and ``ulimit -v`` leave.

    Control groups of version 1 and 2 are followed from the process's own up to the outermost in sight. What
    they hold of files that were not used for long is given up when memory is needed: it counts as free.

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    limits = [_of_machine(root), *_of_memory_groups(root)]
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        pages = _text(root / "proc/self/statm").split()[:1]
        mapped = int(pages[0]) * resource.getpagesize() if pages and pages[0].isdecimal() else 0
        limits.append(Limit(max(0, address_space - mapped), "ulimit -v"))
    return min(limits, key=lambda limit: limit.amount)


def available_cores(root: Path = Path("/")) -> Limit:
    """Cores that a process can use: those that it may run on, or what a control group grants of them.

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    limits = [Limit(processors(), "the processors that this process may run on")]
    for group in _groups(root, "cpu"):
        period = _number(group / "cpu.cfs_period_us")
        quota = _number(group / "cpu.cfs_quota_us")
        if period and quota is not None and quota > 0:
            limits.append(Limit(quota / period, f"cpu.cfs_quota_us of {group}"))
    for group in _groups(root, ""):
        words = _text(group / "cpu.max").split()
        if len(words) == 2 and words[0].isdecimal():
            limits.append(Limit(int(words[0]) / int(words[1]), f"cpu.max of {group}"))
    return min(limits, key=lambda limit: limit.amount)


def processors() -> int:
    """Those that this process may run on; all there are, where the system (macOS) does not say which."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_worth_having() -> int:
    """How many can compute at once. What control groups grant is looked up once: that takes a while."""
    return max(1, min(processors(), math.ceil(_granted_cores())))


@functools.cache
def _granted_cores() -> float:
    return available_cores().amount


def disk_room(directory: Path, root: Path = Path("/")) -> DiskRoom:
    """What the file system of a directory has left.

    Args:
        directory: it exists.
        root: where ``proc`` lies.

    Raises:
        OSError: the directory cannot be looked at.
    """
    status = os.statvfs(directory)
    longest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return DiskRoom(
        free_bytes=status.f_bavail * status.f_frsize,
        # File systems that make files as they need them (btrfs, some of the network's) count none at all.
        free_files=status.f_favail if status.f_files else None,
        block_bytes=status.f_frsize,
        file_bytes=None if longest == resource.RLIM_INFINITY else longest,
        in_memory=_kind(directory, root) in _IN_MEMORY,
    )


def nearest(directory: Path) -> Path:
    """What there is of a path: itself, or the nearest above it that exists."""
    path = directory.absolute()
    while not os.path.lexists(path):
        path = path.parent
    return path


def refusal_of(directory: Path) -> str:
    """Why no run can be made below a directory, which need not exist yet; empty if one can."""
    there = nearest(directory)
    if not there.is_dir():
        return f"{there} is not a directory"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"


def _of_machine(root: Path) -> Limit:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return Limit(1024 * int(line.split()[1]), "the machine")
    return Limit(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the machine")


def _of_memory_groups(root: Path) -> Iterator[Limit]:
    for group in _groups(root, "memory"):
        limit = _number(group / "memory.limit_in_bytes")
        if limit is not None and limit < _NO_LIMIT:
            used = _number(group / "memory.usage_in_bytes") or 0
            idle = _statistic(group / "memory.stat", "total_inactive_file")
            yield Limit(max(0, limit - used + idle), f"memory.limit_in_bytes of {group}")
    for group in _groups(root, ""):
        used = _number(group / "memory.current") or 0
        idle = _statistic(group / "memory.stat", "inactive_file")
        # Above memory.high a process is slowed down until it hardly moves.
        for name in ("memory.max", "memory.high"):
            limit = _number(group / name)
            if limit is not None:
                yield Limit(max(0, limit - used + idle), f"{name} of {group}")


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Directories of the control groups that the process is in, innermost first; ``""`` is version 2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            for mounted, top in _mounts(root, controller):
                # A container hides what is above its own group, which is then at the top of what is mounted.
                inside = Path(path).relative_to(mounted) if Path(path).is_relative_to(mounted) else Path()
                if ".." in inside.parts:
                    inside = Path()
                for part in (inside, *inside.parents):
                    yield top / part
                return


def _mounts(root: Path, controller: str) -> Iterator[tuple[Path, Path]]:
    """Which part of a hierarchy of control groups is mounted, and where."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version_2 = not controller and kind[0] == "cgroup2"
        if version_2 or (kind[0] == "cgroup" and controller in kind[2].split(",")):
            yield Path(_unescaped(fields[3])), root / _unescaped(fields[4]).lstrip("/")


def _kind(directory: Path, root: Path) -> str:
    """The kind of the file system that a directory lies on; empty if that cannot be told."""
    device = directory.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [number] and after:
            return after.split()[0]
    return ""


def _unescaped(path: str) -> str:
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """A whole number; None for ``max`` and where there is no such file."""
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def _statistic(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isdecimal():
            return int(words[1])
    return 0
