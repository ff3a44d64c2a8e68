"""A proxy before an HTTP server that treats requests as it is told, and keeps a record of them."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

# What becomes of a request: passed on; the connection cut before the server has it, or after it has answered,
# the answer being lost; refused as an overloaded server does, or as S3 does where credentials have expired;
# held until it is let go.
Fate = Literal["pass", "cut", "lose", "busy", "expired", "hold"]
REFUSALS = {"busy": (503, "SlowDown"), "expired": (400, "ExpiredToken")}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    conditions: tuple[tuple[str, str], ...]


class FaultyProxy:
    """Decides with :attr:`fate` what becomes of each request; :attr:`requests` are those that it has seen."""

    def __init__(self, port: int) -> None:
        self.fate: Callable[[Request], Fate] = lambda _: "pass"
        self.requests: list[Request] = []
        self.let_go = threading.Event()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                conditions = tuple(
                    (name.lower(), value)
                    for name, value in self.headers.items()
                    if name.lower() in ("if-match", "if-none-match")
                )
                request = Request(self.command, self.path, conditions)
                # Without the lock: a test may look through the proxy at what is there.
                fate = proxy.fate(request)
                with proxy._lock:
                    proxy.requests.append(request)
                if fate == "hold":
                    proxy.let_go.wait(30)
                if fate == "cut":
                    self.close_connection = True
                    return
                if fate in REFUSALS:
                    status, code = REFUSALS[fate]
                    said = f"<Error><Code>{code}</Code></Error>".encode()
                    self.answer(status, [("Content-Type", "application/xml")], said)
                    return
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                try:
                    server.request(self.command, self.path, body, dict(self.headers.items()))
                    found = server.getresponse()
                    data = found.read()
                    if fate == "lose":
                        self.close_connection = True
                        return
                    self.answer(found.status, found.getheaders(), data)
                finally:
                    server.close()

            def answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def puts(self) -> list[str]:
        """The keys that were put, in order, without what is before the run's prefix."""
        return [request.path.split("/", 3)[3] for request in self.requests if request.method == "PUT"]

    def gets(self) -> list[str]:
        """The keys that were got, in order; lists of keys are not among them."""
        paths = [request.path for request in self.requests if request.method == "GET"]
        return [path.split("/", 3)[3] for path in paths if "list-type" not in path]
