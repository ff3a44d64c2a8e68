"""One flipped bit: which one, of which array, makes all follow when it is flipped back."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from torch import Tensor

from embevo.analysis.auditing.findings import Finding
from embevo.analysis.auditing.recorded import GRADIENT, RecordedUpdates
from embevo.analysis.auditing.replay import replay
from embevo.analysis.auditing.updates import Rule, bits_of

# Steps after it that have to follow too: a low bit of a gradient may show in the weights only later.
_LOOKED_AT: Final = 16


def flipped_bit(recorded: RecordedUpdates, rule: Rule, first: int, place: int) -> Finding | None:
    """The bit, or the bits, that alone would explain everything from a first differing row on.

    Args:
        recorded: the updates.
        rule: by which they were computed.
        first: the first row that differs.
        place: flat position of the one element that does.
    """
    index = int(np.searchsorted(recorded.rows, first))
    rows = recorded.rows[index : index + _LOOKED_AT]
    carried: Mapping[str, Tensor] = {}
    if rule.settings.moments and not recorded.moments:
        for (computed,) in replay(recorded, [rule], recorded.rows[:index]):
            carried = computed.expected.moments
    (update,) = recorded.updates(recorded.rows[index : index + 1])
    values = {(first, GRADIENT): update.gradient}
    values |= {(first, name): array for name, array in update.after.arrays().items()}
    if index == 0 or recorded.rows[index - 1] != first - 1:
        # Nothing says whether the state before is right but what follows from it.
        values |= {(first - 1, name): array for name, array in update.before.arrays().items()}
    found = []
    for (row, name), array in values.items():
        for bit in range(8 * array.element_size()):
            changes = {(row, name): _with_flipped(array, place, bit)}
            steps = replay(recorded, [rule], rows, changes, begin=[carried])
            if all(computed.is_equal for (computed,) in steps):
                found.append((row, name, bit))
    if not found:
        return None
    row, name, bit = found[0]
    called = recorded.arrays().get(name, f"{recorded.array}.{GRADIENT}")
    shape = tuple(update.gradient.shape)
    where = recorded.label_of(tuple(int(part) for part in np.unravel_index(place, shape)))
    element = ", ".join(f"{axis} {at}" for axis, at in where.items() if axis != "label")
    label = f" ({where['label']})" if "label" in where else ""
    which = f"Bit {bit}" if len(found) == 1 else "One bit (" + " or ".join(str(one[2]) for one in found) + ")"
    return Finding(
        "flipped bit",
        f"{which} of {called} is flipped at step {int(recorded.run.steps[row]):,}, {element}{label}: flipped "
        "back, everything follows.",
        1.0,
    )


def _with_flipped(values: Tensor, place: int, bit: int) -> Tensor:
    flipped = values.clone()
    bits = bits_of(flipped).view(-1)
    width = 8 * values.element_size()
    # The highest bit is the sign of the whole number that holds the bits.
    bits[place] ^= (1 << bit) - ((1 << width) if bit == width - 1 else 0)
    return flipped
