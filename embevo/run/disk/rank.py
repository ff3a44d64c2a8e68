"""Which of several processes of one training this is, as torchrun tells them."""

import os


def among_ranks() -> str:
    """A sentence for errors of processes that get in each other's way; empty where there is only one."""
    rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and world.isdecimal() and int(world) > 1):
        return ""
    return (
        f" This process is rank {int(rank)} of {int(world)} of a distributed training: record on one, "
        'where os.environ["RANK"] is "0", or give each rank a directory of its own.'
    )
