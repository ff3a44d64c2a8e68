"""Who trains the runs of a sweep: processes of this machine, or those of another module."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from embevo.run.limits import available_cores


@dataclass(frozen=True)
class Workers:
    """Who train runs.

    Attributes:
        name: of them together, for messages.
        executor: has each attempt made; what it submits can be cancelled as long as it is queued.
        at_once: how many attempts it can make at once now.
        threads: that a training has by default.
        python: the interpreter of a training; None for that of whoever makes the attempt.
        tied: whether a training ends with whoever makes the attempt.
        died: what is raised of an attempt whose maker has died.
    """

    name: str
    executor: Executor
    at_once: Callable[[], int]
    threads: int
    python: str | None = None
    tied: bool = True
    died: tuple[type[Exception], ...] = field(default=())


@contextmanager
def local_workers(jobs: int) -> Iterator[Workers]:
    """Processes of this machine, as many at once as there are jobs, with the cores divided among them."""
    with ThreadPoolExecutor(jobs, "embevo-sweep") as executor:
        yield Workers(
            "this machine",
            executor,
            lambda: jobs,
            max(1, int(available_cores().amount) // jobs),
            tied=False,
        )
