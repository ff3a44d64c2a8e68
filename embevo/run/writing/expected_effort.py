"""Which effort a recording will end up with, by the policy that will choose it, before it begins."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from embevo.run.format.effort import AskedEffort, Effort
from embevo.run.writing.effort_choice import DEFAULT_BUDGET, EffortChoice, Rest

# The policy takes a few blocks for each effort more.
_BLOCKS: Final = 40


class Expected(NamedTuple):
    """What a recording comes to.

    Attributes:
        effort: of its blocks.
        share: of a step, that recording takes from training.
    """

    effort: Effort
    share: float


class _SteadyLoad:
    """A training that always leaves as much."""

    def __init__(self, idle: float) -> None:
        self.idle = idle

    def look(self) -> float:
        """Idle cores, beside those that recording itself uses."""
        return self.idle


def expected_effort(
    seconds_a_byte: Mapping[Effort, float],
    size: int,
    seconds: float,
    idle: float,
    *,
    asked: AskedEffort = "auto",
    budget: float = DEFAULT_BUDGET,
    captures: float = 0.0,
    beside: float = 0.0,
) -> Expected:
    """The effort of the blocks of a recording that is under way for a while, and what it takes from training.

    Args:
        seconds_a_byte: seconds of a core that each effort takes here for a byte.
        size: bytes of a block's matrices, as they are captured.
        seconds: in which a block is captured.
        idle: cores that training leaves.
        asked: the effort that the recorder was given.
        budget: share of the time that recording may take from training.
        captures: seconds that captures of a block keep the training thread.
        beside: seconds of a core that the writer spends for a block on all else, such as files.
    """
    load = _SteadyLoad(idle)
    captured = 0.0
    choice = EffortChoice(asked, budget, load=load, captures=lambda: captured)
    effort: Effort = "small"
    cpu = 0.0
    for _ in range(_BLOCKS):
        captured += captures
        effort = choice.next(size, seconds, beside)
        cpu = seconds_a_byte[effort] * size
        choice.made(effort, size, cpu, cpu)
        # What recording uses is not idle.
        load.idle = max(0.0, idle - (cpu + beside) / seconds)
    rest = Rest(idle, beside / seconds, captures / seconds)
    return Expected(effort, rest.captures + rest.taken((beside + cpu) / seconds))
