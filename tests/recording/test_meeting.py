"""Processes that make a recorder together: who fails or does not come keeps nobody waiting."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from embevo import open_run
from embevo.errors import ArgumentError, CreationError, EmbevoError, RecordingWarning
from embevo.recording import meeting as module
from embevo.recording.meeting import Meeting
from embevo.run.repair.verification import verify
from support.torchrun import torchrun

RANKS = (1, 2, 5)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The store of a training whose processes are threads here, with little patience."""
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=20))
    monkeypatch.setattr(module, "_get_default_store", lambda: store)
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.5)
    return store


def together(say: dict[int, Callable[[Meeting], Any]]) -> dict[int, Any]:
    """What comes of each process, each in a thread: what it returns, or the error that it raises."""
    meetings = {rank: Meeting(RANKS) for rank in RANKS}
    # The number of a meeting is counted in each process; here all of them are one.
    first = meetings[RANKS[0]]
    for each in meetings.values():
        each._place = first._place

    def attempt(rank: int) -> Any:
        try:
            return say[rank](meetings[rank])
        except EmbevoError as error:
            return error

    with ThreadPoolExecutor(len(say)) as pool:
        return dict(zip(say, pool.map(attempt, say), strict=True))


def test_each_hears_what_all_say_in_every_turn(store: Any) -> None:
    def say(rank: int) -> Callable[[Meeting], Any]:
        return lambda meeting: [meeting.everyone(rank, f"node{rank}", [rank, turn]) for turn in range(3)]

    found = together({rank: say(rank) for rank in RANKS})
    for each in found.values():
        assert each == [[[rank, f"node{rank}", [rank, turn]] for rank in RANKS] for turn in range(3)]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_an_error_of_one_is_raised_in_all_that_come_and_who_is_missing_is_named(data: Any) -> None:
    """Whoever it is, and in whatever turn: nobody waits for longer than there is patience."""
    does = {rank: data.draw(st.sampled_from(["comes", "fails", "is away"]), str(rank)) for rank in RANKS}
    turn = data.draw(st.integers(0, 2), "turn")
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=0.3))

    def say(rank: int) -> Callable[[Meeting], Any]:
        def said(meeting: Meeting) -> Any:
            for _ in range(turn):
                meeting.everyone(rank, f"node{rank}", None)
            if does[rank] == "fails":
                meeting.tell(rank, f"node{rank}", ArgumentError("store is wrong"))
            return meeting.everyone(rank, f"node{rank}", None) if does[rank] == "comes" else None

        return said

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_get_default_store", lambda: store)
        patch.setattr(module, "_GRACE_SECONDS", 0.3)
        begun = time.monotonic()
        found = together({rank: say(rank) for rank in RANKS})
        assert time.monotonic() - begun < 20
    failed = [rank for rank in RANKS if does[rank] == "fails"]
    away = [rank for rank in RANKS if does[rank] == "is away"]
    for rank in RANKS:
        if does[rank] != "comes":
            assert found[rank] is None
        elif not failed and not away:
            assert [each[0] for each in found[rank]] == list(RANKS)
        elif failed and RANKS[0] not in away:
            assert isinstance(found[rank], ArgumentError)
            assert any(str(found[rank]) == f"rank {each} on node{each}: store is wrong" for each in failed)
        else:
            assert isinstance(found[rank], CreationError)
            missing = [RANKS[0]] if RANKS[0] in away else away
            assert f"{', '.join(map(str, missing))} of 3 did not come" in str(found[rank])


def test_who_is_waited_for_is_said(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SAY_SECONDS", 0.0)
    go_on = threading.Event()

    def late(meeting: Meeting) -> Any:
        go_on.wait()
        return meeting.everyone(5, "node5", None)

    def first(meeting: Meeting) -> Any:
        with pytest.warns(RecordingWarning, match=r"waits for ranks? (2, )?5\.") as said:
            found = meeting.everyone(1, "node1", None)
        assert len(said) == 1
        return found

    # The first has looked, and found it missing, long before.
    threading.Timer(0.2, go_on.set).start()
    found = together({1: first, 2: lambda meeting: meeting.everyone(2, "node2", None), 5: late})
    assert found[1] == found[2] == found[5]


# What one of two processes is asked for otherwise, and what the one and the other raise.
OTHERWISE = {
    "resume": "resume is",
    "steps": "steps is",
    "run_dir": "run_dir is",
    "what": "what is recorded is",
    "dtype": "what is recorded is",
    "scalars": "what is recorded is",
    "misspelt store": "store is 'zar'",
    "misspelt what": "embedings",
    "misspelt option": "there is no option 'blok_steps'",
    "when_full": "when_full='drop'",
    "tokens": "tokens= chooses rows",
    "journal_dir": "is a URL",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """What each of two processes was told in every case, all of them in one training that goes on."""
    folder = tmp_path_factory.mktemp("otherwise")
    done = torchrun(2, folder, "otherwise")
    assert done.returncode == 0, done.stderr
    each = [json.loads((folder / f"said-{rank}.json").read_text()) for rank in range(2)]
    return folder, {case: [one[case] for one in each] for case in each[0]}


@pytest.mark.parametrize("case", list(OTHERWISE))
def test_both_processes_are_told_where_one_is_asked_for_something_else(
    said: tuple[Path, dict[str, list[str]]], case: str
) -> None:
    folder, told = said
    for what in told[case]:
        assert OTHERWISE[case] in what, what
    assert any("rank 1 on " in what for what in told[case])
    assert not list(folder.glob(f"{case}*"))


def test_the_first_process_alone_is_told_that_all_make_the_recorder(
    said: tuple[Path, dict[str, list[str]]],
) -> None:
    """The other one trains on meanwhile, and nothing that it exchanges is taken for an answer."""
    folder, told = said
    alone, other = told["alone"]
    assert "rank 1 of 2 did not come to make the recorder" in alone
    assert "and not only the first" in alone
    assert other == ""
    assert not (folder / "alone").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_both_processes_are_told_where_an_earlier_one_still_writes_the_run_of_one(
    said: tuple[Path, dict[str, list[str]]], rank: int
) -> None:
    folder, told = said
    for what in told[f"rank {rank} in use"]:
        assert f"{folder / 'in the end' / 'ranks' / f'{rank:05d}'} is being written by process" in what, what


@pytest.mark.parametrize("case", ["order", "in the end"])
def test_the_training_goes_on_and_is_recorded(said: tuple[Path, dict[str, list[str]]], case: str) -> None:
    """In whatever order the arrays are named."""
    folder, told = said
    assert told[case] == ["", ""]
    assert open_run(folder / case).steps.tolist() == [0, 1, 2]
    assert verify(folder / case, deep=True).ok
