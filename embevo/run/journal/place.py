"""Where the ring of a run lies: beside its other parts, or in a directory of the machine's own.

A ring needs shared mappings, which network file systems lack or do badly. With a journal directory it lies in
``DIRECTORY/embevo-ID/journal`` on a local disk, and the run says so in its file ``journal.at``, which is
written, synced and renamed as every other file of the run. An ID is drawn for each ring, so that no two meet.
Beside the ring lies the file ``run``, which names the run directory: a copy of the run is known by it.

The file is there before the ring, and is gone after it. Before the ring is removed the file says that nothing
is only there any more. So a ring that is missing is known to have had rows of its own, or to have had none.
"""

import contextlib
import json
import os
import re
import secrets
import shlex
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from embevo.errors import ArgumentError, DamagedError
from embevo.run.disk.atomic import sync_file, write_file
from embevo.run.disk.checksum import checksum
from embevo.run.disk.process import boot_id
from embevo.run.disk.regular_file import not_regular, read_regular
from embevo.run.format.frame import FrameSpec
from embevo.run.journal.ring import Journal
from embevo.run.paths import PathLike, RunPaths, absolute, looks_like_url

VARIABLE: Final = "EMBEVO_JOURNAL_DIR"
_LONGEST: Final = 1 << 16
_FOLDER: Final = re.compile(r"embevo-[0-9a-f]{16}")
# Beside a ring: the run directory that it was made for.
_RUN: Final = "run"


@dataclass(frozen=True)
class Place:
    """What a run says of a ring that lies elsewhere.

    Attributes:
        path: of the ring, absolute.
        host: the machine on which it lies.
        boot: of that machine, when the ring was made.
        slots: how many rows the ring holds at most.
        needed: whether rows can be in it that are nowhere else.
    """

    path: str
    host: str
    boot: str
    slots: int
    needed: bool


@dataclass(frozen=True)
class Ring:
    """What there is of a run's ring.

    Attributes:
        path: of the file; None if there is none, or none that can be had here.
        missing: where the rows are that it may hold, where it cannot be had; empty if none can be missing.
    """

    path: Path | None
    missing: str


def journal_directory(given: PathLike | None) -> Path | None:
    """The directory for rings: the given one, or that of the environment; None for the run's own.

    Raises:
        ArgumentError: it is not a path on a disk.
    """
    chosen = given if given is not None else os.environ.get(VARIABLE) or None
    if looks_like_url(chosen):
        raise ArgumentError(
            f"journal_dir, or {VARIABLE}, is a URL; the ring is a file that is mapped into memory: name a "
            "directory on a local disk"
        )
    return None if chosen is None else Path(os.path.realpath(absolute(chosen)))


def make_ring(
    paths: RunPaths,
    frame: FrameSpec,
    slots: int,
    *,
    run: str,
    made_for: Path,
    journal_dir: PathLike | None,
) -> Journal:
    """A new ring for a run that has none; elsewhere, it holds nothing of its own until :func:`need_ring`.

    Args:
        paths: of the run.
        frame: what a slot records.
        slots: of the ring.
        run: names the run by its content.
        made_for: the run directory, where ``paths`` are not in their place yet.
        journal_dir: where it goes, as for :func:`journal_directory`.

    Raises:
        CreationError: the disk has no room for it; nothing is left behind.
        UnsupportedError: the file system cannot map it; likewise.
        OSError: with the path; likewise.
    """
    directory = journal_directory(journal_dir)
    if directory is None:
        return Journal.create(paths.journal, frame, slots, run=run)
    folder = directory / f"embevo-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        write_file(folder / _RUN, os.fsencode(made_for), sync=True)
        place = Place(str(folder / "journal"), socket.gethostname(), boot_id(), slots, needed=False)
        _write(paths, place)
        journal = Journal.create(Path(place.path), frame, slots, run=run)
        for path in (journal.path, folder, directory):
            sync_file(path)
    except BaseException:
        _remove_folder(folder)
        with contextlib.suppress(OSError):
            paths.journal_at.unlink(missing_ok=True)
        raise
    return journal


def need_ring(paths: RunPaths) -> None:
    """Say that from now on the ring may hold rows that are nowhere else."""
    place = place_of(paths)
    if place is not None:
        _write(paths, replace(place, needed=True))


