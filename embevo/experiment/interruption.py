"""Stopping between two steps when the user or the system asks for it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """While entered, SIGINT and SIGTERM only leave a note; the loop looks at it between steps.

    A second Ctrl-C changes nothing: what was captured is being sealed by then. A signal that the process was
    started to ignore, as shells do with SIGINT for a command in the background, stays ignored.

    Attributes:
        signal: number of the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number

    def __enter__(self) -> Self:
        # Only the main thread may set handlers; elsewhere whoever owns the process decides.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
