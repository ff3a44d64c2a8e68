"""Power cuts: the file system is shut down under the recorder, and nothing that was not synced survives."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from support.faults.disk import Disk, ext4
from support.faults.oracle import Plan
from support.faults.rig import CREATED, STARTED, Rig, count, quick_or_full

# What ext4 does with its own journal: it is written out first, or not.
LOG_FLUSHED, LOG_LOST = 1, 2


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    made = ext4(tmp_path_factory.mktemp("power"), 96)
    yield made
    made.remove()


def plan_of(rng: random.Random, durability: str) -> Plan:
    if rng.random() < 0.15:
        # Too large to be sealed by the training thread.
        return Plan(shape=(600, 512), block_steps=3, steps=20, durability=durability, pace=0.002)
    block_steps = rng.choice([4, 16])
    return Plan(
        seed=rng.randrange(1000),
        shape=rng.choice([(6, 5), (32, 16)]),
        drawn=rng.choice([-1, rng.randrange(1000)]),
        store=rng.choice(["both", "both", "zarr", "safetensors"]),
        block_steps=block_steps,
        steps=10 * block_steps + 3,
        flush_at=tuple(rng.sample(range(1, 60), rng.choice([0, 2]))),
        every=rng.choice([1, 10]),
        durability=durability,
        pace=rng.choice([0.0, 0.002]),
    )


def cut(rig: Rig, disk: Disk, plan: Plan, rng: random.Random) -> tuple[dict[str, Any], str]:
    """Record, cut, mount again, and look; returns what the child had said, and what was found."""
    disk.make()
    path = str(disk.mount / "run")
    moment = {
        "phase": STARTED if rng.random() < 0.1 else CREATED,
        "captured": rng.randrange(plan.steps),
        "delay": rng.uniform(0, 0.05),
        "flags": rng.choice([LOG_FLUSHED, LOG_LOST]),
        "writeback": 0.0 if plan.control else rng.choice([0.0, 0.1, 0.5, 0.9]),
        "created_is_synced": plan.durability == "process" and rng.random() < 0.8,
        "seed": rng.random(),
        "mount": str(disk.mount),
    }
    if moment["phase"] == STARTED:
        moment["captured"] = 0
    outcome = rig.ask(plan, path=path, options={"cut": moment}, remove=False)
    disk.remount()
    seen = {"durable": outcome["durable"], "created": outcome["phase_before"] >= CREATED}
    found = rig.ask(plan, path=path, operation="nothing", then=["cut"], seen=seen)["found"]
    return outcome, found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_cut_never_gives_wrong_numbers_nor_takes_durable_steps(
    rig: Rig, disk: Disk, durability: str
) -> None:
    rng = random.Random(durability)
    for number in range(quick_or_full(3, 30)):
        plan = plan_of(rng, durability)
        outcome, found = cut(rig, disk, plan, rng)
        assert found.startswith("ok: "), f"cut {number}: {plan} {outcome} {found}"
        count(f"power cuts with durability {durability}")
        if durability == "power":
            durable = sum(step <= outcome["durable"] for step in plan.all_steps)
            count("steps that were durable before a cut, all found after it", durable)
        count(f"power cuts with durability {durability} after which no run was there", found == "ok: no run")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("control", ["no fsync", "no sync of the journal"])
def test_the_rig_notices_a_missing_sync(rig: Rig, disk: Disk, control: str) -> None:
    rng = random.Random(control)
    steps = 60 if control == "no fsync" else 12
    plan = Plan(block_steps=16, steps=steps, durability="power", control=control, pace=0.01)
    noticed = 0
    for _ in range(4):
        outcome, found = cut(rig, disk, plan, rng)
        noticed += outcome["durable"] >= 0 and not found.startswith("ok: ")
    assert noticed
    count(f"power cuts with {control} in which the rig noticed a loss", noticed)
