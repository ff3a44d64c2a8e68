"""What holds for every test."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported: its OpenMP threads would spin while they wait, and starve the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Tests interrupt themselves and processes that they start; a shell that runs them in the background has them
# ignore that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The time an example takes depends on what else the machine does; no test asserts it.
settings.register_profile("embevo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("embevo")


@pytest.fixture(autouse=True)
def _no_writer_goes_on() -> Iterator[None]:
    """A recorder that a test leaves open would run in the tests after it, through what they patch."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("embevo-")]
    assert left == [], "a recorder was not closed"
