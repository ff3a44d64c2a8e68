"""A server that speaks S3, one for all tests, and a proxy before it, one for each."""

import http.client
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faulty_proxy import FaultyProxy

SECRET = "a-secret-that-nobody-may-see-4711"
_BUCKETS = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    script = Path(__file__).parent.parent / "support" / "s3_server.py"
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        port = int(next(line for line in lines if line.strip().isdigit()))
        yield port
        process.stdin.close()
        process.wait(30)


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
