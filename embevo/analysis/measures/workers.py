"""Other threads, for what comes when all rows of a run were seen."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Self, TypeVar

_Result = TypeVar("_Result")


class Workers:
    """Threads beside the one that hands out work, which does itself what finds them all busy.

    So no more is waiting than there are threads, however much each piece of work holds in memory. It is done
    in the caller's context: what numpy makes of numbers that are none is the same on every thread.
    """

    def __init__(self, jobs: int) -> None:
        """Make threads.

        Args:
            jobs: how many threads there are with this one.
        """
        self._busy: list[Future[Any]] = []
        self._most = 2 * (jobs - 1)
        self._threads = ThreadPoolExecutor(jobs - 1, "embevo-finish") if jobs > 1 else None

    def submit(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Do something at once, or let a thread do it soon. What it raises comes with its result."""
        self._busy = [one for one in self._busy if not one.done()]
        if self._threads is not None and len(self._busy) < self._most:
            found = self._threads.submit(copy_context().run, work)
            self._busy.append(found)
            return found
        done: Future[_Result] = Future()
        done.set_result(work())
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
