"""`embevo corpus gatsby` against a server on this machine."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from embevo_cli.corpus import corpus

from embevo.errors import CorpusError
from embevo.experiment import corpus as corpus_module
from embevo.experiment import gutenberg
from embevo.experiment.gutenberg import clean, fetch_gatsby

LINE = "So we beat on, boats against the current, borne back ceaselessly \u2014 caf\u00e9.\r\n"
BODY = LINE * 3600
PAGE = (
    "\ufeffThe Project Gutenberg eBook of The Great Gatsby\r\n\r\n"
    "*** START OF THE PROJECT GUTENBERG EBOOK THE GREAT GATSBY ***\r\n\r\n\r\n"
    + BODY
    + "\r\n\r\n*** END OF THE PROJECT GUTENBERG EBOOK THE GREAT GATSBY ***\r\n\r\nlicence\r\n"
).encode()
CLEANED = (LINE.replace("\r\n", "\n").encode("ascii", "ignore")) * 3600

PAGES = {
    "/good.txt": PAGE,
    "/no-start.txt": PAGE.replace(b"*** START", b"*** BEGIN"),
    "/no-end.txt": PAGE[: len(PAGE) // 2],
    "/short.txt": PAGE.replace(BODY.encode(), LINE.encode()),
    "/cut.txt": PAGE,
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = PAGES.get(self.path)
        if page is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page[: len(page) // 3] if self.path == "/cut.txt" else page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_fetch_and_clean(address: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "gatsby.txt"
    assert fetch_gatsby(path, f"{address}/good.txt") == path
    assert path.read_bytes() == CLEANED
    assert [entry.name for entry in path.parent.iterdir()] == ["gatsby.txt"]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("missing.txt", "the server answers 404"),
        ("no-start.txt", "START OF"),
        ("no-end.txt", "END OF"),
        ("short.txt", "bytes between its markers"),
        ("cut.txt", "bytes have come"),
    ],
)
def test_a_failed_fetch_names_the_reason_and_leaves_nothing(
    address: str, tmp_path: Path, page: str, message: str
) -> None:
    with pytest.raises(CorpusError, match=message) as failure:
        fetch_gatsby(tmp_path / "gatsby.txt", f"{address}/{page}")
    assert f"{address}/{page}" in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot fetch"):
        fetch_gatsby(tmp_path / "gatsby.txt", "http://127.0.0.1:9/x.txt")
    with pytest.raises(CorpusError, match="cannot fetch"):
        fetch_gatsby(tmp_path / "gatsby.txt", "nonsense://x")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_fetch_keeps_the_file_that_was_there(address: str, tmp_path: Path) -> None:
    path = tmp_path / "gatsby.txt"
    path.write_bytes(b"before")
    with pytest.raises(CorpusError):
        fetch_gatsby(path, f"{address}/no-end.txt")
    assert path.read_bytes() == b"before"


def test_the_command_says_what_it_fetched(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (corpus_module, gutenberg):
        monkeypatch.setattr(module, "fetched_path", lambda name: tmp_path / f"{name}.txt")
    result = CliRunner().invoke(corpus, ["gatsby", "--url", f"{address}/good.txt"], catch_exceptions=False)
    live = len(set(CLEANED))
    assert f"bytes    {len(CLEANED):,}" in result.output
    assert f"live     {live} of 128 token ids" in result.output
    assert f"dead     {128 - live} of 128 token ids" in result.output
    assert corpus_module.load_corpus("gatsby", 128, 128).sha256 in result.output
    assert "embevo train --corpus gatsby" in result.output


def test_only_the_text_between_the_markers_stays() -> None:
    cleaned = clean(PAGE, "here")
    assert cleaned.isascii()
    assert b"***" not in cleaned
    assert b"\r" not in cleaned
    assert cleaned.endswith(b"caf.\n")
