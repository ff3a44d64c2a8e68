"""How the effort of each block is chosen, with a machine and a writer that are made up."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo.run.core_load import CoreLoad
from embevo.run.format.effort import EFFORTS, Effort
from embevo.run.writing.effort_choice import EffortChoice

BYTES = 10_000_000
# Seconds that such a block takes with each effort.
COST: dict[Effort, float] = {"none": 0.004, "fast": 0.010, "small": 0.035}


@dataclass
class FakeLoad:
    """Leaves so many cores idle."""

    idle: float | None

    def look(self) -> float | None:
        return self.idle


def chosen(
    choice: EffortChoice,
    load: FakeLoad,
    idle: float | None,
    blocks: int,
    seconds: float,
    *,
    beside: float = 0.0,
) -> list[Effort]:
    """The efforts of some blocks, each captured in so many seconds by a training that leaves so many cores.

    What the writer uses of them, for blocks and seconds of a core beside them, is not idle.
    """
    efforts = []
    for _ in range(blocks):
        used = (COST[choice.last or "small"] + beside) / seconds
        load.idle = None if idle is None else max(0.0, idle - used)
        efforts.append(choice.next(BYTES, seconds, beside))
        choice.made(efforts[-1], BYTES, COST[efforts[-1]], COST[efforts[-1]])
    return efforts


def auto(budget: float = 0.02) -> tuple[EffortChoice, FakeLoad]:
    load = FakeLoad(None)
    return EffortChoice("auto", budget, load=load), load


def test_a_training_that_leaves_cores_gets_small_blocks() -> None:
    choice, load = auto()
    assert chosen(choice, load, 2.0, 20, 0.07) == ["small"] * 20
    assert choice.counts == {"none": 0, "fast": 0, "small": 20}


def test_a_training_that_uses_all_cores_pays_for_no_more_than_the_budget() -> None:
    choice, load = auto(budget=0.02)
    assert set(chosen(choice, load, 0.0, 20, 0.07)) == {"none"}
    # A slower one has room for more in the same share, from its first block on.
    choice, load = auto(budget=0.02)
    assert set(chosen(choice, load, 0.0, 20, 0.7)) == {"fast"}
    choice, load = auto(budget=0.02)
    assert set(chosen(choice, load, 0.0, 20, 7.0)) == {"small"}


def test_a_larger_budget_buys_more() -> None:
    choice, load = auto(budget=0.2)
    assert set(chosen(choice, load, 0.0, 20, 0.07)) == {"fast"}


class Captures:
    """Says how long captures took so far: so long for each block."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.total = 0.0

    def __call__(self) -> float:
        self.total += self.seconds
        return self.total


def efforts_beside(captures: float, beside: float, idle: float) -> set[Effort]:
    """Of blocks of five seconds within a budget of 0.1 s each, of which captures and files take as much."""
    load = FakeLoad(None)
    choice = EffortChoice("auto", 0.02, load=load, captures=Captures(captures))
    return set(chosen(choice, load, idle, 10, 5.0, beside=beside))


@pytest.mark.parametrize(("captures", "beside"), [(0.07, 0.0), (0.0, 0.07), (0.03, 0.04), (0.5, 0.5)])
def test_what_captures_and_files_take_of_the_budget_is_not_there_for_blocks(
    captures: float, beside: float
) -> None:
    assert efforts_beside(captures, beside, idle=0.0) == {"fast"}
    # Alone, a small one has room in it.
    assert efforts_beside(0.0, 0.0, idle=0.0) == {"small"}


@pytest.mark.parametrize(("captures", "beside"), [(0.5, 0.0), (0.0, 4.5), (3.0, 0.9)])
def test_where_cores_are_idle_blocks_are_small_whatever_the_rest_takes(
    captures: float, beside: float
) -> None:
    assert efforts_beside(captures, beside, idle=1.0) == {"small"}


def test_a_writer_that_cannot_keep_up_does_less_although_cores_are_idle() -> None:
    choice, load = auto()
    assert chosen(choice, load, 8.0, 20, 0.03)[-1] == "fast"


