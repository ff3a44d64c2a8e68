"""Whether what a recording will take fits into what there is, and what would give way first."""

from collections.abc import Iterator

from embevo.run.limits import DiskRoom
from embevo.run.planning import CHUNKS_AT_WORK_BYTES, Machine, Plan


def warnings_of(plan: Plan, machine: Machine) -> list[str]:
    """Why the recording would not fit; empty if it does."""
    found = [f"No run can be made there: {machine.refused}."] if machine.refused else []
    disk = machine.disk
    smaller = "" if plan.store == "zarr" else ", store only zarr"
    taken = plan.disk_bytes_in(disk.block_bytes if disk is not None else 1)
    if taken > machine.free_disk:
        # However few steps are recorded, the ring is as long.
        less = f"Record every n-th step{smaller}, or"
        if plan.ring_bytes > machine.free_disk:
            less = f"{_smaller_ring(plan, machine.free_disk)}, or"
        found.append(
            f"The run may take {_gigabytes(taken)}, {_gigabytes(plan.ring_bytes)} of it the ring; the disk "
            f"has {_gigabytes(machine.free_disk)} left. {less} choose another disk."
        )
    if disk is not None:
        found += _too_many_files(plan, disk, smaller)
    memory, what = plan.memory_bytes, "Ring and encoding"
    less = f"{_smaller_ring(plan, machine.memory)}."
    if disk is not None and disk.in_memory:
        memory += taken - plan.ring_bytes
        what = "Ring, encoding and a run on a disk in memory"
        if plan.memory_bytes <= machine.memory:
            less = "Choose a directory on a disk."
    if memory > machine.memory:
        found.append(
            f"{what} take {_gigabytes(memory)} of memory; {_gigabytes(machine.memory)} are available "
            f"({machine.memory_source}). {less}"
        )
    if machine.write_rate is not None and plan.disk_rate > machine.write_rate:
        found.append(
            f"The disk would have to take {_gigabytes(plan.disk_rate)} a second; it takes "
            f"{_gigabytes(machine.write_rate)}. The loop would wait for it, or drop steps."
        )
    if machine.encode_rate is not None and plan.capture_rate > machine.encode_rate:
        compressed = plan.effort in ("fast", "small")
        how = f" with effort {plan.effort}" if compressed else ", even where nothing is compressed"
        less = "Leave the effort to be chosen, store" if compressed else "Store"
        found.append(
            f"{_gigabytes(plan.capture_rate)} a second would have to be made into blocks; all cores together "
            f"manage {_gigabytes(machine.encode_rate)}{how}. {less} safetensors only, or record every n-th "
            "step."
        )
    return found


def where_all_cores_are_busy(plan: Plan, machine: Machine) -> str:
    """What does not fit only where training leaves no core to compress; empty if nothing does."""
    more = plan.uncompressed_bytes - plan.zarr_bytes[1]
    if plan.effort != "auto" or more <= 0:
        return ""
    taken = more + plan.disk_bytes_in(machine.disk.block_bytes if machine.disk is not None else 1)
    if taken <= machine.free_disk:
        return ""
    return (
        f"Where training leaves no core to compress, the run takes up to {_gigabytes(taken)}; the disk has "
        f"{_gigabytes(machine.free_disk)} left."
    )


def loads_of(plan: Plan, machine: Machine) -> dict[str, float]:
    """What share of each of the machine's means the recording needs, where that is known.

    Returns:
        ``memory copies``, ``cores`` and ``disk`` by time, ``memory`` and ``disk space`` by bytes; 1 is all
        there is. ``cores`` are those for blocks with the effort that is asked for, or with
        the least where it is chosen.
    """
    disk = machine.disk
    shares = {
        "memory": plan.memory_bytes / machine.memory if machine.memory else float("inf"),
        "disk space": plan.disk_bytes_in(disk.block_bytes if disk is not None else 1)
        / max(machine.free_disk, 1),
    }
    for name, needed, rate in (
        ("memory copies", plan.capture_rate, machine.copy_rate),
        ("cores", plan.capture_rate, machine.encode_rate),
        ("disk", plan.disk_rate, machine.write_rate),
    ):
        if rate is not None:
            shares[name] = needed / rate
    return shares


def _too_many_files(plan: Plan, disk: DiskRoom, smaller: str) -> Iterator[str]:
    if disk.free_files is not None and plan.files > disk.free_files:
        yield (
            f"The run takes {plan.files:,} files; the file system has {disk.free_files:,} left (df -i), "
            f"however many bytes are free. Record every n-th step{smaller}, or choose another disk."
        )
    if disk.file_bytes is not None and plan.ring_bytes > disk.file_bytes:
        yield (
            f"The ring is a file of {_gigabytes(plan.ring_bytes)}; files of this process may have "
            f"{_gigabytes(disk.file_bytes)} (ulimit -f). {_smaller_ring(plan, disk.file_bytes)}, or "
            "raise that."
        )


def _smaller_ring(plan: Plan, room: float) -> str:
    """What makes the ring and its block small enough for so many bytes, without a stop."""
    # The ring of the shortest blocks holds two steps, and a block is one.
    if plan.block_steps > 1 and 3 * plan.step_bytes + CHUNKS_AT_WORK_BYTES <= room:
        return "Pass the recorder a smaller block_steps"
    return "Record fewer rows of the matrix"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e11 else f"{size / 1e9:.3g} GB"
