"""What a failed request means: whether asking again can help, and what to do, with nothing secret in it."""

import os
import re
from typing import Final

from embevo.errors import StorageError, StorageRefusedError

_QUERY: Final = re.compile(r"\?[^\s\"'<>]*")
_USER: Final = re.compile(r"//[^/\s@]*@")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_STATUS: Final = re.compile(r"status code: (4\d\d)")
_SECRET_NAME: Final = re.compile(r"SECRET|TOKEN|PASSWORD|KEY|SAS|CREDENTIAL", re.IGNORECASE)
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
# Too slow, in conflict with another request, too many of them: these pass.
_PASSING: Final = ("408", "409", "423", "425", "429")
# What to do, by words that are in an error; the first row that has one of them decides.
_ADVICE: Final = (
    (_NO_BUCKET, "Make the bucket, or correct the URL; AWS_ENDPOINT_URL names another service than Amazon's"),
    (
        ("169.254.", "metadata.google", "Missing AccessKeyId", "Missing SecretAccessKey"),
        (
            "The environment has no credentials, or half of them, and the machine's role gives none: set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what the service takes (files such as "
            "~/.aws/credentials are not read)"
        ),
    ),
    (("ExpiredToken", "TokenRefreshRequired"), "The credentials have expired: renew them"),
    (("RequestTimeTooSkewed",), "This machine's clock is wrong: set it"),
    (
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"),
        "The bucket is in another region: set AWS_REGION to its own",
    ),
    (
        ("status code: 401", "status code: 403", "necessary privileges", "InvalidToken"),
        "See that the credentials in the environment are right, and that they may list, read and write there",
    ),
    (
        ("PanicException", "InvalidUri", "relative URL"),
        (
            "See that AWS_ENDPOINT_URL is like https://host:port, and that no credential in the environment "
            "has a line break in it"
        ),
    ),
)


def is_no_bucket(error: BaseException) -> bool:
    """Whether it is not one object that is missing, but all of the place."""
    return any(words in str(error) for words in _NO_BUCKET)


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust has given up on what it was given; that is no :class:`Exception`."""
    return type(error).__name__ == "PanicException"


def failure(url: str, error: BaseException, *, refused: bool = False) -> StorageError:
    """What is raised for an error of a request.

    Args:
        url: of the place.
        error: of the library that asks.
        refused: whether it is known that asking again does not help.
    """
    whole = str(error)
    status = _STATUS.search(whole)
    refused = refused or is_panic(error) or (status is not None and status[1] not in _PASSING)
    text = said(error)
    known = f"{type(error).__name__} {whole}"
    advice = next((what for words, what in _ADVICE if any(word in known for word in words)), "")
    kind = StorageRefusedError if refused else StorageError
    return kind(f"{url}: {text}. {advice}." if advice else f"{url}: {text}")


def said(error: BaseException) -> str:
    """What a library says of an error, on a line, with nothing in it that is secret."""
    whole = str(error)
    text = whole.partition("\n")[0].partition("<")[0].strip(" :.")
    code = _CODE.search(whole)
    if code:
        text = f"{text}: {code[1]}"
    text = _USER.sub("//", _QUERY.sub("", text))
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return text