def remove_ring(paths: RunPaths) -> None:
    """Remove the ring of a run whose rows are all elsewhere, or given up.

    Raises:
        OSError: with the path: one of the files cannot be removed.
    """
    paths.journal.unlink(missing_ok=True)
    try:
        place = place_of(paths)
    except DamagedError:
        # It does not say any more where the ring is.
        place = None
    if place is not None and not _of_another(paths, place):
        _write(paths, replace(place, needed=False))
        _remove_folder(Path(place.path).parent)
    paths.journal_at.unlink(missing_ok=True)


def is_interrupted(paths: RunPaths) -> bool:
    """Whether a run has a ring, which a clean close removes."""
    return paths.journal.exists() or os.path.lexists(paths.journal_at)


def find_ring(paths: RunPaths) -> Ring:
    """The ring of a run, wherever it is.

    Raises:
        DamagedError: what the run says of it is not what was written.
    """
    place = place_of(paths)
    if place is None:
        return Ring(paths.journal if os.path.lexists(paths.journal) else None, "")
    path = Path(place.path)
    if _of_another(paths, place):
        owner = _made_for(path)
        text = f"this is a copy of {owner}, whose ring is {path}: recover {owner}, and copy it again"
        return Ring(None, text if place.needed else "")
    if os.path.lexists(path):
        return Ring(path, "")
    if place.needed and place_of(paths) != place:
        # Closed, or taken up again, between the two looks.
        return find_ring(paths)
    return Ring(None, _where(paths, place) if place.needed else "")


def ring_file(paths: RunPaths) -> Path:
    """The ring's file, as far as that is known; where it is not, that in the run, which is not there."""
    with contextlib.suppress(DamagedError):
        return find_ring(paths).path or paths.journal
    return paths.journal


def place_of(paths: RunPaths) -> Place | None:
    """Where a run says that its ring is; None if it says nothing: then it is beside its other parts.

    Raises:
        DamagedError: it is not what was written.
    """
    try:
        data = read_regular(paths.journal_at, _LONGEST)
    except FileNotFoundError as error:
        if paths.journal_at.is_symlink():
            raise not_regular(paths.journal_at) from error
        return None
    try:
        said = json.loads(data)
        place = Place(**said["ring"])
        path = Path(place.path)
        whole = said["checksum"] == _checksum(place) and path.is_absolute()
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    # Of no other name anything is opened or removed: whoever hands a run over could have written it.
    here = f"embevo recover {shlex.quote(str(paths.root))}"
    if not whole or path.name != "journal" or not _FOLDER.fullmatch(path.parent.name):
        raise DamagedError(
            f"{paths.journal_at} is damaged, and only it says where the ring of the run is: in a folder "
            f"embevo-* of the journal directory, that whose file {_RUN} names {paths.root}. Steps that were "
            f"not sealed are there. To do without them: {here} --discard-unproven"
        )
    return place


def _write(paths: RunPaths, place: Place) -> None:
    data = json.dumps({"ring": asdict(place), "checksum": _checksum(place)})
    write_file(paths.journal_at, data.encode(), sync=True)


def _checksum(place: Place) -> str:
    return f"{checksum(json.dumps(asdict(place), sort_keys=True).encode()):016x}"


def _where(paths: RunPaths, place: Place) -> str:
    """Of a ring that is not where it should be: on another machine, or gone."""
    rows = f"up to {place.slots:,} steps behind the last that is sealed"
    here = f"embevo recover {shlex.quote(str(paths.root))}"
    if place.host != socket.gethostname():
        return f"the ring, with {rows}, lies on {place.host}: {place.path}. Run there, {here} seals them"
    anew = "" if place.boot == boot_id() else ", and the machine was started anew since"
    return (
        f"the ring, with {rows}, was {place.path} on this machine ({place.host}), and is not there{anew}. If "
        f"that disk is not mounted, mount it: then {here} seals them. If it was cleaned, they are gone"
    )


def _of_another(paths: RunPaths, place: Place) -> bool:
    """Whether the ring is the one of the run that this one was copied from, which still names it."""
    owner = _made_for(Path(place.path))
    if owner is None or owner == paths.root:
        return False
    with contextlib.suppress(OSError, DamagedError):
        named = place_of(RunPaths(owner))
        return named is not None and named.path == place.path
    return False


def _made_for(ring: Path) -> Path | None:
    try:
        return Path(os.fsdecode(read_regular(ring.with_name(_RUN), _LONGEST)))
    except (OSError, DamagedError):
        return None


def _remove_folder(folder: Path) -> None:
    """Remove what is ours of a ring's folder; what somebody has put there besides stays."""
    for name in ("journal", "journal.partial", _RUN, f"{_RUN}.partial"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
