"""What sending a recording to object storage takes, worked out before it begins."""

from dataclasses import dataclass
from math import prod
from typing import Self

from embevo.run.format.layout import Layout, ZarrDtype, files_by_array
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
    def of(cls, plan: Plan, zarr_dtype: ZarrDtype, *, ranks: int = 1) -> Self:
        """Work it out for a recording, or for one by so many processes, of which one sends what all seal.

        Args:
            plan: of the recording; of the process with the largest piece, where several record.
            zarr_dtype: of 16-bit arrays.
            ranks: the processes.
        """
        layout = Layout.new(
            plan.frame,
            block_steps=plan.block_steps,
            store=plan.store,
            zarr_dtype=zarr_dtype,
            has_token_count=True,
            attributes={},
        )
        alone = plan.store == "safetensors"
        files = {name: prod(counts) for name, counts in files_by_array(layout).items()}
        pieces = sum(files[name] for name in layout.matrices)
        # Steps and scalars are those of one process.
        each = ranks * pieces + sum(files.values()) - pieces + len(layout.arrays) + 3
        each += plan.block_steps if alone else 0
        sent = plan.snapshot_bytes if alone else ranks * plan.zarr_bytes[1]
        seconds = plan.rows * plan.every / plan.steps_per_second
        return cls(each, -(-plan.rows // plan.block_steps) * each, sent, sent / seconds)
