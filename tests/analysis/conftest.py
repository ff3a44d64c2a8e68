"""Runs that several files of tests measure."""

from pathlib import Path

import pytest

from support import clouds, trajectories


@pytest.fixture(scope="session")
def field_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of :func:`support.clouds.moving`."""
    return trajectories.record(
        tmp_path_factory.mktemp("field") / "run", clouds.moving(), dead=clouds.DEAD, block_steps=16
    )
