"""Which steps a schedule has, against the sets that they are by definition."""

import json
from functools import reduce
from operator import or_

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.errors import ArgumentError
from embevo.run.format.schedule import (
    NEVER,
    Schedule,
    at,
    dense_then,
    every,
    log_spaced,
    schedule_of,
)
from embevo.run.format.schedule_text import parse_schedule
from embevo.run.format.steps import from_ranges

LIMIT = 3000


def walked(schedule: Schedule) -> list[int]:
    """The steps below the limit, as a recorder finds them."""
    steps, step = [], -1
    while (step := schedule.after(step)) < LIMIT:
        steps.append(step)
    return steps


def decades(per: int) -> set[int]:
    return {0, *(round(10 ** (k / per)) for k in range(4 * per))}


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Schedule, set[int]]:
    """A schedule, and its steps below the limit."""
    kind = draw(st.sampled_from(["every", "log", "dense", "at"]))
    if kind == "every":
        stride, first = draw(st.integers(1, 700)), draw(st.integers(0, 900))
        return every(stride, first), set(range(first, LIMIT, stride))
    if kind == "log":
        per = draw(st.integers(1, 40))
        return log_spaced(per), decades(per)
    if kind == "dense":
        until, stride = draw(st.integers(0, 500)), draw(st.integers(1, 300))
        return dense_then(until, stride), {*range(until), *range(until, LIMIT, stride)}
    listed = draw(st.sets(st.integers(0, LIMIT + 100), min_size=1))
    return at(listed), listed


@given(st.lists(drawn(), min_size=1, max_size=3), st.integers(0, 900), st.none() | st.integers(0, 2900))
def test_a_schedule_has_the_steps_of_its_parts_between_its_bounds(
    parts: list[tuple[Schedule, set[int]]], start: int, stop: int | None
) -> None:
    schedule, members = parts[0]
    for other, more in parts[1:]:
        schedule, members = schedule | other, members | more
    schedule = schedule.between(start, stop)
    members = {step for step in members if start <= step < (LIMIT if stop is None else stop) and step < LIMIT}
    assert walked(schedule) == sorted(members)
    assert [step for step in range(LIMIT) if schedule.has(step)] == sorted(members)
    assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule


@given(st.integers(1, 1000), st.integers(0, 10**17))
def test_decades_never_stand_still(per: int, step: int) -> None:
    following = log_spaced(per).after(step)
    assert step < following <= max(2, 10 * step)


def test_after_the_last_step_there_is_none() -> None:
    assert at([3]).after(3) == NEVER
    assert every(5).between(0, 6).after(5) == NEVER


def test_what_steps_may_be() -> None:
    assert schedule_of(None) is None
    assert schedule_of(5) == every(5)
    assert schedule_of(range(0, 9, 4)) == at([0, 4, 8])
    assert schedule_of(every(2)) == every(2)


@pytest.mark.parametrize("steps", [0, -1, True, 2.5, "10", b"1", [], [1.5], [-1], [True], at([3]).between(5)])
def test_what_steps_may_not_be(steps: object) -> None:
    with pytest.raises(ArgumentError):
        schedule_of(steps)


@given(st.lists(drawn(), min_size=1, max_size=3), st.integers(-5, LIMIT - 1))
def test_its_steps_up_to_one_are_counted(parts: list[tuple[Schedule, set[int]]], last: int) -> None:
    schedule = reduce(or_, (part for part, _ in parts))
    members = {step for _, steps in parts for step in steps if step <= last}
    assert list(schedule.up_to(last)) == sorted(members)
    assert schedule.count(last) == len(members)


SERIES = st.tuples(st.integers(0, 60), st.integers(1, 30))
ENDING = st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(0, 300))


@given(
    st.lists(SERIES | ENDING, max_size=6),
    st.lists(st.integers(1, 12), max_size=2),
    st.sets(st.integers(0, 300), max_size=5),
    st.integers(0, 90),
    st.none() | st.integers(0, 300),
    st.integers(-5, 300),
)
def test_steps_are_counted_as_if_one_went_through_them(
    series: list[tuple[int, ...]],
    per_decade: list[int],
    listed: set[int],
    start: int,
    stop: int | None,
    last: int,
) -> None:
    schedule = Schedule(tuple(series), tuple(per_decade), tuple(sorted(listed)), start, stop)
    assert schedule.count(last) == sum(1 for _ in schedule.up_to(last))


def test_more_steps_than_one_could_go_through_are_counted() -> None:
    most = 2**62
    assert parse_schedule("dense:100,1").count(most) == most + 1
    # Of thirty steps 15 are even, 5 more are multiples of three, and 2 more of five.
    assert parse_schedule("every:2+every:3+every:5").count(30 * 10**15 - 1) == 22 * 10**15
    assert parse_schedule("dense:1000,7+log:1000").between(7**20).count(7**21) > 6 * 7**19


@given(st.lists(drawn(), min_size=1, max_size=3))
def test_steps_lie_a_multiple_of_the_spacing_apart(parts: list[tuple[Schedule, set[int]]]) -> None:
    schedule = reduce(or_, (part for part, _ in parts))
    steps = walked(schedule)
    spacing = schedule.spacing
    assert spacing >= 1
    assert all((step - steps[0]) % spacing == 0 for step in steps)


def test_the_spacing_is_the_widest_there_is() -> None:
    for text, spacing in (
        ("every:100", 100),
        ("every:20+every:30", 10),
        ("0,100,250", 50),
        ("7", 1),
        ("dense:100,50", 1),
        ("dense:0,50", 50),
        ("log:20", 1),
        ("every:100+log:1", 1),
    ):
        assert parse_schedule(text).spacing == spacing
    assert at([]).spacing == 1
    assert every(100, 3).spacing == 100


@given(drawn(), st.integers(0, LIMIT - 1), st.integers(0, LIMIT - 1), st.data())
def test_what_is_missing_is_what_it_has_and_nobody_else(
    part: tuple[Schedule, set[int]], first: int, last: int, data: st.DataObject
) -> None:
    schedule, members = part
    have = sorted(step for step in members if data.draw(st.booleans()) or step > 50)
    expected = [step for step in sorted(members) if first <= step <= last and step not in have]
    assert from_ranges(schedule.missing(have, first, last)) == expected


@given(st.lists(st.sampled_from(["every", "log", "dense", "at"]), min_size=1, max_size=4), st.data())
def test_what_is_written_is_what_is_made(kinds: list[str], data: st.DataObject) -> None:
    number = st.integers(1, 900)
    words, made = [], []
    for kind in kinds:
        first, second = data.draw(number), data.draw(number)
        word, schedule = {
            "every": (f"every:{first}", every(first)),
            "log": (f"log:{first}", log_spaced(first)),
            "dense": (f"dense:{first},{second}", dense_then(first, second)),
            "at": (f"{first},{second}", at([first, second])),
        }[kind]
        words.append(word)
        made.append(schedule)
    space = data.draw(st.sampled_from(["", " "]))
    assert parse_schedule(f"{space}+{space}".join(words)) == reduce(or_, made)


@pytest.mark.parametrize(
    "text",
    ["", "+", "log", "log:", "log:2,3", "dense:3", "every:x", "every:-1", "1,,2", "2.5", "weekly:3", ":3"],
)
def test_what_is_no_schedule_is_told_what_is(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"is no schedule: write every:10"):
        parse_schedule(text)
