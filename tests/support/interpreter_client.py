"""The front of a Python process that a server forks; see ``support.interpreters``.

``python -I -S interpreter_client.py SOCKET ARGUMENTS`` has the server run ``python ARGUMENTS`` in the
directory, with the environment and with the standard streams of this process, and ends as that ends.
"""

import json
import os
import signal
import socket
import sys

FORWARDED = {signal.SIGINT, signal.SIGTERM}


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def main() -> None:
    numbers = [number for number in range(3) if is_open(number)]
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    server = socket.socket(socket.AF_UNIX)
    server.connect(sys.argv[1])
    request = {
        "arguments": sys.argv[2:],
        "directory": os.getcwd(),  # noqa: PTH109 - pathlib takes long to import
        "environment": dict(os.environ),
        "numbers": numbers,
    }
    socket.send_fds(server, [b"\n"], numbers)
    server.sendall(json.dumps(request).encode() + b"\n")
    answers = server.makefile()
    pid = int(answers.readline())
    for number in FORWARDED:
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    # Nothing comes where the server has died, and that is an error.
    code = os.waitstatus_to_exitcode(int(answers.readline()))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
