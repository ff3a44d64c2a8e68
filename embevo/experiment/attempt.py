"""Training one run once, in a process of its own: what whoever works for a sweep is asked to do.

It is the same on a thread of the sweep's own process, on a worker of a Dask cluster and in a job of Slurm. So
that the bits are, too, the process is given its number of threads, and of the variables that decide how
numbers are computed those of the machine where the sweep was started.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Final

from embevo.errors import EmbevoError
from embevo.run.disk.lock import writer_of
from embevo.run.paths import RunPaths
from embevo.run.repair.recovery import has_run, is_on_its_way, recover

_PROGRAM: Final = "from embevo_cli.main import main; main()"
_LIBRARIES: Final = ("embevo", "torch", "transformers", "numpy")
# Of OpenMP, of the libraries that torch computes with, and torch's own that change numbers.
_NUMERIC: Final = (
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
    "DNNL_",
    "ONEDNN_",
    "ATEN_",
    "CUBLAS_",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Slurm's warning before a limit of time, as submitit asks for it, and what tells a process to end.
_TOLD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


@dataclass(frozen=True)
class Order:
    """What is to be trained, in words that mean the same on every machine that sees the directory.

    Attributes:
        path: directory of the run.
        settings: file with its settings.
        log: file to which what the training prints is added.
        session: file that is there as long as the sweep is at work.
        folder: where relative paths in the settings begin.
        threads: of the process.
        numeric: environment of the sweep, as of :func:`numeric_environment`.
        libraries: versions that decide the bits, as of :func:`libraries`.
        python: the interpreter; None for that of whoever takes the order.
        tied: whether the training ends with the process that takes the order.
    """

    path: str
    settings: str
    log: str
    session: str
    folder: str
    threads: int
    numeric: dict[str, str]
    libraries: dict[str, str]
    python: str | None
    tied: bool


@dataclass(frozen=True)
class Ended:
    """How an attempt has ended.

    Attributes:
        host: where it was made.
        code: what the process exited with, negative for the signal that killed it; None if none was begun:
            another process writes the run, or the session is not to be found.
        refused: why nothing can be trained there; empty if that is not so.
        lost: what is known where whoever made it has died; empty if it has not.
        unseen: the file of the session is not there, as when the directory is another one there.
    """

    host: str
    code: int | None = None
    refused: str = ""
    lost: str = ""
    unseen: bool = False


def numeric_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Those variables of an environment that decide how numbers are computed."""
    return {name: value for name, value in environment.items() if name.startswith(_NUMERIC)}


def libraries() -> dict[str, str]:
    """Versions of what decides the bits here; empty for what is not installed."""
    return {name: _version(name) for name in _LIBRARIES}


def attempt(order: Order) -> Ended:
    """Train a run to its end, from where it is, in a process of its own.

    However this call is left, the process has ended, or has been told to and was waited for.
    """
    host = socket.gethostname()
    if found := what_is_wrong(order):
        return found
    paths = RunPaths(order.path)
    if writer_of(paths.lock) is not None:
        return Ended(host)
    if is_on_its_way(paths):
        # Where that fails, the training says why.
        with contextlib.suppress(EmbevoError, OSError):
            recover(paths.root)
    try:
        with Path(order.log).open("ab") as log:
            return Ended(host, _process(order, log, resume=has_run(paths)))
    except PermissionError as error:
        return Ended(host, refused=f"{host} cannot write {order.log}: {error.strerror}")


def _process(order: Order, log: BinaryIO, *, resume: bool) -> int:
    """Train in a process; how that ended."""
    process = subprocess.Popen(
        [
            *(order.python or sys.executable, "-c", _PROGRAM, "train", "--while", order.session),
            *(["--while-process", str(os.getpid())] if order.tied else []),
            *(["--resume", order.path] if resume else ["--config", order.settings, "--out", order.path]),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(order),
        cwd=order.folder if Path(order.folder).is_dir() else None,
        # Slurm signals the whole group of a job's process; the training is told by this one.
        start_new_session=order.tied,
    )
    with _passing_on(process):
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def what_is_wrong(order: Order) -> Ended | None:
    """Why no order of a sweep can be carried out here; None if it can."""
    host = socket.gethostname()
    here = libraries()
    if here != order.libraries:
        differing = [name for name in _LIBRARIES if here[name] != order.libraries[name]]
        there = ", ".join(f"{name} {here[name] or 'missing'}" for name in differing)
        wanted = ", ".join(f"{name} {order.libraries[name]}" for name in differing)
        return Ended(
            host,
            refused=f"{host} has {there}, and the sweep {wanted}: other versions give other bits. Install "
            "the same there, and start the workers again.",
        )
    if not Path(order.session).exists():
        return Ended(host, unseen=True)
    return None


def _environment(order: Order) -> dict[str, str]:
    others = numeric_environment(os.environ)
    return {
        **{name: value for name, value in os.environ.items() if name not in others},
        **order.numeric,
        **dict.fromkeys(_THREADS, str(order.threads)),
    }


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While entered, what tells this process to end tells the training, where this is a job's main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def tell(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is Python's
        process.terminate()

    before = {number: signal.signal(number, tell) for number in _TOLD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
