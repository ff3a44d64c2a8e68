"""kill -9 at any instant: every captured step is there, bit-exact, once, in order."""

import random

import pytest

from support.faults.oracle import Plan
from support.faults.rig import CREATED, STARTED, Rig, count, quick_or_full, random_kill

CHUNK = 50


def random_plan(rng: random.Random, store: str) -> Plan:
    """Mostly of drawn arrays, chosen tokens and schedules; at times a matrix, and a run of format 1."""
    block_steps = rng.choice([1, 4, 16, 64])
    drawn = rng.choice([-1, rng.randrange(10_000), rng.randrange(10_000)])
    return Plan(
        seed=rng.randrange(1000),
        shape=rng.choice([(1, 1), (6, 5), (32, 16)]),
        drawn=drawn,
        dtype=rng.choice(["float32", "bfloat16", "float16", "float64"]),
        store=store,
        zarr_dtype=rng.choice(["float32", "native"]),
        block_steps=block_steps,
        steps=rng.randrange(1, 6 * block_steps + 10),
        every=rng.choice([1, 10]),
        scheduled=rng.choice(["", "every", "list"]) if drawn >= 0 else "",
        flush_at=tuple(rng.sample(range(1, 60), rng.choice([0, 0, 2]))),
        pace=rng.choice([0.0, 0.0, 0.0005]),
        durability=rng.choice(["process", "process", "process", "power"]),
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("store", ["both", "zarr", "safetensors"])
@pytest.mark.parametrize("seed", range(quick_or_full(1, 7)))
def test_killed_at_random(rig: Rig, store: str, seed: int) -> None:
    rng = random.Random(f"{store} {seed}")
    kills = quick_or_full(14, CHUNK)
    requests = []
    for _ in range(kills):
        plan = random_plan(rng, store)
        kill = random_kill(rng, plan)
        path = rig.path(in_memory=rng.random() < 0.7)
        # What a creation has left behind is where recording over it could fail.
        over = kill["phase"] == STARTED or rng.random() < 0.2
        then = ["check", *(["record over"] if over else [])]
        # In every third run the ring lies in a directory of its own.
        elsewhere = str(rig.path(in_memory=rng.random() < 0.5)) if rng.random() < 0.34 else None
        options = {"kill": kill, "journal_dir": elsewhere}
        request = {"path": path, "options": options, "then": then}
        requests.append((plan, request))
    for (plan, request), outcome in rig.ask_all(requests):
        assert outcome["found"].startswith("ok: "), f"{plan} {request} {outcome['found']}"
        assert not outcome.get("recorded_over"), f"{plan} {request} {outcome['recorded_over']}"
        assert not outcome["hung"]
        if outcome["killed"]:
            count("processes killed at random instants")
            count("captured steps checked after a kill", outcome["captured"])


@pytest.mark.parametrize(
    ("control", "block_steps"), [("commit word before payload", 64), ("metadata before chunks", 4)]
)
def test_the_rig_notices_a_wrong_order(rig: Rig, control: str, block_steps: int) -> None:
    """Controls: with these orders steps are lost, and the rig must say so."""
    rng = random.Random(control)
    requests = []
    for number in range(10):
        # A matrix, and arrays of any kind.
        drawn = -1 if number % 2 else rng.randrange(1000)
        plan = Plan(block_steps=block_steps, steps=60, control=control, drawn=drawn)
        kill = {"phase": CREATED, "captured": rng.randrange(5, 55), "delay": rng.uniform(0, 0.15)}
        requests.append((plan, {"options": {"kill": kill}, "then": ["check"]}))
    found = [outcome["found"] for _, outcome in rig.ask_all(requests)]
    noticed = ["AssertionError" in word or "DamagedError" in word for word in found]
    assert sum(noticed) >= 2
    count(f"kills with the {control} in which the rig noticed a loss", sum(noticed))


def test_without_a_fault_the_rig_finds_none(rig: Rig) -> None:
    for drawn, store in enumerate(("both", "zarr", "safetensors")):
        plan = Plan(store=store, steps=23, drawn=drawn, scheduled="list")
        outcome = rig.ask(plan, then=["check"])
        assert outcome["found"] == "ok: exact", outcome
        assert (outcome["captured"], outcome["exit"], outcome["phase"]) == (23, 0, 4)
