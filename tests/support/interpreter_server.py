"""A process that has imported what takes long, and forks one that is as if newly begun for each that asks.

See ``support.interpreters``.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, TextIO

import torch

IMPORTED = (
    "embevo.analysis",
    "embevo.experiment.record",
    "embevo.recording.recorder",
    "embevo.recording.adapters.trainer_callback",
    "embevo_cli.main",
    "embevo_cli.train",
    "transformers.models.gpt2.modeling_gpt2",
    "torch.distributed.launcher.api",
)


@dataclass
class Request:
    """What a process is to be: its arguments, directory, environment, and standard streams that are open."""

    arguments: list[str]
    directory: str
    environment: dict[str, str]
    numbers: list[int]


class Server:
    """Answers one client after the other, and never waits for any."""

    def __init__(self, address: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        # Whoever has started this server has its other end, and lets go of it at the latest when it dies.
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def forked(self) -> tuple[Request, list[int]]:
        """Serve; comes back in the processes that are asked for, with the descriptors of their streams."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    os._exit(0)
                elif key.fileobj is not self._listener:
                    self._end(key.data, died=isinstance(key.fileobj, int))
                elif (begun := self._begin()) is not None:
                    return begun

    def _begin(self) -> tuple[Request, list[int]] | None:
        client, _ = self._listener.accept()
        _, descriptors, _, _ = socket.recv_fds(client, 1, 3)
        with client.makefile("rb") as sent:
            line = sent.readline()
        if not line:
            client.close()
            return None
        request = Request(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
                elif isinstance(key.fileobj, int):
                    os.close(key.fileobj)
            self._selector.close()
            client.close()
            return request, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):
            client.sendall(b"%d\n" % pid)
        handle = os.pidfd_open(pid)
        process = (pid, handle, client)
        for end in (handle, client):
            self._selector.register(end, selectors.EVENT_READ, process)
        return None

    def _end(self, process: tuple[int, int, socket.socket], *, died: bool) -> None:
        """A process has died, or who asked for it has: what is left of the two goes."""
        pid, handle, client = process
        known = self._selector.get_map().get(handle)
        if known is None or known.data is not process:
            return
        if not died:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        for end in (handle, client):
            self._selector.unregister(end)
        os.close(handle)
        with client, contextlib.suppress(BrokenPipeError):
            client.sendall(b"%d\n" % status)


def stream(number: int, request: Request, *, unbuffered: bool) -> TextIO | None:
    """A standard stream as Python makes it when it begins."""
    if number not in request.numbers:
        return None
    encoding, _, errors = request.environment.get("PYTHONIOENCODING", "").partition(":")
    buffering = 0 if number and unbuffered else -1
    return io.TextIOWrapper(
        open(number, "wb" if number else "rb", buffering, closefd=False),
        encoding or "utf-8",
        "backslashreplace" if number == 2 else errors or "strict",
        newline="\n" if number else None,
        line_buffering=number == 2 or os.isatty(number),
        write_through=unbuffered,
    )


def become(request: Request, descriptors: list[int]) -> None:
    """Make this process one of the directory, environment and streams that are asked for."""
    os.chdir(request.directory)
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ.clear()
    os.environ.update(request.environment)
    if os.environ.get("OMP_NUM_THREADS") != threads:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    for number in range(3):
        os.close(number)
    for number, descriptor in zip(request.numbers, descriptors, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    unbuffered = request.arguments[0] == "-u" or "PYTHONUNBUFFERED" in os.environ
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        made = stream(number, request, unbuffered=unbuffered)
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def program(arguments: list[str], names: dict[str, Any]) -> CodeType:
    """What ``python ARGUMENTS`` would run in the module ``__main__`` of these names."""
    while arguments[0] in {"-u", "-W"}:
        flag = arguments.pop(0)
        if flag == "-W":
            assert arguments.pop(0) == "error"
            sys.warnoptions.append("error")
            warnings.simplefilter("error")
    first, *rest = arguments
    if first == "-m":
        sys.argv = rest
        source = f"import runpy; runpy._run_module_as_main({rest[0]!r})"
        file, path = "<string>", str(Path.cwd())
    elif first == "-c":
        source, file, path = rest[0], "<string>", ""
        sys.argv = ["-c", *rest[1:]]
    else:
        with io.open_code(first) as script:
            source, file, path = script.read().decode(), first, str(Path(first).parent)
        sys.argv = arguments
        names["__file__"] = str(Path.cwd() / first)
    # The first is the server's.
    sys.path[:1] = [] if "PYTHONSAFEPATH" in os.environ else [path]
    return compile(source, file, "exec", dont_inherit=True)


def serve(address: str, names: dict[str, Any]) -> CodeType:
    """Serve; comes back in the processes that are asked for, with what they are to run in ``__main__``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in IMPORTED:
        importlib.import_module(module)
    # Else the end of every process would go through all that was imported, and copy the pages that it
    # touches.
    gc.collect()
    gc.freeze()
    server = Server(address)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    request, descriptors = server.forked()
    del server
    become(request, descriptors)
    return program(request.arguments, names)
