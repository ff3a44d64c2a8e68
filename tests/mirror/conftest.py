"""Servers that speak S3, for all tests, and a proxy before one of them, one for each."""

import contextlib
import http.client
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.faulty_proxy import FaultyProxy

SECRET = "a-secret-that-nobody-may-see-4711"
_BUCKETS = itertools.count()


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], int]]:
    """The port of a server by its name, each started when it is first asked for."""
    script = Path(__file__).parent.parent / "support" / "s3_server.py"
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as running:

        def start(name: str) -> int:
            process = running.enter_context(
                subprocess.Popen(
                    [sys.executable, str(script), name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=None if name == "moto" else subprocess.DEVNULL,
                    text=True,
                )
            )
            assert process.stdin is not None
            assert process.stdout is not None
            running.callback(process.stdin.close)
            return int(next(line for line in iter(process.stdout.readline, "") if line.strip().isdigit()))

        def port(name: str) -> int:
            if name not in ports:
                ports[name] = start(name)
            return ports[name]

        yield port


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Callable[[str], int]) -> int:
    """The port of moto's server, or of the one that a test names."""
    name = getattr(request, "param", "moto")
    pytest.importorskip(name)
    return servers(name)


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    yield proxy
    proxy.close()


@pytest.fixture
def url(server: int, proxy: FaultyProxy) -> str:
    """A prefix of a new bucket behind the proxy."""
    name = f"bucket-{next(_BUCKETS)}"
    connection = http.client.HTTPConnection("127.0.0.1", server, timeout=30)
    connection.request("PUT", f"/{name}")
    assert connection.getresponse().status == 200
    connection.close()
    return f"s3://{name}/run"
