"""Who writes to a place in object storage: one run, and of those that send it, the one that came last.

An object names the run and the process that sends it. Whoever comes takes its place by a conditional write,
and looks at it before each block; whoever was there before finds another's name, and stops.
"""

import json
import os
import socket
import uuid
from typing import Any, Final

from embevo.errors import DamagedError, RunExistsError, RunInUseError
from embevo.run.cloud.bucket import Bucket, Stored
from embevo.run.disk.atomic import write_file
from embevo.run.disk.malformed import MALFORMED
from embevo.run.disk.regular_file import read_regular
from embevo.run.paths import RunPaths

WRITER: Final = "writer.json"
_MOST_BYTES: Final = 1 << 16


class Claim:
    """The name of one sender of one run at one place."""

    def __init__(self, bucket: Bucket, run: str) -> None:
        """Of the run with an identity; nothing is written yet."""
        self._bucket = bucket
        self._run = run
        self._id = uuid.uuid4().hex

    def take(self) -> None:
        """Become the one that writes there.

        Raises:
            RunExistsError: another run is there.
            StorageError: the storage does not answer, or refuses.
        """
        mine = {"run": self._run, "write": self._id, "pid": os.getpid(), "host": socket.gethostname()}
        data = json.dumps(mine, indent=2).encode()
        while True:
            there = self._bucket.get(WRITER)
            if there is None:
                check_same(self._bucket, None, self._run)
            elif self._is_mine(there):
                # Made, and the answer was lost.
                return
            else:
                check_same(self._bucket, there, self._run)
            try:
                if there is None:
                    self._bucket.create(WRITER, data)
                else:
                    self._bucket.replace(WRITER, data, there.tag)
            except FileExistsError:
                # By this one, its answer lost, or by another: the next look tells.
                continue
            return

    def check(self) -> None:
        """Raise RunInUseError unless this is still the one that writes there."""
        there = self._bucket.get(WRITER)
        if there is None or not self._is_mine(there):
            by = "somebody who has deleted it" if there is None else _sender(there)
            raise RunInUseError(
                f"{self._bucket.url} was taken over by {by}, and nothing more is sent there from here. "
                "What is on the disk is whole; embevo push sends it, once nobody else does."
            )

    def _is_mine(self, stored: Stored) -> bool:
        return _said(stored).get("write") == self._id


def check_same(bucket: Bucket, there: Stored | None, run: str | None) -> None:
    """Raise RunExistsError where a place holds something else than the run with an identity."""
    if there is None:
        stranger = next(iter(bucket.sizes("trajectory.zarr/")), None)
        if stranger is not None:
            raise RunExistsError(
                f"{bucket.url} holds {stranger}, and does not say whose it is. Choose another prefix, or "
                "delete what is there."
            )
    elif run is None or _said(there).get("run") != run:
        raise RunExistsError(
            f"{bucket.url} holds another run, sent by {_sender(there)}. Choose another prefix, or delete "
            "what is there."
        )


def identity_of(paths: RunPaths, *, make: bool) -> str | None:
    """What a run is called where it is sent to; the same for as long as the run is.

    Args:
        paths: of the run.
        make: give it a name if it has none.

    Raises:
        DamagedError: the file is not one that embevo writes.
        OSError: with the path; the name cannot be kept.
    """
    try:
        found = json.loads(read_regular(paths.mirror, _MOST_BYTES))["run"]
        if isinstance(found, str) and found:
            return found
    except FileNotFoundError:
        if not make:
            return None
    except MALFORMED as error:
        raise DamagedError(f"{paths.mirror} is not one that embevo writes: {error}") from error
    else:
        raise DamagedError(f"{paths.mirror} is not one that embevo writes")
    return keep_identity(paths, uuid.uuid4().hex)


def keep_identity(paths: RunPaths, run: str) -> str:
    """Have a run be called this; OSError names the path."""
    write_file(paths.mirror, json.dumps({"run": run}).encode(), sync=False)
    return run


def identity_at(stored: Stored) -> str | None:
    """The identity of the run at a place, as its claim says it."""
    found = _said(stored).get("run")
    return found if isinstance(found, str) else None


def _said(stored: Stored) -> dict[str, Any]:
    try:
        found = json.loads(stored.data)
    except MALFORMED:
        return {}
    return found if isinstance(found, dict) else {}


def _sender(stored: Stored) -> str:
    said = _said(stored)
    return f"process {said.get('pid', '?')} on {said.get('host', '?')}"
