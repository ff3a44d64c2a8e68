"""Films of a part of a run that the page asks for: one at a time, made by a thread, and told of meanwhile."""

import contextlib
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

from embevo.analysis import analyze
from embevo.errors import ArgumentError, EmbevoError, FilmError
from embevo.viewer.opened import OpenedRun

_FRAMES: Final = 240
_KINDS: Final = {".mp4": "video/mp4", ".gif": "image/gif"}


class _StoppedError(Exception):
    """Nobody wants it any more."""


class Filming:
    """Of one run. The last film is kept until another is asked for."""

    def __init__(self, opened: OpenedRun) -> None:
        """Nothing is filmed yet."""
        self._opened = opened
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted: tuple[int, int, int, int] | None = None
        self._said: dict[str, Any] = {}
        self._film: bytes | None = None
        self._stopping = threading.Event()

    def begin(self, first: int, last: int) -> dict[str, Any]:
        """Begin a film of the steps from one to another; one that is there, or being made, is not begun anew.

        Returns:
            What :meth:`tell` does.

        Raises:
            ArgumentError: there are not two steps between them; or another film is being made.
        """
        steps = self._opened.steps
        if ((steps >= first) & (steps <= last)).sum() < 2:
            raise ArgumentError(f"a film shows two steps or more: from {first:,} to {last:,} are not so many")
        with self._lock:
            known = self._wanted == (first, last, self._opened.recorded_rows, self._opened.rewinds)
            if self._thread is not None and not known:
                raise ArgumentError("another film of this run is being made: cancel that one first")
            if self._thread is None and not (known and self._film is not None):
                self._wanted = (first, last, self._opened.recorded_rows, self._opened.rewinds)
                self._film = None
                self._said = {"doing": "measuring", "done": 0, "all": 0, "failure": "", "file": ""}
                self._stopping.clear()
                self._thread = threading.Thread(
                    target=self._make, args=(first, last), name="embevo-filming", daemon=True
                )
                self._thread.start()
            return dict(self._said)

    def tell(self) -> dict[str, Any]:
        """How far the film is that was begun last.

        Returns:
            ``doing``: what is being done, in words; ``done`` of ``all``; ``failure``: why there will be no
            film; ``file``: the name that it has when it is there, empty until then. Nothing if none was
            begun.
        """
        with self._lock:
            return dict(self._said)

    def film(self, name: str) -> tuple[str, bytes] | None:
        """Media type and bytes of the film of this name, None where it is not there."""
        with self._lock:
            there = self._film is not None and self._said.get("file") == name
            return (_KINDS[Path(name).suffix], self._film) if there and self._film is not None else None

    def stop(self) -> None:
        """Make no further, and wait until the thread has seen it."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _make(self, first: int, last: int) -> None:
        film, suffix, failure = None, "", "the film has ended with an error, printed on the terminal"
        try:
            film, suffix = self._made(first, last)
            failure = ""
        except _StoppedError:
            failure = "cancelled"
        except (EmbevoError, OSError) as error:
            failure = str(error)
        finally:
            with self._lock:
                self._thread = None
                self._film = film
                self._said |= {"failure": failure, "file": "" if film is None else f"{first}-{last}{suffix}"}

    def _made(self, first: int, last: int) -> tuple[bytes, str]:
        # What draws takes a second to load.
        from embevo.analysis.film.animation import animate  # noqa: PLC0415
        from embevo.analysis.film.encoding import find_ffmpeg  # noqa: PLC0415

        analysis = analyze(self._opened.path, matrix=self._opened.matrix, on_rows=self._on("measuring"))
        suffix = ".gif"
        with contextlib.suppress(FilmError):
            find_ffmpeg()
            suffix = ".mp4"
        with tempfile.TemporaryDirectory(prefix="embevo-film-") as folder:
            out = Path(folder) / f"film{suffix}"
            animate(
                analysis, out, frames=_FRAMES, between=(first, last), labels=True,
                on_frame=self._on("drawing"),
            )  # fmt: skip
            return out.read_bytes(), suffix

    def _on(self, doing: str) -> Any:
        def told(done: int, of: int) -> None:
            if self._stopping.is_set():
                raise _StoppedError
            with self._lock:
                self._said |= {"doing": doing, "done": done, "all": of}

        return told
