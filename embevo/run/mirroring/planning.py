"""What sending a recording to object storage takes, worked out before it begins."""

from dataclasses import dataclass
from typing import Self

from embevo.run.format.layout import Layout, ZarrDtype, files_of_block
from embevo.run.planning import Plan


@dataclass(frozen=True)
class MirrorPlan:
    """What is asked of the storage and of the network.

    Attributes:
        block_requests: for each block: its files, the metadata of each array and of the group, a piece of the
            manifest, and a look at who sends; all but the last write.
        requests: in all, at most.
        sent_bytes: in all, at most.
        rate: bytes a second with which the network keeps up.
    """

    block_requests: int
    requests: int
    sent_bytes: int
    rate: float

    @classmethod
    def of(cls, plan: Plan, zarr_dtype: ZarrDtype) -> Self:
        """Work it out for a recording."""
        layout = Layout.new(
            plan.frame,
            block_steps=plan.block_steps,
            store=plan.store,
            zarr_dtype=zarr_dtype,
            has_token_count=True,
            attributes={},
        )
        alone = plan.store == "safetensors"
        each = sum(1 for _ in files_of_block(layout, 0)) + len(layout.arrays) + 3
        each += plan.block_steps if alone else 0
        sent = plan.snapshot_bytes if alone else plan.zarr_bytes[1]
        seconds = plan.rows * plan.every / plan.steps_per_second
        return cls(each, -(-plan.rows // plan.block_steps) * each, sent, sent / seconds)
