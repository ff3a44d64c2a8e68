"""Asking again: exponential pauses with jitter, for as long as it takes or as one is willing to wait."""

import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from embevo.errors import StorageError, StorageRefusedError

_FIRST_SECONDS: Final = 0.25
_LONGEST_SECONDS: Final = 30.0
# Not one generator for all: those that failed at the same time would ask again at the same time.
_RANDOM: Final = random.SystemRandom()
T = TypeVar("T")


class Patience:
    """How failures of the storage are borne.

    Attributes:
        retries: how often something was asked for again.
        last_error: why the last request failed; empty once one has succeeded since.
        ended: set when nobody wants to wait any longer: nothing more is asked.
        deadline: by ``time.monotonic()``, after which it is the same; None if there is none.
    """

    def __init__(self, seconds: float | None = None, *, first: float = _FIRST_SECONDS) -> None:
        """Bear failures for so many seconds in a row.

        Args:
            seconds: after which a failure is raised; None to go on for ever, refusals included, as
                credentials may be renewed and buckets made.
            first: the first pause; each is twice as long as the one before, up to half a minute.
        """
        self.retries = 0
        self.last_error = ""
        self.ended = threading.Event()
        self.deadline: float | None = None
        self._seconds = seconds
        self._first = first

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any longer."""
        return self.ended.is_set() or (self.deadline is not None and time.monotonic() >= self.deadline)

    def __call__(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer.

        Raises:
            StorageError: there was none for too long, or nobody waits any longer.
            StorageRefusedError: the storage refuses, and waiting has an end.
        """
        pause, since = self._first, time.monotonic()
        while True:
            if self.is_over:
                raise StorageError(self.last_error or "it was not waited for any longer")
            try:
                answer = ask()
            except StorageError as error:
                self.last_error = str(error)
                if self._seconds is not None and (
                    isinstance(error, StorageRefusedError) or time.monotonic() - since >= self._seconds
                ):
                    raise
                if self.deadline is not None:
                    pause = min(pause, max(0.0, self.deadline - time.monotonic()))
                self.ended.wait(pause * _RANDOM.uniform(0.5, 1))
                self.retries += 1
                pause = min(2 * pause, _LONGEST_SECONDS)
            else:
                self.last_error = ""
                return answer
