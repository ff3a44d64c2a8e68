"""A process that is forked for a test does what a Python that has just begun does."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.interpreters import interpreter

IN_A_SHELL = {
    "end": "PYTHON -c 'print(1)'",
    "code": "PYTHON -c 'import sys; sys.exit(3)'",
    "message": "PYTHON -c 'import sys; sys.exit(\"why\")'",
    "exception": "PYTHON -c 'raise ValueError(4)'",
    "warning": "PYTHON -W error -c 'import warnings; warnings.warn(\"no\")'",
    "killed": "PYTHON -c 'import os; os.kill(os.getpid(), 9)'",
    "full disk": "PYTHON -c 'print(1)' > /dev/full",
    "closed pipe": "exec 3> >(exec <&-); wait $!; PYTHON -c 'print(1)' >&3",
    "closed": "PYTHON -c 'import sys; print(sys.stdin, sys.stdout, file=sys.stderr)' >&- <&-",
    "a closed number": 'PYTHON -c \'print(open("file", "w").fileno())\' <&-',
    "input": "echo in | WORD=word PYTHON -c 'import os, sys; print(sys.stdin.read(), os.environ[\"WORD\"])'",
    "arguments": "PYTHON -c 'import sys; print(sys.argv, sys.path[0])' -c 'a b' -u",
    "encoding": "PYTHONIOENCODING=latin-1:replace PYTHON -c 'print(\"\\u00fc\\u2020\")' | od -c",
    "module": "PYTHON -m json.tool --help",
    "script": "echo 'import sys; print(sys.argv, __name__, __file__)' > a.py; PYTHON a.py b",
    "names": "PYTHON -c 'print(__name__, \"__file__\" in globals())'",
    "at the end": "PYTHON -c 'import atexit; atexit.register(print, 2); print(1)'",
    "a thread": "PYTHON -c 'import threading; threading.Timer(0.1, print, [1]).start()'",
    "threads": "OMP_NUM_THREADS=1 PYTHON -c 'import torch; print(torch.get_num_threads())'",
}


@pytest.mark.parametrize("command", IN_A_SHELL.values(), ids=IN_A_SHELL)
def test_in_a_shell_it_is_as_python(tmp_path: Path, command: str) -> None:
    found = []
    for python in (sys.executable, interpreter()):
        line = command.replace("PYTHON ", f"{shlex.quote(python)} ")
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        # Above that, the frames differ.
        found.append((done.returncode, done.stdout, done.stderr.splitlines()[-1:]))
    assert found[0] == found[1]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there is no server here")
def test_signals_reach_it() -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        command = [interpreter(), "-c", program]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) != process.pid
            process.send_signal(number)
            # The pipes end with the last process that has them.
            _, said = process.communicate(timeout=60)
        assert process.returncode == -number
        assert (b"KeyboardInterrupt" in said) == (number == signal.SIGINT)