def test_it_goes_down_at_once_and_up_one_by_one() -> None:
    choice, load = auto()
    assert chosen(choice, load, 2.0, 5, 0.14)[-1] == "small"
    assert chosen(choice, load, 0.0, 5, 0.14) == ["none"] * 5
    # One good look says little.
    assert chosen(choice, load, 2.0, 2, 0.14) == ["none"] * 2
    assert chosen(choice, load, 0.0, 2, 0.14) == ["none"] * 2
    assert chosen(choice, load, 2.0, 7, 0.14) == ["none"] * 2 + ["fast"] * 3 + ["small"] * 2


def test_without_a_look_at_the_cores_blocks_are_small() -> None:
    choice, load = auto()
    assert chosen(choice, load, None, 3, 0.07) == ["small"] * 3


@pytest.mark.parametrize("effort", EFFORTS)
def test_one_that_was_asked_for_is_kept(effort: Effort) -> None:
    choice = EffortChoice(effort)
    assert chosen(choice, FakeLoad(0.0), 0.0, 5, 0.001) == [effort] * 5
    assert choice.counts[effort] == 5


@settings(max_examples=200)
@given(
    before=st.lists(st.tuples(st.floats(0, 4), st.floats(0.01, 10)), max_size=20),
    idle=st.floats(0, 4),
    seconds=st.floats(0.01, 10),
    budget=st.floats(0, 1),
)
def test_whatever_was_before_it_ends_within_the_budget(
    before: list[tuple[float, float]], idle: float, seconds: float, budget: float
) -> None:
    choice, load = auto(budget)
    for some_idle, some_seconds in before:
        chosen(choice, load, some_idle, 1, some_seconds)
    effort = chosen(choice, load, idle, 12, seconds)[-1]
    cores = COST[effort] / seconds
    # What the writer uses itself is measured where there is that much; a busy core shows no more than that.
    free = max(idle, cores)
    taken = max(cores * (1 - min(free, 1.0)), cores - free)
    assert effort == "none" or taken <= budget + 1e-9
    assert effort == "none" or COST[effort] <= 0.6 * seconds + 1e-9


class Machine:
    """A directory like the root of a file system, in which the kernel's counts are made up."""

    def __init__(self, root: Path, cores: set[int]) -> None:
        self.root = root
        self.now = 100.0
        self.cores = cores
        self.idle = dict.fromkeys(cores, 0.0)
        self.used = 0.0
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text("0::/job\n")
        (root / "proc/self/mountinfo").write_text("35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
        (root / "sys/fs/cgroup/job").mkdir(parents=True)
        self.write()

    def write(self) -> None:
        lines = ["cpu 0 0 0 0 0 0 0 0 0 0"]
        lines += [f"cpu{core} 5 0 5 {int(100 * idle)} 0 0 0 0 0 0" for core, idle in self.idle.items()]
        (self.root / "proc/stat").write_text("\n".join([*lines, "intr 0", "ctxt 1"]) + "\n")
        (self.root / "sys/fs/cgroup/job/cpu.stat").write_text(
            f"usage_usec {int(1e6 * self.used)}\nuser_usec 1\n"
        )

    def passes(self, seconds: float, idle: dict[int, float], used: float = 0.0) -> None:
        self.now += seconds
        self.used += used * seconds
        for core, share in idle.items():
            self.idle[core] += share * seconds
        self.write()


def test_idle_cores_are_those_that_the_process_may_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 2})
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    machine = Machine(tmp_path, {0, 1, 2, 3})
    load = CoreLoad(tmp_path, clock=lambda: machine.now)
    assert load.look() is None, "no time has passed"
    machine.passes(10, {0: 1.0, 1: 0.5, 2: 0.25, 3: 1.0})
    assert load.look() == pytest.approx(0.75)
    machine.passes(0.1, {1: 1.0, 2: 1.0})
    assert load.look() == pytest.approx(0.75), "too short a time to tell"
    machine.passes(0.9, {1: 1.0, 2: 1.0})
    assert 0.75 < (load.look() or 0) < 2.0, "averaged"


def test_idle_cores_are_no_more_than_a_control_group_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    machine = Machine(tmp_path, set(range(8)))
    (tmp_path / "sys/fs/cgroup/job/cpu.max").write_text("200000 100000\n")
    load = CoreLoad(tmp_path, clock=lambda: machine.now)
    assert load.cores == 2
    machine.passes(10, dict.fromkeys(range(8), 0.9), used=1.5)
    assert load.look() == pytest.approx(0.5)
