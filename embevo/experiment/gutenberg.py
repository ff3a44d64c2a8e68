"""The Great Gatsby from Project Gutenberg: the corpus of the notebook, fetched only when asked for."""

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from embevo.errors import CorpusError
from embevo.experiment.corpus import fetched_path, known_corpora
from embevo.run.disk.atomic import write_file

NAME: Final = "gatsby"
_START: Final = re.compile(r"^\*\*\* ?START OF .*\*\*\*[ \t]*$", re.MULTILINE)
_END: Final = re.compile(r"^\*\*\* ?END OF .*\*\*\*[ \t]*$", re.MULTILINE)
# The novel is about 270,000 characters. Far from that, it is another text or not all of it.
_FEWEST: Final = 200_000
_MOST: Final = 400_000
# More than the novel with header and footer: memory stays bounded, whatever the server sends.
_LARGEST_PAGE: Final = 4_000_000
_TIMEOUT_SECONDS: Final = 30


def fetch_gatsby(path: Path | None = None, url: str | None = None) -> Path:
    """Fetch eBook 64317, clean it, and write it whole or not at all.

    Args:
        path: where to write it; by default where ``--corpus gatsby`` looks for it.
        url: where to fetch it from; by default the registry's source.

    Returns:
        The path that was written.

    Raises:
        CorpusError: it cannot be fetched, or is not the text expected; then nothing is written.
    """
    path = path or fetched_path(NAME)
    url = url or known_corpora()[NAME].source
    # No SHA-256 is asked for: Project Gutenberg corrects its texts now and then. The markers, the size and
    # the SHA-256 that every run keeps stand in for it.
    cleaned = clean(_fetch(url), url)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, cleaned, sync=True)
    return path


def _fetch(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise CorpusError(f"cannot fetch {url}: it must begin with http:// or https://")
    request = urllib.request.Request(url, headers={"User-Agent": "embevo"})  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            length = response.length
            data: bytes = response.read(_LARGEST_PAGE)
    except urllib.error.HTTPError as error:
        # It is the answer too, and holds the connection open.
        error.close()
        raise CorpusError(f"cannot fetch {url}: the server answers {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CorpusError(f"cannot fetch {url}: {error}") from error
    if length is not None and len(data) != length:
        raise CorpusError(f"cannot fetch {url}: {len(data):,} of its {length:,} bytes have come. Try again.")
    return data


def clean(raw: bytes, origin: str) -> bytes:
    r"""The ASCII text between Project Gutenberg's markers, lines ending in ``\n``.

    Characters outside ASCII are dropped, not transliterated, as for the notebook's corpus.

    Raises:
        CorpusError: a marker is missing, or the size is not that of the novel.
    """
    text = raw.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    start = _START.search(text)
    if start is None:
        raise CorpusError(f"{origin} has no line '*** START OF ... ***': it is not a Project Gutenberg text.")
    end = _END.search(text, start.end())
    if end is None:
        raise CorpusError(f"{origin} has no line '*** END OF ... ***': it was cut short. Fetch it again.")
    body = text[start.end() : end.start()].strip("\n").encode("ascii", errors="ignore") + b"\n"
    if not _FEWEST <= len(body) <= _MOST:
        raise CorpusError(
            f"{origin} holds {len(body):,} bytes between its markers; the novel has {_FEWEST:,} to {_MOST:,}."
        )
    return body
