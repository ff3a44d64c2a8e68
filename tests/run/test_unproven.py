"""Rows that were not sealed yet when their writer ended, seen from a machine that cannot prove them.

A large row is sealed by the writer thread. Before that, only the boot of the machine that captured it knows
that its pages are what was stored: another node on a shared file system, and the same machine after it was
started anew, cannot tell it from a torn one.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.main import embevo
from embevo.errors import UnprovenError
from embevo.run.disk.lock import WriterLock
from embevo.run.format.layout import Store
from embevo.run.format.steps import describe
from embevo.run.journal import ring
from embevo.run.journal.ring import Journal
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.reading.summary import summarize
from embevo.run.repair.recovery import recover, recover_to_write
from embevo.run.repair.verification import verify
from support import encoded, written
from support.written import write_run

State = Literal["sealed", "unsealed", "damaged"]
BLOCK = 4
HOME, ELSEWHERE = "boot-of-the-writer", "boot-of-another-node"


@pytest.fixture(autouse=True)
def large_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices are treated as large ones are: sealed by the writer, not at capture."""
    monkeypatch.setattr(ring, "SEALED_AT_CAPTURE_BYTES", 0)


class Machine:
    """The boot that this process believes to run in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boot = HOME
        monkeypatch.setattr(ring, "boot_id", lambda: self.boot)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def killed(path: Path, sealed: int, tail: list[State], store: Store = "both") -> Path:
    """A run whose writer was killed: so many rows in the group, and such rows in the journal only."""
    run = write_run(path, rows=sealed, sealed=sealed, store=store, block_steps=BLOCK)
    for row, state in enumerate(tail, sealed):
        written.put(run.journal, row, row, seal=state != "unsealed")
        if state == "damaged":
            run.journal.image(row)[-1] ^= 4
    run.journal.close()
    return path


def check(path: Path, steps: list[int]) -> None:
    run = open_run(path)
    assert run.steps.tolist() == steps
    assert encoded.same_bits(run["embeddings"][:], encoded.matrices(steps, (5, 3), "float32"))
    assert run["loss"][:].tolist() == [encoded.loss_of(step) for step in steps]


def split(sealed: int, tail: list[State]) -> tuple[list[int], list[int], list[int]]:
    """Steps that are proven everywhere and need not wait, that wait elsewhere, and that are damaged."""
    cut = tail.index("unsealed") if "unsealed" in tail else len(tail)
    rows = range(sealed, sealed + len(tail))
    damaged = [row for row, state in zip(rows, tail, strict=True) if state == "damaged"]
    whole = [row for row in rows if row not in damaged]
    return (
        [*range(sealed), *(row for row in whole if row < sealed + cut)],
        [row for row in whole if row >= sealed + cut],
        damaged,
    )


STORES = st.sampled_from(["both", "zarr", "safetensors"])
TAILS = st.lists(st.sampled_from(["sealed", "unsealed", "unsealed", "damaged"]), max_size=BLOCK)
RUNS = given(sealed=st.integers(0, 2 * BLOCK + 1), tail=TAILS, store=STORES)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run"


def fresh(place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return place


def check_verified(path: Path, waiting: list[int]) -> None:
    """A run of which steps wait is not verified, and nothing else is wrong with it."""
    found = verify(path, deep=True)
    wrong = [("journal", describe(waiting))] if waiting else []
    assert [(problem.file, problem.steps) for problem in found.problems] == wrong
    # Of a run that is recorded now, they are proven in a moment.
    lock = WriterLock(RunPaths(path).lock)
    found = verify(path, deep=True)
    lock.release()
    assert found.ok
    assert any("proves them yet" in note for note in found.notes) == bool(waiting)


@RUNS
@FEW
def test_elsewhere_nothing_unproven_is_shown_and_nothing_is_refused(
    place: Path, machine: Machine, sealed: int, tail: list[State], store: Store
) -> None:
    machine.boot = HOME
    whole: list[State] = [state for state in tail if state != "damaged"]
    path = killed(fresh(place), sealed, whole, store)
    proven, waiting, _ = split(sealed, whole)
    machine.boot = ELSEWHERE
    check(path, proven)
    assert open_run(path).unproven_steps.tolist() == waiting
    assert summarize(path).unproven_rows == len(waiting)
    check_verified(path, waiting)
    machine.boot = HOME
    check(path, [*proven, *waiting])
    assert not len(open_run(path).unproven_steps)


@RUNS
@FEW
def test_recovering_elsewhere_seals_what_is_proven_and_keeps_the_rest_for_the_node_that_can(
    place: Path, machine: Machine, sealed: int, tail: list[State], store: Store
) -> None:
    machine.boot = HOME
    path = killed(fresh(place), sealed, tail, store)
    proven, waiting, damaged = split(sealed, tail)
    machine.boot = ELSEWHERE
    for repeated in range(2):
        done = recover(path)
        assert done.waiting == waiting
        assert (HOME in done.how_to_go_on) == bool(waiting)
        assert len(done.lost) == (0 if repeated else len(damaged))
        assert (path / "journal").exists() == bool(waiting)
        check(path, proven)
        assert open_run(path).unproven_steps.tolist() == waiting
        check_verified(path, waiting)
    machine.boot = HOME
    done = recover(path)
    assert (done.sealed, done.lost, done.waiting) == (waiting, [], [])
    assert not (path / "journal").exists()
    check(path, [*proven, *waiting])


@RUNS
@FEW
@pytest.mark.parametrize("unproven", ["accept", "discard"])
def test_a_decision_that_is_asked_for_ends_the_waiting(
    place: Path,
    machine: Machine,
    unproven: Literal["accept", "discard"],
    sealed: int,
    tail: list[State],
    store: Store,
) -> None:
    machine.boot = HOME
    path = killed(fresh(place), sealed, tail, store)
    machine.boot = ELSEWHERE
    done = recover(path, unproven=unproven)
    rows = range(sealed, sealed + len(tail))
    doubtful = [row for row, state in zip(rows, tail, strict=True) if state == "unsealed"]
    taken = {"sealed", "unsealed"} if unproven == "accept" else {"sealed"}
    kept = [row for row, state in zip(rows, tail, strict=True) if state in taken]
    assert done.waiting == []
    assert bool(done.unproven) == (unproven == "accept" and bool(doubtful))
    assert len(done.lost) == tail.count("damaged") + (unproven == "discard" and bool(doubtful))
    assert not (path / "journal").exists()
    check(path, [*range(sealed), *kept])


@given(sealed=st.integers(0, BLOCK + 1), tail=TAILS, store=STORES, stores=st.integers(1, 14))
@settings(FEW, max_examples=100)
def test_recovering_elsewhere_may_be_killed_at_any_store_into_the_ring(
    place: Path, machine: Machine, stores: int, sealed: int, tail: list[State], store: Store
) -> None:
    machine.boot = HOME
    path = killed(fresh(place), sealed, tail, store)
    proven, waiting, _ = split(sealed, tail)
    machine.boot = ELSEWHERE
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, stores)
        with contextlib.suppress(Killed):
            recover(path)
    assert recover(path).waiting == waiting
    check(path, proven)
    machine.boot = HOME
    recover(path)
    check(path, [*proven, *waiting])


class Killed(BaseException):
    """In the place of a SIGKILL: what was stored before it is in the file."""


def killing(patch: pytest.MonkeyPatch, stores: int) -> None:
    """End the process at the so-manyth time that a slot is begun or completed."""
    left = stores
    for name in ("begin", "commit"):
        real = getattr(Journal, name)

        def counted(*given: object, real: object = real, **named: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            assert callable(real)
            real(*given, **named)

        patch.setattr(Journal, name, counted)


def test_a_run_is_not_written_while_rows_of_it_wait(tmp_path: Path, machine: Machine) -> None:
    path = killed(tmp_path / "run", 5, ["sealed", "unsealed", "unsealed"])
    before = (path / "journal").read_bytes()
    machine.boot = ELSEWHERE
    lock = WriterLock(RunPaths(path).lock)
    with pytest.raises(UnprovenError, match=r"2 captured steps \(6\.\.7\) .* in its boot boot-of-the-writer"):
        recover_to_write(RunPaths(path))
    lock.release()
    assert (path / "journal").read_bytes() == before
    machine.boot = HOME
    assert recover(path).sealed == [6, 7]


def test_the_command_follows_its_own_advice(tmp_path: Path, machine: Machine) -> None:
    for option, steps in (("--accept-unproven", [0, 1, 2]), ("--discard-unproven", [0])):
        path = killed(tmp_path / option, 0, ["sealed", "unsealed", "unsealed"])
        machine.boot = ELSEWHERE
        said = CliRunner().invoke(embevo, ["recover", str(path)])
        assert said.exit_code == 1
        assert "WAITING: 2 captured steps (1..2)" in said.output
        assert option in said.output
        assert CliRunner().invoke(embevo, ["recover", str(path)]).exit_code == 1
        assert "2 more steps" in CliRunner().invoke(embevo, ["info", str(path)]).output
        decided = CliRunner().invoke(embevo, ["recover", str(path), option])
        assert decided.exit_code == 1, decided.output
        check(path, steps)
        assert CliRunner().invoke(embevo, ["recover", str(path)]).exit_code == 0
        machine.boot = HOME


def test_a_journal_that_does_not_say_where_it_was_made_waits_for_a_decision(
    tmp_path: Path, machine: Machine
) -> None:
    path = killed(tmp_path / "run", 5, ["sealed", "unsealed"])
    with (path / "journal").open("r+b") as file:
        file.write(b"x")
    done = recover(path)
    assert done.waiting == [6]
    assert "does not say any more" in done.how_to_go_on
    assert recover(path, unproven="accept").sealed == [6]
    check(path, list(range(7)))


def test_another_node_reads_a_run_that_is_being_written(tmp_path: Path, machine: Machine) -> None:
    run = write_run(tmp_path / "run", rows=2, sealed=0, block_steps=BLOCK)
    machine.boot = ELSEWHERE
    seen = open_run(run.path)
    shown = len(seen.steps)
    for row in range(2, 23):
        machine.boot = HOME
        written.put(run.journal, row, row, seal=False)
        machine.boot = ELSEWHERE
        seen.refresh()
        assert shown <= len(seen.steps) <= row
        shown = len(seen.steps)
        check(run.path, list(range(shown)))
        if row % 3 == 0:
            for sealed in range(max(run.sealer.rows, row - 3), row):
                run.journal.seal(sealed)
                run.sealer.snapshot(run.journal, sealed)
                if (sealed + 1) % BLOCK == 0:
                    run.sealer.seal(run.journal, sealed + 1)
    assert shown >= 18


CANNOT_BIND = os.geteuid() != 0 or sys.platform != "linux" or shutil.which("unshare") is None


@pytest.mark.skipif(CANNOT_BIND, reason="another boot id is mounted by root, on Linux")
def test_a_real_other_node_keeps_what_a_killed_trainer_had_captured(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = textwrap.dedent(f"""
        import os, signal, torch
        from embevo import Recorder
        from embevo.recording import writer
        writer.Writer._drain = lambda self, captured, **_: None  # far behind: it has sealed nothing
        weight = torch.nn.Parameter(torch.zeros(9000, 64))
        recorder = Recorder({str(tmp_path / "run")!r}, {{"embeddings": weight}}, store="zarr", block_steps=8)
        for step in range(5):
            recorder.capture(step)
            with torch.no_grad():
                weight.add_(1)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    subprocess.run([sys.executable, "-c", script], check=False)
    (tmp_path / "boot").write_text("11111111-2222-3333-4444-555555555555\n")
    mount = f"mount --bind {tmp_path}/boot /proc/sys/kernel/random/boot_id"
    program = f"{sys.executable} -c 'from cli.main import main; main()'"

    def elsewhere(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-m", "sh", "-c", f"{mount} && exec {program} {' '.join(words)} {tmp_path}/run"]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if "Operation not permitted" in tried.stderr or "permission denied" in tried.stderr:
            pytest.skip("this root may not mount")
        return tried

    assert "5 more steps" in elsewhere("info").stdout
    recovered = elsewhere("recover")
    assert recovered.returncode == 1
    assert "5 captured steps (0..4) wait" in recovered.stdout
    done = recover(tmp_path / "run")
    assert (done.sealed, done.lost) == ([0, 1, 2, 3, 4], [])
    assert open_run(tmp_path / "run")["embeddings"][:, 8999, 63].tolist() == [0, 1, 2, 3, 4]
