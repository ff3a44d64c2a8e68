"""What a run of the experiment will take, worked out from its settings."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from embevo.experiment.arrays import parse_record, recorded_frame
from embevo.experiment.config import ExperimentConfig
from embevo.run.format.token_subset import TokenSubset
from embevo.run.planning import Plan


@lru_cache(64)
def _plan_of(config: ExperimentConfig) -> Plan:
    return plan_of(config)


def plans_of(configs: Iterable[ExperimentConfig]) -> list[Plan]:
    """The plan of each of many runs, worked out once for those that differ in their seed alone."""
    return [_plan_of(replace(config, seed=0)) for config in configs]


def plan_of(config: ExperimentConfig, tokens: TokenSubset | None = None) -> Plan:
    """The plan of a run, at one step a second.

    Args:
        config: of the run.
        tokens: which of them are recorded; all if None.
    """
    frame = recorded_frame(
        parse_record(config.record), (config.vocab_size, config.dim), config.dtype, tokens=tokens
    )
    return Plan.of(
        frame,
        steps=config.steps,
        steps_per_second=1,
        every=config.every,
        schedule=config.steps_to_record() if config.has_schedule else None,
        store=config.store,
        zarr_dtype=config.zarr_dtype,
        effort=config.effort,
    )
