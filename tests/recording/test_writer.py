"""The pace of the writer: seldom enough not to disturb, often enough for the ring."""

from hypothesis import given
from hypothesis import strategies as st

from embevo.recording.writer import next_pause

SHORTEST, LONGEST = 0.005, 0.05


@given(st.floats(SHORTEST, LONGEST), st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_pause_lasts_while_a_sixteenth_of_the_ring_fills(pause: float, rows: int, slots: int) -> None:
    found = next_pause(pause, rows, slots)
    assert SHORTEST <= found <= LONGEST
    # At the same rate, so many rows come in the next pause.
    expected = rows * found / pause
    assert found == SHORTEST or expected <= slots / 16 * 1.001
    assert found == LONGEST or rows == 0 or expected >= slots / 16 * 0.999


def test_a_small_ring_is_looked_at_often_and_a_large_one_seldom_where_steps_are_slow() -> None:
    assert next_pause(LONGEST, 1, 2) == LONGEST / 8
    assert next_pause(SHORTEST, 0, 2) == SHORTEST
    assert next_pause(SHORTEST, 1, 1024) == LONGEST
