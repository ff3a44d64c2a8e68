"""Why steps do not follow: known causes, each tried on the steps that differ."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.auditing.findings import Finding
from embevo.analysis.auditing.flips import flipped_bit
from embevo.analysis.auditing.recorded import RecordedUpdates
from embevo.analysis.auditing.replay import replay
from embevo.analysis.auditing.settings import IMPLEMENTATIONS
from embevo.analysis.auditing.updates import Rule

# Steps that a cause is tried on.
_TRIED: Final = 32
# A cause is named when so many elements follow with it that did not all follow before.
_NAMED_FROM: Final = 0.99
_DTYPES: Final = ("bfloat16", "float16", "float32")


def cause_of(
    recorded: RecordedUpdates,
    rule: Rule,
    unequal: NDArray[np.int64],
    places: list[int],
    first_share: float,
) -> Finding | None:
    """The cause that explains what differs, if one of those known does.

    Args:
        recorded: the updates.
        rule: by which they were computed.
        unequal: rows that differ.
        places: flat positions that differ, where they are few.
        first_share: the smallest share of equal elements.
    """
    if len(places) == 1:
        found = flipped_bit(recorded, rule, int(unequal[0]), places[0])
        if found is not None:
            return found
    return _missing_step(recorded, rule, unequal, first_share) or _throughout(recorded, rule, unequal)


def _missing_step(
    recorded: RecordedUpdates, rule: Rule, unequal: NDArray[np.int64], share: float
) -> Finding | None:
    """One step that does not follow, after which the optimizer may have counted one more."""
    if not recorded.moments and rule.settings.moments:
        return None
    steps, first, later = recorded.run.steps, int(unequal[0]), unequal[1:]
    before, at = int(steps[first - 1]), int(steps[first])
    if not len(later):
        if len(recorded.rows) == 1 or share > 1 - 1 / _TRIED:
            return None
        return Finding(
            "missing step",
            f"All steps follow but step {at:,}, which is not one step of the optimizer from step {before:,}: "
            "a step is missing between them, or something else changed the state there.",
            1.0,
        )
    after = recorded.rows[recorded.rows > first]
    equal, _ = _follow(recorded, replace(rule, step_shift=1), _some(after))
    if equal < 1:
        return None
    return Finding(
        "missing step",
        f"A step is missing between step {before:,} and step {at:,}: from there on all follows if the "
        "optimizer has made one step more than was recorded.",
        equal,
    )


def _throughout(recorded: RecordedUpdates, rule: Rule, unequal: NDArray[np.int64]) -> Finding | None:
    """What would have been otherwise at every step."""
    carried = bool(rule.settings.moments) and not recorded.moments
    if carried:
        rows = recorded.rows[: int(np.searchsorted(recorded.rows, unequal[0])) + _TRIED]
    else:
        rows = _some(unequal)
    best, found = (_follow(recorded, rule, rows)[0], 0), None
    for kind, sentence, tried in _causes(recorded, rule, rows):
        for name in IMPLEMENTATIONS:
            settings = replace(tried.settings, implementation=name)
            share, whole = _follow(recorded, replace(tried, settings=settings), rows)
            if share >= _NAMED_FROM and (share, whole) > best:
                best = (share, whole)
                found = Finding(
                    kind, f"{sentence} ({share:.4%} of the elements of the steps tried follow then).", share
                )
    return found


def _causes(
    recorded: RecordedUpdates, rule: Rule, rows: NDArray[np.int64]
) -> Iterator[tuple[str, str, Rule]]:
    settings = rule.settings
    for shift, word in ((-1, "before"), (1, "after")):
        yield (
            "learning rate",
            f"The learning rate is off by one step: what was used is that recorded with the step {word}",
            replace(rule, rate_shift=shift),
        )
    decays = [0.0] if settings.weight_decay else []
    if settings.kind != "Adam":
        decays += _estimated_decay(recorded, rule, rows)
    for decay in decays:
        if decay != settings.weight_decay:
            yield (
                "weight decay",
                f"The weight decay was {decay:g}, and not {settings.weight_decay:g}"
                if decay
                else f"There was no weight decay, and not one of {settings.weight_decay:g}",
                replace(rule, settings=replace(settings, weight_decay=decay)),
            )
    if settings.kind != "SGD" and settings.weight_decay:
        other = "Adam" if settings.kind == "AdamW" else "AdamW"
        yield (
            "class",
            f"The optimizer was {other}, and not {settings.kind}",
            replace(rule, settings=replace(settings, kind="Adam" if other == "Adam" else "AdamW")),
        )
    spec = recorded.run.frame.by_name
    own = spec[recorded.array].dtype
    for dtype in _DTYPES:
        # What is recorded in a dtype with fewer bits cannot show that more were kept.
        if settings.moments and dtype not in (own, *(spec[name].dtype for name in _moments(recorded))):
            yield (
                "moments",
                f"The moments were kept in {dtype}, and not in {own}",
                replace(rule, kept_in=dtype),
            )
    yield (
        "clipping",
        "The gradient was recorded before it was clipped: scaled by one factor a step it is what was used",
        replace(rule, clipped=True),
    )


def _moments(recorded: RecordedUpdates) -> list[str]:
    return [name for key, name in recorded.arrays().items() if key]


def _estimated_decay(recorded: RecordedUpdates, rule: Rule, rows: NDArray[np.int64]) -> list[float]:
    """The decay by least squares: without it a step ends rate * decay * W away from where it should."""
    without = replace(rule, settings=replace(rule.settings, weight_decay=0.0))
    above = below = 0.0
    for (computed,) in replay(recorded, [without], rows):
        weights = computed.update.before.weights.double()
        rate = recorded.rate(computed.update.row, 0)
        missed = computed.expected.weights.double() - computed.update.after.weights.double()
        above += rate * float((missed * weights).sum())
        below += rate * rate * float(weights.square().sum())
    decay = above / below if below else 0.0
    return sorted({float(f"{decay:.1g}"), float(f"{decay:.2g}")} - {0.0}) if decay > 0 else []


def _follow(recorded: RecordedUpdates, rule: Rule, rows: NDArray[np.int64]) -> tuple[float, int]:
    """The share of equal elements, and how many steps follow to the last bit.

    A step whose learning rate would be that of a row that does not exist says nothing.
    """
    shares = [
        computed.share()
        for (computed,) in replay(recorded, [rule], rows)
        if 1 <= computed.update.row + rule.rate_shift < len(recorded.rates)
    ]
    if not shares:
        return 0.0, 0
    return float(np.mean(shares)), sum(share == 1 for share in shares)


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Some of them, evenly, the first and the last included."""
    if len(rows) <= _TRIED:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _TRIED).astype(np.int64)]
