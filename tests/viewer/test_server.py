"""Who is answered by the server, and who is not."""

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from embevo.errors import ArgumentError
from embevo.viewer.server import Viewer
from embevo.viewer.site import Site


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with Viewer(site).serving() as address:
        yield address


def ask(
    url: str, path: str | None = None, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=20)) as connection:
        connection.putrequest(method, parts.path if path is None else path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_the_page_comes_with_a_policy_that_allows_nothing_else(url: str) -> None:
    status, headers, body = ask(url)
    assert (status, b"<!doctype html>" in body[:40]) == (200, True)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_host_is_refused(url: str, host: str) -> None:
    assert ask(url, Host=host)[0] == 403


def test_localhost_is_this_machine(url: str) -> None:
    assert ask(url, Host=f"localhost:{urlsplit(url).port}")[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_origin_is_refused(url: str, origin: str) -> None:
    assert ask(url, Origin=origin)[0] == 403


@pytest.mark.parametrize("path", ["/", "/index.html", "/wrong/", "/data/index.json", "//data/index.json"])
def test_without_the_token_there_is_nothing(url: str, path: str) -> None:
    assert ask(url, path)[0] == 403


@pytest.mark.parametrize(
    "rest", ["../../etc/passwd", "%2e%2e/site.py", "data/0/../../x", "data/7/run.json", "site.py"]
)
def test_what_is_not_there_is_not_found(url: str, rest: str) -> None:
    assert ask(url, urlsplit(url).path + rest)[0] == 404


def test_nothing_can_be_changed_through_it(url: str) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert ask(url, method=method)[0] == 501


def test_a_head_has_no_body(url: str) -> None:
    status, headers, body = ask(url, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_a_port_that_is_taken_is_named(site: Site) -> None:
    first = Viewer(site)
    with first.serving(), pytest.raises(ArgumentError, match=str(first.port)):
        Viewer(site, first.port)


def test_each_server_has_a_token_of_its_own(site: Site) -> None:
    viewers = [Viewer(site), Viewer(site)]
    for viewer in viewers:
        with viewer.serving():
            pass
    assert len({urlsplit(viewer.url).path for viewer in viewers}) == 2
