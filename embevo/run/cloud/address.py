"""The URL of a place in object storage: which there are, and that none carries a secret."""

import re
from typing import Final
from urllib.parse import urlsplit

from embevo.errors import ArgumentError

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCHEMES: Final = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "https", "http", "file")
# There the part before the @ is a container.
_CONTAINER_FIRST: Final = ("abfs", "abfss")


def is_url(path: object) -> bool:
    """Whether what was given for a path is a URL."""
    return isinstance(path, str) and _URL.match(path) is not None


def checked(url: object) -> str:
    """A URL that can be written into logs and messages: its scheme in small letters, no slash at its end.

    Raises:
        ArgumentError: it is no URL of object storage, or carries something secret; the message does not.
    """
    if not isinstance(url, str) or not is_url(url):
        shown = url if isinstance(url, str) else type(url).__name__
        raise ArgumentError(f"{shown} is not a URL of object storage, such as s3://bucket/prefix")
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _SCHEMES:
        raise ArgumentError(f"{scheme}:// is none of the kinds of object storage: {', '.join(_SCHEMES)}")
    container = scheme in _CONTAINER_FIRST and ":" not in parts.netloc
    if parts.query or parts.fragment or ("@" in parts.netloc and not container):
        raise ArgumentError(
            f"the {scheme}:// URL carries a user, a query or a signature, which would end up in logs. Give "
            "the bucket and the prefix alone; credentials are taken from the environment, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the machine's role"
        )
    if scheme == "file" and parts.netloc:
        raise ArgumentError(
            f"{url} is no absolute path, which a file:// URL has behind its two slashes: file:///data/runs/mine"
        )
    if not parts.netloc and scheme != "file":
        raise ArgumentError(f"{url} names no bucket: s3://bucket/prefix does")
    if not parts.path.strip("/"):
        raise ArgumentError(f"{url} names a whole bucket: give each run a prefix of its own, {url}/runs/mine")
    if "//" in parts.path or ".." in parts.path.split("/"):
        raise ArgumentError(f"{url} has an empty part or .. in it, and object storage knows no such keys")
    return f"{scheme}{url[len(scheme) :].rstrip('/')}"
