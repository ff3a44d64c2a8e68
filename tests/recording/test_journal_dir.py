"""The ring on a local disk, the run on a file system that can little more than create, write and rename."""

import errno
import fcntl
import mmap
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from cli.main import embevo
from embevo import open_run
from embevo.errors import (
    ArgumentError,
    CreationError,
    DamagedError,
    RecordingError,
    RunInUseError,
    UnprovenError,
    UnsupportedError,
    WeakerPromiseWarning,
)
from embevo.recording.recorder import Recorder
from embevo.run import limits
from embevo.run.disk import atomic
from embevo.run.journal import place
from embevo.run.paths import RunPaths
from embevo.run.reading.summary import summarize
from embevo.run.repair.compacting import compact
from embevo.run.repair.recovery import has_run, recover
from embevo.run.repair.rewinding import rewind_to
from embevo.run.repair.verification import verify
from support.faults.rig import quick_or_full
from support.forking import in_child
from support.sinks import NO_SPACE, FailingSink

BLOCK = 4
MEMORY = Path("/dev/shm")
DIED = 9


def tensor(step: int) -> torch.Tensor:
    return torch.arange(6, dtype=torch.float32).reshape(3, 2) + 100 * step


def recorder(run: Path, journal_dir: Path | None, **options: Any) -> tuple[Recorder, torch.Tensor]:
    held = tensor(0)
    return Recorder(run, {"embeddings": held}, block_steps=BLOCK, journal_dir=journal_dir, **options), held


def capture(recording: Recorder, held: torch.Tensor, steps: range) -> None:
    for step in steps:
        held.copy_(tensor(step))
        recording.capture(step, loss=float(step))


def killed(run: Path, journal_dir: Path | None, rows: int, **options: Any) -> None:
    """Record steps, and die as by kill -9."""

    def work() -> None:
        capture(*recorder(run, journal_dir, **options), range(rows))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == signal.SIGKILL


def holds(run: Path, rows: int) -> None:
    opened = open_run(run)
    assert opened.steps.tolist() == list(range(rows))
    for step, values in zip(opened.steps, opened["embeddings"][:], strict=True):
        assert torch.equal(torch.from_numpy(values), tensor(int(step)))


def whole_files(run: Path) -> list[Path]:
    passing = (".partial", ".lock")
    return sorted(path for path in run.rglob("*") if path.suffix not in passing)


