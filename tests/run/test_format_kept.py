"""Runs that earlier versions wrote are read by this one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from support import encoded

FIXTURES = Path(__file__).parent.parent / "fixtures"
STEPS = encoded.steps_of(11, every=2)


@pytest.mark.parametrize("name", ["format-1", "format-1-interrupted"])
def test_a_run_of_format_1_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copytree(FIXTURES / name, path)
    matrices = encoded.matrices(STEPS, (5, 3), "bfloat16")
    for _ in range(2):
        run = open_run(path)
        assert run.steps.tolist() == STEPS.tolist()
        assert run["loss"][:].tolist() == [encoded.loss_of(step) for step in STEPS.tolist()]
        assert encoded.same_bits(run["embeddings"][:], encoded.widened(matrices))
        assert [image.tobytes()[-30:] for _, image in run.images(range(11))] == [
            matrix.tobytes() for matrix in matrices
        ]
        assert run.tokens is not None
        assert np.array_equal(run.tokens.count, np.arange(5))
        assert verify(path, deep=True).ok
        recover(path)
    assert not (path / "journal").exists()
