"""An S3-speaking server on the loopback in a process of its own: ``python s3_server.py moto|localbucket``.

It prints its port, and ends when its standard input does.
"""

import logging
import sys
import tempfile
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread


def moto() -> None:
    """One that keeps objects in memory and knows of every condition."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


def localbucket() -> None:
    """One that keeps them as files, makes one only where there is none, and replaces any."""
    from localbucket import S3Handler

    with tempfile.TemporaryDirectory() as directory:
        S3Handler.data_root = Path(directory)
        server = ThreadingHTTPServer(("127.0.0.1", 0), S3Handler)
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    {"moto": moto, "localbucket": localbucket}[sys.argv[1]]()
