"""What limits a process: control groups that were made up, and those of this machine."""

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.run.format import chunks, recompressing, zarr_arrays
from embevo.run.format.chunks import ChunkEncoder
from embevo.run.format.frame import FrameSpec
from embevo.run.format.layout import Layout
from embevo.run.format.recompressing import recompressed
from embevo.run.limits import available_cores, available_memory, disk_room

GIB = 1 << 30
NONE_V1 = 9223372036854771712


def machine(root: Path, *, groups: str, mounts: list[str], memory: int = 64 * GIB) -> None:
    """A /proc that says of the machine and of the process what it is told."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/meminfo").write_text(f"MemTotal: {memory} kB\nMemAvailable: {memory // 1024} kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text("".join(f"{line}\n" for line in mounts))


def files(folder: Path, **values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


V2 = ["35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"]
V1 = [
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
]
limits = st.one_of(st.none(), st.integers(1, 100 * GIB))


@pytest.mark.parametrize("version", [1, 2])
@given(
    levels=st.lists(st.tuples(limits, st.integers(0, 50 * GIB), st.integers(0, GIB)), min_size=1, max_size=5),
    free=st.integers(1, 100 * GIB),
)
def test_the_tightest_of_nested_groups_decides(
    tmp_path_factory: pytest.TempPathFactory,
    version: int,
    levels: list[tuple[int | None, int, int]],
    free: int,
) -> None:
    root = tmp_path_factory.mktemp("root")
    path = "/" + "/".join(f"level{depth}" for depth in range(1, len(levels)))
    machine(
        root,
        memory=free,
        groups=f"0::{path}\n" if version == 2 else f"9:cpu,cpuacct:/\n4:memory:{path}\n0::/\n",
        mounts=V2 if version == 2 else V1,
    )
    top = root / ("sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory")
    expected = [free // 1024 * 1024]
    for depth, (limit, used, idle) in enumerate(levels):
        folder = top.joinpath(*(f"level{level}" for level in range(1, depth + 1)))
        if version == 2:
            files(folder, memory__max="max" if limit is None else limit, memory__current=used)
            files(folder, memory__stat=f"anon 5\ninactive_file {idle}")
        else:
            files(folder, memory__limit_in_bytes=NONE_V1 if limit is None else limit)
            files(
                folder,
                memory__usage_in_bytes=used,
                memory__stat=f"inactive_file 7\ntotal_inactive_file {idle}",
            )
        if limit is not None:
            expected.append(max(0, limit - used + idle))
    found = available_memory(root)
    assert found.amount == min(expected)
    named = "memory.max of" if version == 2 else "memory.limit_in_bytes of"
    assert found.source == "the machine" or found.source.startswith(f"{named} {top}")
    assert (found.source == "the machine") == (min(expected) == expected[0])


@pytest.mark.parametrize(
    ("path", "mounted"),
    [
        ("/docker/abc", "/docker/abc"),  # the container sees its own group at the top
        ("/", "/"),  # a namespace of control groups
        ("/../other", "/"),  # seen from outside of its namespace
        ("/kubepods/pod1/abc", "/kubepods/pod1/abc"),
        ("/elsewhere", "/docker/abc"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_containers_see_their_limit_at_the_top(tmp_path: Path, version: int, path: str, mounted: str) -> None:
    mounts = [line.replace(" / /sys/fs/cgroup/memory", f" {mounted} /sys/fs/cgroup/memory") for line in V1]
    if version == 2:
        mounts = [V2[0].replace(" / ", f" {mounted} ")]
    machine(tmp_path, groups=f"0::{path}\n" if version == 2 else f"4:memory:{path}\n", mounts=mounts)
    if version == 2:
        files(tmp_path / "sys/fs/cgroup", memory__max=GIB, memory__current=0)
    else:
        files(tmp_path / "sys/fs/cgroup/memory", memory__limit_in_bytes=GIB, memory__usage_in_bytes=0)
    assert available_memory(tmp_path).amount == GIB


def test_what_slows_a_process_down_limits_it_too(tmp_path: Path) -> None:
    machine(tmp_path, groups="0::/job\n", mounts=V2)
    files(tmp_path / "sys/fs/cgroup/job", memory__max=4 * GIB, memory__high=2 * GIB, memory__current=GIB)
    found = available_memory(tmp_path)
    assert (found.amount, found.source.split()[0]) == (GIB, "memory.high")


@pytest.mark.parametrize("text", ["", "nonsense", "0::", "::::\n", "4:memory\n\xff"])
def test_files_that_make_no_sense_limit_nothing(tmp_path: Path, text: str) -> None:
    machine(tmp_path, groups=text, mounts=[text, *V2])
    files(tmp_path / "sys/fs/cgroup", memory__max=text or "x", cpu__max=text)
    assert available_memory(tmp_path).amount == 64 * GIB
    assert available_cores(tmp_path).amount == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("version", [1, 2])
def test_cores_that_a_group_grants(tmp_path: Path, version: int) -> None:
    if version == 2:
        machine(tmp_path, groups="0::/a/b\n", mounts=V2)
        files(tmp_path / "sys/fs/cgroup/a", cpu__max="50000 100000")
        files(tmp_path / "sys/fs/cgroup/a/b", cpu__max="max 100000")
    else:
        machine(tmp_path, groups="9:cpu,cpuacct:/a\n", mounts=V1)
        files(tmp_path / "sys/fs/cgroup/cpu,cpuacct/a", cpu__cfs_quota_us=50000, cpu__cfs_period_us=100000)
        files(tmp_path / "sys/fs/cgroup/cpu,cpuacct", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    found = available_cores(tmp_path)
    assert found.amount == 0.5
    assert str(tmp_path) in found.source


@pytest.mark.parametrize(("allowed", "granted", "threads"), [(1, 64.0, 1), (6, 2.5, 3), (6, 0.5, 1)])
def test_a_machine_of_many_cores_gets_no_more_threads_than_the_process_may_use(
    allowed: int, granted: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(allowed)))
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("embevo.run.limits._granted_cores", lambda: granted)
    made = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            made.append(workers)
            super().__init__(workers)

    for module in (chunks, recompressing):
        monkeypatch.setattr(module, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(zarr_arrays, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(zarr_arrays, "_SHARD_CHUNKS", 8)
    frame = FrameSpec.of({"embeddings": ("float32", (64, 4))}, ())
    described = Layout.new(
        frame, block_steps=2, store="zarr", zarr_dtype="float32", has_token_count=False, attributes={}
    )
    metadata = described.arrays["embeddings"]
    (file, *_) = ChunkEncoder.of(metadata).files(np.ones((2, 64, 4), np.float32))
    recompressed(metadata, bytes(file))
    assert made == [threads, threads]


def test_this_machine(tmp_path: Path) -> None:
    found = available_memory()
    assert found.amount > 0
    room = disk_room(tmp_path)
    status = os.statvfs(tmp_path)
    assert room.block_bytes == status.f_frsize
    assert (room.free_files is None) == (status.f_files == 0)
    assert room.file_bytes is None or room.file_bytes == resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    assert disk_room(Path("/dev/shm")).in_memory


@pytest.mark.parametrize(("option", "source"), [("-v 20000000", "ulimit -v"), ("-f 4", "ulimit -f")])
def test_limits_of_the_shell(tmp_path: Path, option: str, source: str) -> None:
    program = """
