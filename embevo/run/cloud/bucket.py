"""One prefix of one bucket, through obstore: objects got, made, replaced and listed, errors named."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from embevo.errors import MissingLibraryError, StorageRefusedError
from embevo.run.cloud.address import checked
from embevo.run.cloud.failures import failure, is_no_bucket, is_panic
from embevo.run.cloud.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Of one request. What is larger goes in parts, each a request.
_TIMEOUT: Final = timedelta(minutes=2)
_CONNECT_TIMEOUT: Final = timedelta(seconds=10)
_LARGE_BYTES: Final = 64 << 20
_AT_ONCE: Final = 8
# In which processes obstore was used: its threads do not live on in a forked copy, where asking it hangs.
_USED_IN: Final[set[int]] = set()
T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """An object.

    Attributes:
        data: its bytes.
        tag: names this version of it, for :meth:`Bucket.replace`.
    """

    data: bytes
    tag: str | None


class Bucket:
    """The objects below a URL, by key.

    Attributes:
        url: without a slash at its end, and without anything secret.
        patience: with which every request is made.
    """

    def __init__(self, url: object, patience: Patience | None = None, *, reads_only: bool = False) -> None:
        """Nothing is asked of the network yet; credentials are those that obstore finds around.

        Args:
            url: of the prefix.
            patience: of every request; a minute by default.
            reads_only: whether nothing will be put there; a directory that is missing is not made then.

        Raises:
            ArgumentError: it is no URL of object storage, or carries something secret.
            MissingLibraryError: obstore is not installed.
            StorageRefusedError: it is a directory that is missing, or cannot be made; or obstore takes no
                such URL.
        """
        self.url = checked(url)
        self.patience = patience or Patience(60)
        try:
            import obstore  # noqa: PLC0415 - of embevo[cloud]; most runs need none
            from obstore.store import from_url  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingLibraryError(
                f"{self.url}: object storage needs obstore: pip install 'embevo[cloud]'"
            ) from error
        _check_not_forked(self.url)
        _USED_IN.add(os.getpid())
        self._obstore: Any = obstore
        try:
            if self.url.startswith("file://"):
                self._store: Any = from_url(self.url, mkdir=not reads_only)
            else:
                self._store = from_url(
                    self.url,
                    client_options={
                        "timeout": _TIMEOUT,
                        "connect_timeout": _CONNECT_TIMEOUT,
                        "allow_http": _allows_http(),
                    },
                    # It is asked again here, where that is seen and can be ended.
                    retry_config={"max_retries": 0, "retry_timeout": _TIMEOUT},
                )
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise failure(self.url, error, refused=True) from None

    def get(self, key: str) -> Stored | None:
        """An object; None where there is none."""

        def ask() -> Stored:
            found = self._obstore.get(self._store, key)
            return Stored(bytes(found.bytes()), found.meta["e_tag"])

        return self._asked(ask, absent=None)

    def get_all(self, keys: "Iterable[str]") -> "Iterator[Stored | None]":
        """Objects in the order of their keys, a few of them at a time."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="embevo-storage") as pool:
            yield from pool.map(self.get, keys)

    def create(self, key: str, data: bytes) -> str | None:
        """Make an object where there is none, and return its tag.

        Raises:
            FileExistsError: there is one.
        """
        if len(data) > _LARGE_BYTES and self.get(key) is None:
            # In parts, of which no condition can be made.
            return self._put(key, data, None)
        return self._put(key, data, "create")

    def replace(self, key: str, data: bytes, tag: str | None) -> str | None:
        """Put an object in the place of the version that has a tag, and return the new tag.

        A storage that cannot compare versions, such as a directory, replaces any.

        Raises:
            FileExistsError: another version is there by now.
        """
        if tag is None or self.url.startswith("file://") or len(data) > _LARGE_BYTES:
            return self._put(key, data, None)
        return self._put(key, data, {"e_tag": tag})

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self._asked(lambda: self._obstore.delete(self._store, [key]), absent=None)

    def sizes(self, prefix: str) -> dict[str, int]:
        """The objects below a prefix, and how many bytes each has; a request for a thousand."""

        def ask() -> dict[str, int]:
            listed = self._obstore.list(self._store, prefix=prefix)
            return {str(one["path"]): int(one["size"]) for page in listed for one in page}

        return self._asked(ask, absent=None) or {}

    def _put(self, key: str, data: bytes, mode: Any) -> str | None:
        def ask() -> str | None:
            tag: str | None = self._obstore.put(self._store, key, data, mode=mode)["e_tag"]
            return tag

        return self._asked(ask)

    def _asked(self, ask: Callable[[], T], **absent: T | None) -> T | None:
        """The answer to a request; what is not there is an error unless something stands for it."""
        _check_not_forked(self.url)
        errors = self._obstore.exceptions

        def once() -> T | None:
            try:
                return ask()
            except (errors.AlreadyExistsError, errors.PreconditionError):
                raise FileExistsError from None
            except FileNotFoundError as error:
                if "absent" in absent and not is_no_bucket(error):
                    return absent["absent"]
                raise failure(self.url, error, refused=True) from None
            except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
                raise failure(self.url, error, refused=True) from None
            except (errors.BaseError, OSError, ValueError) as error:
                raise failure(self.url, error) from None
            except BaseException as error:
                if is_panic(error):
                    raise failure(self.url, error) from None
                raise

        return self.patience(once)


def _check_not_forked(url: str) -> None:
    if _USED_IN - {os.getpid()}:
        raise StorageRefusedError(
            f"{url}: a process that was forked from one that has used object storage cannot use it. Start "
            'processes otherwise: multiprocessing.get_context("spawn"), or a DataLoader with '
            'multiprocessing_context="spawn"; or embevo pull the run first, and open it from the disk'
        )


def _allows_http() -> bool:
    """Whether the environment names a place that speaks no TLS, such as a server on the loopback."""
    endpoints = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
    said_so = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    return said_so or any(os.environ.get(name, "").startswith("http://") for name in endpoints)