def test_after_a_kill_the_ring_is_found_wherever_it_is(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    killed(run, scratch, 10)
    assert not (run / "journal").exists()
    holds(run, 10)
    assert summarize(run).state == "interrupted"
    assert verify(run).problems == []
    assert recover(run).ok
    holds(run, 10)
    assert list(scratch.iterdir()) == []
    assert not (run / "journal.at").exists()
    assert summarize(run).state == "complete"


@pytest.mark.parametrize("what", ["below a file", "long name", "no disk"])
def test_where_no_ring_can_be_made_no_directory_is_left(tmp_path: Path, what: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    scratch = {
        "below a file": file / "scratch",
        "long name": tmp_path / ("x" * 300),
        "no disk": Path("/proc/1x"),
    }
    with pytest.raises(CreationError):
        recorder(tmp_path / "runs" / "run", scratch[what])
    assert list(tmp_path.iterdir()) == [file]
    # What was there is there, empty as it is.
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(CreationError):
        recorder(run, scratch[what])
    assert list(run.iterdir()) == []


def test_the_environment_names_the_directory_for_everything_that_makes_a_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    monkeypatch.setenv("EMBEVO_JOURNAL_DIR", str(scratch))
    made: list[Path] = []
    create = place.Journal.create

    def seen(path: Path, *args: Any, **options: Any) -> Any:
        made.append(path)
        return create(path, *args, **options)

    monkeypatch.setattr(place.Journal, "create", seen)
    killed(tmp_path / "run", None, 6)
    recording, held = recorder(tmp_path / "run", None, resume=True)
    capture(recording, held, range(6, 11))
    recording.close()
    assert rewind_to(tmp_path / "run", 5) == 5
    holds(tmp_path / "run", 6)
    assert len(made) == 2
    assert all(path.is_relative_to(scratch) for path in made)
    assert list(scratch.iterdir()) == []


def test_what_is_advised_where_writing_fails_names_the_run_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scratch = tmp_path / "a run", tmp_path / "scratch"
    with monkeypatch.context() as patched:
        recording, held = recorder(run, scratch)
        FailingSink(patched, NO_SPACE, after=2).patch()

        def work() -> None:
            for step in range(100):
                capture(recording, held, range(step, step + 1))
                recording.flush()

        with pytest.raises(RecordingError, match="No space left") as caught:
            work()
    captured = open_run(run).steps.tolist()
    with pytest.raises(RecordingError):
        recording.close()
    advised = shlex.split(str(caught.value).partition("run: embevo ")[2])
    done = CliRunner().invoke(embevo, advised)
    assert done.exit_code == 0, done.output
    assert captured
    holds(run, len(captured))
    assert list(scratch.iterdir()) == []


def test_a_run_moved_keeps_its_ring_and_a_copy_is_known_as_one(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    killed(run, scratch, 10)
    shutil.copytree(run, tmp_path / "copy")
    copied = open_run(tmp_path / "copy")
    assert copied.steps.tolist() == list(range(copied.sealed_rows))
    assert f"this is a copy of {run}" in copied.journal_elsewhere
    done = recover(tmp_path / "copy")
    assert not done.ok
    assert f"recover {run}" in done.how_to_go_on
    recover(tmp_path / "copy", unproven="discard")
    holds(run, 10)
    run.rename(tmp_path / "moved")
    holds(tmp_path / "moved", 10)
    assert recover(tmp_path / "moved").ok
    holds(tmp_path / "moved", 10)
    assert list(scratch.iterdir()) == []


def test_runs_with_one_scratch_directory_do_not_meet(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    made = [recorder(tmp_path / name, scratch) for name in "ab"]
    for number, (recording, held) in enumerate(made):
        capture(recording, held, range(5 + number))
    killed(tmp_path / "c", scratch, 7)
    assert len(list(scratch.iterdir())) == 3
    for recording, _ in made:
        recording.close()
    for name, rows in (("a", 5), ("b", 6), ("c", 7)):
        holds(tmp_path / name, rows)
    # Recording over a run removes its ring too.
    recording, held = recorder(tmp_path / "c", tmp_path / "other", overwrite=True)
    assert list(scratch.iterdir()) == []
    capture(recording, held, range(2))
    recording.close()
    holds(tmp_path / "c", 2)


@pytest.mark.parametrize("host", ["", "another-node"])
def test_a_ring_that_cannot_be_had_is_said_and_nothing_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Scratch that was cleaned, is not mounted, or is another machine's."""
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    killed(run, scratch, 10)
    (ring,) = scratch.glob("*/journal")
    sealed = open_run(run).sealed_rows
    scratch.rename(tmp_path / "unmounted")
    if host:
        monkeypatch.setattr(place.socket, "gethostname", lambda: host)
    opened = open_run(run)
    assert opened.steps.tolist() == list(range(sealed))
    assert str(ring) in opened.journal_elsewhere
    assert ("not there" in opened.journal_elsewhere) != bool(host)
    (wrong,) = verify(run).problems
    assert wrong.file == "journal"
    assert str(ring) in wrong.what
    assert f"{sealed} steps are sealed (0..{sealed - 1})" in wrong.what
    said = CliRunner().invoke(embevo, ["verify", str(run)])
    assert said.exit_code == 1
    assert "--discard-unproven" in said.output
    for command in (["info", str(run)], ["info", "--json", str(run)]):
        assert str(ring) in "".join(CliRunner().invoke(embevo, command).output.split())
    before = whole_files(run)
    shown = CliRunner().invoke(embevo, ["recover", str(run)])
    assert shown.exit_code == 1
    assert "WAITING: the ring, with up to 8 steps" in shown.output
    assert whole_files(run) == before
    for attempt in (lambda: recorder(run, scratch, resume=True), lambda: compact(run)):
        with pytest.raises(UnprovenError, match="--discard-unproven"):
            attempt()
    # Mounted again, everything is there.
    (tmp_path / "unmounted").rename(scratch)
    holds(run, 10)
    shutil.rmtree(scratch)
    given_up = CliRunner().invoke(embevo, ["recover", "--discard-unproven", str(run)])
    assert "LOST: the ring" in given_up.output
    assert recover(run).ok
    recording, held = recorder(run, scratch, resume=True)
    capture(recording, held, range(sealed, 12))
    recording.close()
    holds(run, 12)
    assert verify(run).problems == []


def test_without_its_ring_the_files_of_a_block_that_was_being_sealed_stay(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    replace = os.replace

    def dying(source: Any, target: Any) -> None:
        if str(target) == str(run / "trajectory.zarr/zarr.json"):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    def work() -> None:
        os.replace = dying
        recording, held = recorder(run, scratch)
        capture(recording, held, range(6))
        recording.flush()

    assert in_child(work) == signal.SIGKILL
    assert open_run(run).steps.tolist() == list(range(6))
    scratch.rename(tmp_path / "unmounted")
    before = whole_files(run)
    assert run / "snapshots/step_0000003.safetensors" in before
    for _ in range(2):
        assert not recover(run).ok
        assert whole_files(run) == before
    (tmp_path / "unmounted").rename(scratch)
    holds(run, 6)
    assert recover(run).ok
    holds(run, 6)
    assert verify(run, deep=True).problems == []


@pytest.mark.parametrize("asked", [7, 8, None])
def test_without_its_ring_a_run_is_verified_only_where_no_step_can_be_in_it_alone(
    tmp_path: Path, asked: int | None
) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    attributes = {} if asked is None else {"experiment": {"last_step": asked, "every": 1}}

    def work() -> None:
        recording, held = recorder(run, scratch, attributes=attributes)
        capture(recording, held, range(8))
        recording.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == signal.SIGKILL
    shutil.rmtree(scratch)
    found = verify(run)
    assert found.steps.tolist() == list(range(8))
    assert found.ok == (asked == 7)
    assert any("every step that was asked for is sealed" in note for note in found.notes) == found.ok
    assert ("journal" in [problem.file for problem in found.problems]) != found.ok
    # Of a run that is recorded now, what is sealed is verified.
    recording, held = recorder(tmp_path / "other", scratch)
    capture(recording, held, range(6))
    recording.flush()
    scratch.rename(tmp_path / "unmounted")
    found = verify(tmp_path / "other")
    assert found.ok
    assert any("a process records the run" in note for note in found.notes)
    recording.close()
    holds(tmp_path / "other", 6)
    assert verify(tmp_path / "other").notes == []


def test_what_says_where_the_ring_is_may_be_damaged(tmp_path: Path) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    killed(run, scratch, 6)
    whole = (run / "journal.at").read_bytes()
    for data in (
        b"",
        whole[:-9],
        whole.replace(b"scratch", b"scratcj"),
        b"[1]",
        b'{"ring": {}, "checksum": ""}',
    ):
        (run / "journal.at").write_bytes(data)
        with pytest.raises(DamagedError, match=r"journal\.at is damaged.*names.*--discard-unproven"):
            open_run(run)
        assert not recover(run).ok
    (run / "journal.at").write_bytes(whole)
    holds(run, 6)


def test_a_directory_for_rings_that_cannot_be_used_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with monkeypatch.context() as patched:
        patched.chdir(tmp_path)
        patched.setenv(place.VARIABLE, "s3://bucket/scratch")
        with pytest.raises(ArgumentError, match=f"{place.VARIABLE}, is a URL.* local disk"):
            recorder(tmp_path / "run", None)
        assert not (tmp_path / "s3:").exists()
    with pytest.raises(CreationError, match=r"file.*: Not a directory"):
        recorder(tmp_path / "run", tmp_path / "file" / "scratch")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_room(descriptor: int, size: int) -> None:
        raise full

    with monkeypatch.context() as patched:
        patched.setattr("embevo.run.journal.ring.reserve", no_room)
        with pytest.raises(CreationError, match=r"scratch/embevo-.*: No space left"):
            recorder(tmp_path / "run", tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []
    mkdir = os.mkdir

    def read_only(path: Any, *args: Any) -> None:
        if "scratch" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir(path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "mkdir", read_only)
        with pytest.raises(CreationError, match=r"scratch/embevo-.*: Read-only file system"):
            recorder(tmp_path / "run", tmp_path / "scratch")
    assert not (tmp_path / "run").exists()
    # A link is followed when the path is given, and may lead elsewhere afterwards.
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    recording, held = recorder(tmp_path / "run", tmp_path / "link")
    (tmp_path / "link").unlink()
    capture(recording, held, range(6))
    holds(tmp_path / "run", 6)
    recording.close()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.skipif(not limits.disk_room(MEMORY).in_memory, reason="no disk in memory")
def test_a_ring_in_memory_that_is_to_survive_a_power_cut_is_said_not_to(tmp_path: Path) -> None:
    ring = Path(tempfile.mkdtemp(dir=MEMORY)) / "rings"
    try:
        with pytest.warns(WeakerPromiseWarning, match=f"power cut.*{ring}|{ring}.*power cut") as said:
            recorder(tmp_path / "run", ring, durability="power")[0].close()
        assert [warned.filename for warned in said] == [__file__]
        # What it does not promise, it need not say.
        recorder(tmp_path / "other", ring)[0].close()
    finally:
        shutil.rmtree(ring.parent)


@pytest.mark.skipif(not limits.disk_room(MEMORY).in_memory, reason="no disk in memory")
def test_a_run_in_memory_that_is_to_survive_a_power_cut_is_said_not_to() -> None:
    folder = Path(tempfile.mkdtemp(dir=MEMORY))
    matrix = torch.zeros(3, 2)
    try:
        with pytest.warns(WeakerPromiseWarning, match=f"the run lies in {folder}.*nothing of it") as said:
            Recorder(folder / "new" / "run", {"w": matrix}, durability="power").close()
        assert [warned.filename for warned in said] == [__file__]
        Recorder(folder / "other", {"w": matrix}).close()
    finally:
        shutil.rmtree(folder)


def test_the_run_needs_neither_mappings_nor_locks_nor_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scratch = tmp_path / "run", tmp_path / "scratch"

    def on_run(file: Any) -> bool:
        if file == -1:
            return False
        path = Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else os.fspath(file)
        return str(path).startswith(str(run))

    def lacking(call: Callable[..., Any], number: int) -> Callable[..., Any]:
        def wrapped(file: Any, *args: Any, **options: Any) -> Any:
            if on_run(file):
                raise OSError(number, os.strerror(number), str(file))
            return call(file, *args, **options)

        return wrapped

    monkeypatch.setattr(mmap, "mmap", lacking(mmap.mmap, errno.ENODEV))
    monkeypatch.setattr(fcntl, "flock", lacking(fcntl.flock, errno.ENOLCK))
    monkeypatch.setattr(os, "link", lacking(os.link, errno.EPERM))
    monkeypatch.setattr(os, "symlink", lacking(os.symlink, errno.EPERM))
    monkeypatch.setattr(os, "posix_fallocate", lacking(os.posix_fallocate, errno.EOPNOTSUPP))
    with pytest.warns(WeakerPromiseWarning), pytest.raises(UnsupportedError, match="no shared mappings"):
        recorder(run, None)
    with pytest.warns(WeakerPromiseWarning):
        recording, held = recorder(run, scratch)
    capture(recording, held, range(6))
    holds(run, 6)
    recording.flush()
    capture(recording, held, range(6, 11))
    recording.close()
    holds(run, 11)
    with pytest.warns(WeakerPromiseWarning):
        recording, held = recorder(run, scratch, resume=True, rewind_to=8)
    capture(recording, held, range(9, 15))

    def refused() -> None:
        with pytest.raises(RunInUseError, match="is being written by process"):
            recorder(run, scratch, resume=True)

    assert in_child(refused) == 0
    recording.close()
    holds(run, 15)
    assert verify(run, deep=True).problems == []
    assert list(scratch.iterdir()) == []


NAMES = ("mkdir", "rename", "replace", "unlink", "rmdir")


def test_killed_at_every_change_of_the_ring_s_names_nothing_is_lost_or_left(tmp_path: Path) -> None:
    """Each call that makes, renames or removes it, or what is said of it, from creating to a resumed run."""
    for number in range(1, 400, quick_or_full(3, 1)):
        run, scratch = tmp_path / f"run{number}", tmp_path / f"scratch{number}"
        scratch.mkdir()
        reader, writer = os.pipe()

        def work(
            number: int = number, run: Path = run, scratch: Path = scratch, writer: int = writer
        ) -> None:
            calls = [0]

            def dying(call: Callable[..., Any]) -> Callable[..., Any]:
                def wrapped(*args: Any, **options: Any) -> Any:
                    names = [str(path) for path in args]
                    ours = [name for name in names if "journal" in name or name.startswith(str(scratch))]
                    calls[0] += bool(ours) or names[0].endswith((".embevo-new", ".embevo-next"))
                    if calls[0] == number:
                        os._exit(DIED)
                    return call(*args, **options)

                return wrapped

            for name in NAMES:
                setattr(os, name, dying(getattr(os, name)))
            for first, resume in ((0, False), (6, True)):
                recording, held = recorder(run, scratch, resume=resume, store="zarr")
                for step in range(first, first + 6):
                    capture(recording, held, range(step, step + 1))
                    os.write(writer, b".")
                recording.close()

        status = in_child(work)
        os.close(writer)
        captured = len(os.read(reader, 100))
        os.close(reader)
        if os.waitstatus_to_exitcode(status) == 0:
            break
        assert os.waitstatus_to_exitcode(status) == DIED
        if RunPaths(run).incoming.exists():
            assert recover(run).ok
        if has_run(RunPaths(run)):
            assert len(open_run(run).steps) in (captured, captured + 1)
            assert open_run(run).journal_elsewhere == ""
            assert recover(run).ok
            holds(run, len(open_run(run).steps))
        else:
            assert captured == 0
        recording, held = recorder(run, scratch, overwrite=True)
        capture(recording, held, range(3))
        recording.close()
        holds(run, 3)
        # A folder that has no ring yet may be left; a ring may not.
        assert list(scratch.glob("*/journal*")) == []
    else:
        pytest.fail("it never ended")
    assert number > 20, "there are more"


@pytest.mark.filterwarnings("ignore:.*a disk in memory")
def test_what_the_run_says_of_its_ring_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    flush = atomic.flush

    def noted(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        flush(descriptor)

    monkeypatch.setattr(atomic, "flush", noted)
    scratch = tmp_path / "scratch"
    recording, held = recorder(tmp_path / "run", scratch, durability="power")
    (folder,) = scratch.iterdir()
    assert {str(folder / "journal"), str(folder), str(scratch)} <= synced
    assert any(name.endswith("journal.at.partial") for name in synced)
    capture(recording, held, range(2))
    recording.close()
