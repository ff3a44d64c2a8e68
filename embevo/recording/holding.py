"""What a recorder holds, the run's lock and its journal, and who lets go of it when."""

import os
import threading
import weakref
from pathlib import Path
from typing import Final, Protocol

from embevo.run.mirroring.mirror import Mirror
from embevo.run.writing.run_writer import RunWriter


class Holding:
    """A run that is being recorded, until it is let go of.

    Attributes:
        root: the run directory.
        error: why a file could not be removed when that was done.
    """

    def __init__(self, run: RunWriter, mirror: Mirror | None = None) -> None:
        """Hold a run that was created or taken up again; its mirror is told when nothing more comes."""
        self.root = run.paths.root
        self.error: OSError | None = None
        self._run = run
        self._mirror = mirror
        self._once = threading.Lock()

    def let_go(self, *, sealed: bool) -> None:
        """Remove the journal, if all of it is sealed, and drop the lock; a second call does nothing."""
        if not self._once.acquire(blocking=False):
            return
        try:
            self._run.let_go(complete=sealed)
        except OSError as error:
            self.error = error
        finally:
            if self._mirror is not None:
                self._mirror.finish()


class Stopped(Protocol):
    """What :func:`end_earlier` waits for."""

    def stop(self) -> None:
        """Seal what there is, and let go of the run."""


class Disown(Protocol):
    """Tells a recorder that it may record no more."""

    def __call__(self, why: str, *, is_replaced: bool) -> None:
        """Say why, and whether another recorder of this process does instead."""


# By the real directory of the run. Weak: a recorder that nobody refers to any more ends by itself.
_open: Final[dict[Path, tuple[weakref.ref[Stopped], weakref.WeakMethod[Disown]]]] = {}


def opened(root: Path, writer: Stopped, disown: Disown) -> None:
    """Note that this process records a run; ``disown`` is called when its recorder may record no more."""
    _open[root] = weakref.ref(writer), weakref.WeakMethod(disown)


def end_earlier(root: Path) -> None:
    """End the recorder of this run that this process has made before, if there is one: its run is sealed.

    A cell of a notebook that failed, or was interrupted, has left it behind; variables and tracebacks may
    keep it alive for as long as the session lasts.
    """
    if root not in _open:
        return
    writer_reference, disown_reference = _open[root]
    writer, disown = writer_reference(), disown_reference()
    if disown is not None:
        why = f"another recorder of this process was made for {root}, which has ended this one"
        disown(why, is_replaced=True)
    if writer is not None:
        writer.stop()
    _open.pop(root, None)


def _disown_inherited() -> None:
    """In a forked child: the recorders are its parent's, and so are their threads."""
    for root, (_, reference) in _open.items():
        disown = reference()
        if disown is not None:
            why = f"the recorder of {root} belongs to process {os.getppid()}; this is a child of it"
            disown(why, is_replaced=False)
    _open.clear()


os.register_at_fork(after_in_child=_disown_inherited)
