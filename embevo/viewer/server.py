"""The server of the page, on the loopback only: whoever has the address with its token may read, and no more.

A page of another site could have a browser send requests to the loopback, and a name of its own could be made
to mean it (DNS rebinding): so the Host header must be the loopback's, an Origin ours, and every address begin
with the token. Nothing can be changed through it.
"""

import contextlib
import hmac
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from embevo.errors import ArgumentError, EmbevoError
from embevo.viewer.site import NotFoundError, Site

_HOST: Final = "127.0.0.1"
_NAMES: Final = ("127.0.0.1", "localhost")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TOKEN_BYTES: Final = 24


class Viewer:
    """A server that is listening.

    Attributes:
        url: of the page, with its token.
        port: that it listens on.
    """

    def __init__(self, site: Site, port: int = 0) -> None:
        """Listen on a port of the loopback; 0 takes a free one.

        Raises:
            ArgumentError: the port is taken, or may not be used.
        """
        self._site = site
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        try:
            self._server = _Server((_HOST, port), _handler(site, self._token))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ArgumentError(
                f"port {port} of {_HOST} cannot be listened on: {reason}. Without --port a free one is taken."
            ) from error
        self.port = int(self._server.server_address[1])
        self.url = f"http://{_HOST}:{self.port}/{self._token}/"

    def serve(self) -> None:
        """Answer until :meth:`stop` is called by another thread, or an interrupt comes."""
        try:
            self._server.serve_forever(poll_interval=0.1)
        finally:
            self._server.server_close()
            self._site.close()

    def stop(self) -> None:
        """Have :meth:`serve` return."""
        self._server.shutdown()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Answer in a thread of its own for as long as this is entered; gives the address."""
        thread = threading.Thread(target=self.serve, name="embevo-viewer", daemon=True)
        thread.start()
        try:
            yield self.url
        finally:
            self.stop()
            thread.join()


class _Server(ThreadingHTTPServer):
    """Knows its open connections: browsers keep them, and would be answered by a server that has ended."""

    daemon_threads = False
    # A second server must not listen on the port of a first one unnoticed.
    allow_reuse_port = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Close the connections, and wait for the threads that answered them."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the midst of an answer is nothing to be told of."""


def _handler(site: Site, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "embevo"
        sys_version = ""
        # Headers and body are two packets: the second must not wait until the first is acknowledged.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            """Answer a request."""
            self._answer(body=True)

        def do_HEAD(self) -> None:
            """Answer with the headers alone."""
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            status, kind, data = self._found()
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                for name, value in (
                    ("Content-Type", kind),
                    ("Content-Length", str(len(data))),
                    ("Content-Security-Policy", _POLICY),
                    ("X-Content-Type-Options", "nosniff"),
                    ("Referrer-Policy", "no-referrer"),
                    ("Cross-Origin-Resource-Policy", "same-origin"),
                    ("Cross-Origin-Opener-Policy", "same-origin"),
                    ("Cache-Control", "no-store"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data)

        def _found(self) -> tuple[HTTPStatus, str, bytes]:
            plain = "text/plain; charset=utf-8"
            refused = self._refusal()
            if refused:
                return HTTPStatus.FORBIDDEN, plain, refused.encode()
            address = self.path.split("?", 1)[0].split("#", 1)[0][len(token) + 2 :]
            try:
                found = site.get(address)
            except NotFoundError as error:
                return HTTPStatus.NOT_FOUND, plain, str(error).encode()
            except ArgumentError as error:
                return HTTPStatus.BAD_REQUEST, plain, str(error).encode()
            except (EmbevoError, OSError) as error:
                return HTTPStatus.INTERNAL_SERVER_ERROR, plain, str(error).encode()
            return HTTPStatus.OK, found.kind, found.data

        def _refusal(self) -> str:
            """Why a request is not answered; empty if it is."""
            ours = {f"{name}:{self.connection.getsockname()[1]}" for name in _NAMES}
            host = self.headers.get("Host", "")
            if host not in ours:
                return "This page is for the machine that it is served on: its address begins with 127.0.0.1."
            origin = self.headers.get("Origin")
            if origin is not None and origin not in {f"http://{name}" for name in ours}:
                return "This page answers no other site."
            given = self.path.split("/", 2)
            if len(given) < 3 or not hmac.compare_digest(given[1].encode(), token.encode()):
                return "The address has no valid token: use the one that embevo view has printed."
            return ""

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing is printed of single requests."""

    return Handler
