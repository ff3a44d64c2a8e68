from hypothesis import given
from hypothesis import strategies as st

from embevo.run.format.steps import describe, from_ranges, to_ranges

STEPS = st.lists(st.integers(0, 2**40), unique=True).map(sorted)
NEAR = st.lists(st.integers(0, 60), unique=True).map(sorted)


@given(STEPS | NEAR)
def test_round_trip(steps: list[int]) -> None:
    assert from_ranges(to_ranges(steps)) == steps


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(2, 2000))
def test_equal_strides_are_one_range(first: int, stride: int, count: int) -> None:
    steps = [first + stride * i for i in range(count)]
    assert to_ranges(steps) == [[first, steps[-1], stride]]


def test_empty_and_single() -> None:
    assert to_ranges([]) == []
    assert to_ranges([7]) == [[7, 7, 1]]
    assert from_ranges([]) == []


def test_description_for_people() -> None:
    assert (
        describe([*range(501), 700, *range(900, 1001, 10)])
        == "0..500, 700..900 every 200, 910..1000 every 10"
    )
    assert describe([3]) == "3"
    assert describe([]) == ""


@given(NEAR)
def test_description_names_every_step(steps: list[int]) -> None:
    named: list[int] = []
    for part in filter(None, describe(steps).split(", ")):
        bounds, _, stride = part.partition(" every ")
        first, _, last = bounds.partition("..")
        named += range(int(first), int(last or first) + 1, int(stride or 1))
    assert named == steps
