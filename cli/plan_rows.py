"""What ``embevo plan`` says of a recording: a label and a text a line."""

from typing import TYPE_CHECKING

from embevo.run.writing.effort_choice import DEFAULT_BUDGET

from .readable import size_of

if TYPE_CHECKING:
    from embevo.run.planning import Machine, Plan


def rows_of(planned: "Plan", machine: "Machine", host: "Plan", budget: float | None) -> list[tuple[str, str]]:
    """What is said of one process, each line's label and text.

    Args:
        planned: what it records.
        machine: what there is; rates are said where they were measured.
        host: what all processes on its host record together.
        budget: share of a step that recording may take; None for the default.
    """
    from embevo.run.fits import loads_of  # noqa: PLC0415 - loaded when it is needed

    arrays = planned.frame.arrays
    shapes = {name: " x ".join(f"{length:,}" for length in spec.shape) for name, spec in arrays}
    if len(set(shapes.values())) == 1:
        names = ", ".join(f"{name} {spec.dtype}" for name, spec in arrays) + f": {shapes[arrays[0][0]]}"
    else:
        names = ", ".join(f"{name} {spec.dtype} {shapes[name]}" for name, spec in arrays)
    parts = ", ".join(f"{name} {size_of(spec.nbytes)}" for name, spec in arrays)
    rows = [
        ("records", f"{names}, {planned.rows:,} times"),
        ("a step", size_of(planned.step_bytes) + (f": {parts}" if len(arrays) > 1 else "")),
        ("raw", size_of(planned.raw_bytes)),
    ]
    if planned.snapshot_bytes:
        rows.append(("safetensors", size_of(planned.snapshot_bytes)))
    if planned.zarr_bytes[1]:
        low, high = planned.zarr_bytes
        expected = f"{size_of(low)} to {size_of(high)} expected, by how much changes each step"
        rows.append(("Zarr", f"{size_of(high)}, not compressed" if planned.effort == "none" else expected))
        if planned.uncompressed_bytes > high:
            rows.append(
                ("", f"{size_of(planned.uncompressed_bytes)} where training leaves no core to compress")
            )
    seconds = planned.block_steps * planned.every / planned.steps_per_second
    rows += [
        (
            "ring",
            f"{size_of(planned.ring_bytes)} on the disk and in memory, {2 * planned.block_steps:,} steps",
        ),
        ("block", f"{planned.block_steps:,} steps, sealed every {seconds:,.1f} s"),
        ("memory", f"{size_of(planned.memory_bytes)} at most"),
        ("handed over", f"{size_of(planned.capture_rate)} a second"),
        ("to the disk", f"{size_of(planned.disk_rate)} a second at most"),
        ("files", f"{planned.files:,} at most"),
        ("disk left", f"{size_of(machine.free_disk)}{_files_left(machine)}"),
        ("memory left", f"{size_of(machine.memory)}, by {machine.memory_source}"),
        ("not known", "quotas of users and groups; quota -s says them where there are any"),
    ]
    if machine.cores is not None:
        rows.insert(-1, ("cores", f"{machine.cores.amount:g}, by {machine.cores.source}"))
    if machine.copy_rate is not None:
        blocked = planned.step_bytes / machine.copy_rate
        rows.append(
            ("a capture", f"{1000 * blocked:,.3f} ms of memory copy ({size_of(machine.copy_rate)} a second)")
        )
    if machine.encode_seconds:
        rates = ", ".join(
            f"{effort} {size_of(1 / seconds)}" for effort, seconds in machine.encode_seconds.items()
        )
        rows.append(("compresses", f"in a second of a core, where everything changes: {rates}"))
        rows += _effort(planned, machine, budget)
    if machine.write_rate is not None:
        rows.append(("writes", f"{size_of(machine.write_rate)} a second, synced"))
    if machine.copy_rate is not None:
        if machine.write_rate is None:
            rows.append(("writes", "not measured: no file could be written there"))
        loads = loads_of(host, machine)
        tightest = max(loads, key=loads.__getitem__)
        shares = ", ".join(
            f"{name} {share:.2%}" for name, share in sorted(loads.items(), key=lambda x: -x[1])
        )
        rows.append(("limit", f"{tightest}; taken of each: {shares}"))
    return rows


def _effort(planned: "Plan", machine: "Machine", budget: float | None) -> list[tuple[str, str]]:
    """What the recorder's own policy will choose, and take of a step, with a core idle and with none."""
    from embevo.run.writing.expected_effort import expected_effort  # noqa: PLC0415

    size = planned.block_steps * planned.step_bytes
    seconds = planned.block_steps * planned.every / planned.steps_per_second
    may = DEFAULT_BUDGET if budget is None else budget
    idle, busy = (
        expected_effort(
            machine.encode_seconds,
            size,
            seconds,
            cores,
            asked=planned.effort,
            budget=may,
            captures=size / machine.copy_rate if machine.copy_rate else 0.0,
            beside=planned.block_steps * (machine.file_seconds or 0.0),
        )
        for cores in (1.0, 0.0)
    )
    if planned.effort != "auto":
        chosen, aim = f"{planned.effort}, as asked for", ""
    else:
        aim = f"; the budget is {may:.2%}"
        chosen = f"{idle.effort} where training leaves a core idle, {busy.effort} where it uses all"
        if idle.effort == busy.effort:
            chosen = f"{idle.effort}, whether training leaves a core idle or none"
    taken = (
        f"{idle.share:.2%} of the loop where training leaves a core idle, {busy.share:.2%} where it uses all"
    )
    return [("effort", chosen), ("takes", taken + aim)]


def _files_left(machine: "Machine") -> str:
    disk = machine.disk
    if disk is None:
        return ""
    kind = ", in memory" if disk.in_memory else ""
    return kind + (
        ", files without a limit" if disk.free_files is None else f" and {disk.free_files:,} files"
    )


def rows_of_ranks(whole: "Plan", host: "Plan", ranks: int, on_host: int) -> list[tuple[str, str]]:
    """What is said of all processes beside one of them."""
    written = f"{size_of(whole.disk_rate)} a second written at most"
    memory = f"{size_of(host.memory_bytes)} of memory at most"
    return [
        ("ranks", f"{ranks:,}, {on_host:,} of them on a host; above is what the largest piece takes"),
        ("a host", f"{memory}, {size_of(host.disk_rate)} a second written"),
        ("all ranks", f"{size_of(whole.step_bytes)} a step, {size_of(whole.raw_bytes)} raw; {written}"),
    ]
