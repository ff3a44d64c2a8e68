"""The rig, and the counts that are shown at the end."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faults.rig import COUNTS, Rig

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    found = Rig(tmp_path_factory.mktemp("rig"), servers=2)
    yield found
    found.close()


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is such a place: what recover syncs, it would otherwise wait for."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("faults")
        return
    path = Path(tempfile.mkdtemp(dir=MEMORY))
    yield path
    shutil.rmtree(path)


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    if COUNTS:
        terminalreporter.section("faults injected")
        for what, number in sorted(COUNTS.items()):
            terminalreporter.write_line(f"{number:>9,} {what}")
    if "EMBEVO_FAULTS_COUNTS" in os.environ:
        skipped = [report.nodeid for report in terminalreporter.stats.get("skipped", [])]
        found = {"exit": int(exitstatus), "counts": COUNTS, "skipped": skipped}
        Path(os.environ["EMBEVO_FAULTS_COUNTS"]).write_text(json.dumps(found))
