"""Whether all steps are there that a run should have, and whether any may be where it cannot be read."""

from typing import Final

from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.settings import last_step_of, schedule_of
from embevo.run.format.steps import count, describe, describe_ranges, from_ranges, gaps, to_ranges
from embevo.run.reading.reader import Run
from embevo.run.repair.report import Recovery
from embevo.run.repair.verified import Problem, Verification

# More files than a folder has; the attribute is untrusted.
_MOST_IMPORTED: Final = 10_000_000


def check_completeness(run: Run, found: Verification) -> None:
    """Compare the steps of a run with those that were asked for, or with their usual distance."""
    have = run.steps.tolist()
    schedule = schedule_of(run.attributes)
    imported = _imported_steps(run)
    if imported is not None:
        found.expected = len(imported)
        found.missing = to_ranges(sorted(imported - set(have)))
        _say_missing(found)
    elif run.layout.schedule is not None:
        last = last_step_of(run.attributes)
        if last is not None:
            found.missing = run.layout.schedule.missing(have, 0, last)
            found.expected = len(have) + count(found.missing)
            _say_missing(found)
        elif have:
            found.missing = run.layout.schedule.missing(have, have[0], have[-1])
            if found.missing:
                found.notes.append(f"gaps in the schedule of the run: {describe_ranges(found.missing)}")
    elif schedule is not None:
        steps, every = schedule
        # Between the recorded multiples of `every`, with the ones before the first and after the last added.
        beyond = (steps // every + 1) * every
        found.missing = gaps([-every, *(step for step in have if step % every == 0), beyond], every)
        if steps % every and steps not in have:
            found.missing.append([steps, steps, 1])
        found.expected = steps // every + 1 + bool(steps % every)
        _say_missing(found)
    else:
        found.missing = gaps(have)
        if found.missing:
            found.notes.append(f"gaps in the usual stride: {describe_ranges(found.missing)}")


def _say_missing(found: Verification) -> None:
    if found.missing:
        found.problems.append(
            Problem(
                "trajectory.zarr/step",
                f"{count(found.missing):,} of {found.expected:,} expected steps were not recorded",
                describe_ranges(found.missing),
            )
        )


def _imported_steps(run: Run) -> set[int] | None:
    """The steps of the folder or runs that the run was made of; None if it does not say that of itself."""
    try:
        made = run.attributes.get("merged", run.attributes.get("imported"))
        ranges = [[int(part) for part in each] for each in made["steps"]]
        sound = all(first <= last and stride > 0 for first, last, stride in ranges)
        return set(from_ranges(ranges)) if sound and count(ranges) <= _MOST_IMPORTED else None
    except MALFORMED:
        return None


def check_ring(run: Run, found: Verification, *, recording: bool) -> None:
    """Steps in the ring are verified only where they can be read and proven."""
    if len(run.unproven_steps):
        steps = describe(run.unproven_steps.tolist())
        if recording:
            found.notes.append(f"steps {steps} are in the journal, and nothing here proves them yet")
        else:
            what = "holds what nothing on this machine proves; embevo recover says where it can be proven"
            found.problems.append(Problem("journal", what, steps))
    if not run.journal_elsewhere:
        return
    if recording:
        found.notes.append(f"a process records the run, and {run.journal_elsewhere}")
    elif found.expected is not None and not found.missing:
        found.notes.append(
            f"every step that was asked for is sealed, and none can be missing: {run.journal_elsewhere}"
        )
    else:
        found.problems.append(Problem("journal", _lost_with_ring(run)))


def _lost_with_ring(run: Run) -> str:
    """What may be missing with the ring, what is safe, and what can be done, for a message."""
    sealed = run.steps.tolist()
    safe = f"{len(sealed):,} steps are sealed ({describe(sealed)})" if sealed else "no step is sealed"
    to_do = Recovery(run.path, elsewhere=run.journal_elsewhere).how_to_go_on.rstrip(".")
    return f"is not here, and steps behind the last sealed one may be in it alone; {safe}: {to_do}"
