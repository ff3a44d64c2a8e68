"""Python processes that begin at once, with torch and embevo imported.

Most of what a test of a real process takes is the import of torch and transformers. One process imports them
once for all tests, and forks a child for each that asks; the child becomes what was asked for: its arguments,
directory, environment and standard streams, and runs it as the main module, to the end of the interpreter. It
is a real process: it dies of real signals, and its pipes close.

What such a process cannot show: what an import does or costs, the encoding of the names of files, options of
the interpreter other than -c, -m, -u and -W. Tests of these start ``sys.executable``, and where there are no
descriptors of processes, as on macOS, all do.
"""

import atexit
import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent


@functools.cache
def interpreter() -> str:
    """The path of a program that is called as ``python`` is, and runs in a fork of the server.

    The process that is started stands for the one that is forked: it has its exit status, and passes SIGINT
    and SIGTERM on to it. If it is killed, that one is.
    """
    if not hasattr(os, "pidfd_open"):
        return sys.executable
    folder = Path(tempfile.mkdtemp(prefix="embevo-"))
    socket, front = folder / "socket", folder / "python"
    serve = "import sys; from support.interpreter_server import serve; exec(serve(sys.argv[1], globals()))"
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(_HERE.parent)]))
    server = subprocess.Popen(
        [sys.executable, "-c", serve, str(socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert server.stdin is not None
    assert server.stdout is not None
    ends = (server.stdin, server.stdout)

    owner = os.getpid()

    def stop() -> None:
        # Not where a child that a test has forked ends as an interpreter does.
        if os.getpid() == owner:
            server.terminate()
            for end in ends:
                end.close()
            server.wait()
            shutil.rmtree(folder)

    atexit.register(stop)
    assert server.stdout.readline() == b"ready\n"
    words = [sys.executable, "-I", "-S", str(_HERE / "interpreter_client.py"), str(socket)]
    front.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    front.chmod(0o700)
    return str(front)