import sys
from embevo.run.limits import available_memory, disk_room
print(available_memory().source if sys.argv[1] == "ulimit -v" else disk_room(".").file_bytes)
"""
    program = program.replace('disk_room(".")', "disk_room(__import__('pathlib').Path('.'))")
    command = f"ulimit {option}; exec {sys.executable} -c \"$PROGRAM\" '{source}'"
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PROGRAM": program},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    if source == "ulimit -f":
        assert done.stdout == "4096\n"
    elif available_memory().amount > 20000000 * 1024:
        assert done.stdout == "ulimit -v\n"


def test_what_a_process_has_mapped_already_is_not_left_of_its_address_space(tmp_path: Path) -> None:
    program = """
import mmap, resource
from embevo.run.limits import available_memory
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
before = available_memory()
mapped = mmap.mmap(-1, 1 << 30)
after = available_memory()
if before.source == after.source == "ulimit -v":
    assert abs(before.amount - after.amount - (1 << 30)) < 1 << 20, (before, after)
mmap.mmap(-1, int(after.amount) - (1 << 26))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_a_real_control_group(tmp_path: Path) -> None:
    """A group of this machine with half a gibibyte, and a process in it."""
    top = Path("/sys/fs/cgroup/memory")
    version_1 = (top / "memory.limit_in_bytes").exists()
    group = (top if version_1 else top.parent) / f"embevo-test-{os.getpid()}"
    try:
        group.mkdir()
        name = "memory.limit_in_bytes" if version_1 else "memory.max"
        (group / name).write_text(str(512 << 20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    program = "from embevo.run.limits import available_memory as a; print(a().source, int(a().amount))"
    command = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c '{program}'"
    try:
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    finally:
        group.rmdir()
    source, _, amount = done.stdout.rpartition(" ")
    assert source == f"{name} of {group}"
    assert int(amount) <= 512 << 20
