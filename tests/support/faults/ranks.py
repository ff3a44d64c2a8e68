"""Processes of one training that record a run together, each a fork of the rig's server.

What torch.distributed does between them when a recorder is made, pipes do here: it takes seconds to load and
starts threads. Everything behind it is what a training uses: recorders, their threads, and the joining.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import IO, Any, cast

import numpy as np
import torch
import torch.distributed as dist
import zarr
from torch import Tensor

from embevo.errors import EmbevoError, NotARunError
from embevo.recording import recorder as recorder_module
from embevo.recording.recorder import Recorder
from embevo.recording.sharded import Part
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import Run, open_run
from embevo.run.reading.summary import summarize
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from embevo.run.writing.part_locks import parts_of
from embevo.run.writing.whole import Whole
from support.faults.child import thread_of, wait_for_tracer
from support.faults.shared import CLOSING, CREATED, DONE, STARTED, Shared

SHAPE = (7, 6)
NAMES = ("embeddings", "bias")


@dataclasses.dataclass(frozen=True)
class RanksPlan:
    """What processes record together: everything about it follows from these numbers.

    Attributes:
        world: processes.
        columns: whether the matrix is divided by columns, and not by rows.
        steps: that each of them captures, or fewer: see ``fewer``.
        fewer: by rank, how many of the last steps it does not capture.
        flush_at: captured counts after which all of them flush, and wait until that is joined.
        block_steps: S.
        store: of each process.
        durability: of all.
        copies: whether the file system refuses hard links.
        mirror: URL that the run is sent to; none if it is empty.
    """

    world: int = 2
    columns: bool = False
    steps: int = 10
    fewer: tuple[int, ...] = ()
    flush_at: tuple[int, ...] = (6,)
    block_steps: int = 4
    store: str = "zarr"
    durability: str = "process"
    copies: bool = False
    mirror: str = ""

    @property
    def boxes(self) -> list[tuple[slice, slice]]:
        """The pieces of the matrix, one a process; the last one is smaller."""
        axis = 1 if self.columns else 0
        size = -(-SHAPE[axis] // self.world)
        cuts = [slice(rank * size, min((rank + 1) * size, SHAPE[axis])) for rank in range(self.world)]
        every = slice(0, SHAPE[1 - axis])
        return [(every, cut) if self.columns else (cut, every) for cut in cuts]

    def last(self, rank: int) -> int:
        """How many steps a process captures."""
        return self.steps - (self.fewer[rank] if rank < len(self.fewer) else 0)


def values(step: int) -> dict[str, Tensor]:
    """The arrays of a step, whole: one that is divided, and one that is not."""
    matrix = torch.arange(SHAPE[0] * SHAPE[1], dtype=torch.float32).reshape(SHAPE) + 1000 * step
    return {"embeddings": matrix, "bias": (torch.arange(SHAPE[0]) + 16 * step).to(torch.bfloat16)}


class Exchange:
    """Pipes from each process to every other, made before they are forked."""

    def __init__(self, world: int) -> None:
        self._pipes = {(here, there): os.pipe() for here in range(world) for there in range(world)}
        self._world = world
        self._readers: list[IO[bytes]] = []

    def join(self, rank: int) -> None:
        """In a process: keep its own ends, so that the end of another is noticed."""
        self.rank = rank
        for (here, there), (reader, writer) in self._pipes.items():
            if there != rank:
                os.close(reader)
            if here != rank:
                os.close(writer)
        self._readers = [os.fdopen(self._pipes[here, rank][0], "rb") for here in range(self._world)]

    def leave(self) -> None:
        """In the server, which takes no part."""
        for ends in self._pipes.values():
            for end in ends:
                os.close(end)

    def all(self, value: object) -> list[Any]:
        """What each process gives; EOFError when one of them is gone."""
        line = json.dumps(value).encode() + b"\n"
        for there in range(self._world):
            try:
                os.write(self._pipes[self.rank, there][1], line)
            except BrokenPipeError:
                continue
        found = [reader.readline() for reader in self._readers]
        if not all(found):
            raise EOFError("another process is gone")
        return [json.loads(each) for each in found]


@dataclasses.dataclass(frozen=True)
class PipedPart(Part):
    """A part whose processes speak through pipes."""

    exchange: Exchange

    def everyone(self, value: Any) -> list[Any]:
        return self.exchange.all([self.rank, self.host, value])


def rank_child(request: dict[str, Any], rank: int, shared: Shared, exchange: Exchange) -> None:
    """Record as one of the processes, and report what is raised."""
    plan, options = plan_of(request), request.get("options", {})
    exchange.join(rank)
    _use_pipes(plan, rank, exchange)
    traced = options.get("trace", {}) if rank == options.get("victim") else {}
    shared.phase = STARTED
    raised: list[dict[str, str]] = []

    def attempt(what: str, call: Callable[[], object]) -> bool:
        try:
            call()
        except (EmbevoError, EOFError) as error:
            raised.append({"during": what, "type": type(error).__name__, "message": str(error)})
            shared.say(raised)
            return False
        return True

    tensors = values(0)
    made: list[Recorder] = []
    if traced.get("from") == "creation":
        wait_for_tracer(shared, os.getpid())
    if not attempt(
        "creation",
        lambda: made.append(
            Recorder(
                request["path"],
                tensors,
                store=plan.store,  # type: ignore[arg-type]
                block_steps=plan.block_steps,
                durability=plan.durability,  # type: ignore[arg-type]
                attributes={"config": {"seed": 1}},
                resume=options.get("resume", False),
                overwrite=bool(options.get("overwrite")),
                sync_seconds=0.0,
                effort="small",
                mirror=plan.mirror or None,
            )
        ),
    ):
        return
    (recorder,) = made
    shared.phase = CREATED
    together = attempt("meeting", lambda: exchange.all(None))
    if traced.get("from") == "captures":
        wait_for_tracer(shared, _thread(recorder, traced["thread"]))
    first = options.get("first", 0)
    for step in range(first, plan.last(rank)):
        for name, value in values(step).items():
            tensors[name].copy_(value)
        shared.attempted = step + 1
        if not attempt("capture", lambda step=step: recorder.capture(step, loss=float(step))):  # type: ignore[misc]
            break
        shared.captured = step + 1
        for tensor in tensors.values():
            tensor.fill_(-1)
        if step + 1 in plan.flush_at:
            if not attempt("flush", recorder.flush):
                break
            together = together and attempt("meeting", lambda: exchange.all(None))
            if together and rank == 0:
                _wait_until_joined(recorder, Path(request["path"]), step + 1)
            together = together and attempt("meeting", lambda: exchange.all(None))
    if options.get("die"):
        exchange.all(None)
        os._exit(0)
    if traced.get("from") == "close":
        while recorder._writer.drained < recorder._writer.captured and recorder._writer.error is None:
            pass
        wait_for_tracer(shared, _thread(recorder, traced["thread"]))
    shared.phase = CLOSING
    attempt("close", recorder.close)
    shared.phase = DONE


def plan_of(request: dict[str, Any]) -> RanksPlan:
    """The plan that was sent as JSON."""
    given = request["ranks"]
    return RanksPlan(**{key: tuple(it) if isinstance(it, list) else it for key, it in given.items()})


def _use_pipes(plan: RanksPlan, rank: int, exchange: Exchange) -> None:
    """Have the recorders of this process take it for one of several that have a piece each."""
    box = plan.boxes[rank]
    cut = {"embeddings": box, "bias": (slice(0, SHAPE[0]),)}
    shapes = {name: tuple(part.stop - part.start for part in parts) for name, parts in cut.items()}
    boxes = {name: (tuple(part.start for part in cut[name]), shapes[name]) for name in NAMES}
    part = PipedPart(rank, f"node{rank}", cast("Any", exchange), boxes, exchange)
    module = cast("Any", recorder_module)
    module.part_of = lambda _sources, _likes: part
    module.local_sources = lambda sources, _likes: {
        name: lambda take=take, name=name: take()[cut[name]] for name, take in sources.items()
    }
    module.local_likes = lambda likes: {name: like[cut[name]] for name, like in likes.items()}
    cast("Any", dist).get_world_size = lambda: plan.world
    if plan.copies:
        os.link = _refuse_link  # type: ignore[assignment]


def _refuse_link(*_: object, **__: object) -> None:
    raise PermissionError(1, "no hard links here")


def _thread(recorder: Recorder, name: str) -> int:
    if name != "join":
        return thread_of(recorder, name)
    return int(_joining(recorder).native_id or 0)


def _joining(recorder: Recorder) -> Thread:
    whole = next(sink for sink in recorder._writer._sealer.sinks if isinstance(sink, Whole))
    assert whole._thread is not None
    return whole._thread


def _wait_until_joined(recorder: Recorder, path: Path, rows: int) -> None:
    """Wait until the whole run shows rows, or the thread that joins has failed."""
    while Run(path).sealed_rows < rows and _joining(recorder).is_alive():
        pass


# What must be true afterwards


def check(path: Path, plan: RanksPlan, captured: list[int], attempted: list[int], *, created: bool) -> str:
    """Raise AssertionError unless all that every process had captured is there; says what was found."""
    least, most = min(captured), min(attempted)
    try:
        rows = _as_it_is(path)
    except NotARunError:
        assert not created, "there is no run any more"
        return "no run"
    assert least <= rows <= most, f"{rows} rows are read, and all have captured {least} to {most}"
    own = {int(part.root.name): _rows(part) for part in parts_of(RunPaths(path))}
    for rank, has in own.items():
        assert captured[rank] <= has <= attempted[rank], f"rank {rank} has {has} rows"
    done = recover(path)
    assert done.ok, vars(done)
    again = _as_it_is(path)
    assert again == min(own.values(), default=0), f"{again} rows are recovered, each process has {own}"
    ahead = {rank: has for rank, has in own.items() if has > again}
    assert len(done.ahead) == len(ahead), done.ahead
    for rank, has in ahead.items():
        assert any(f"rank {rank} on node{rank} had {has - again} more" in line for line in done.ahead)
    assert _sealed(path) == again
    found = verify(path, deep=True)
    assert (found.problems, found.notes) == ([], []), found.problems
    assert summarize(path).state == "complete"
    litter = [each for each in path.rglob("*") if each.name.endswith(".partial")]
    assert not litter, litter
    second = recover(path)
    assert (second.sealed, second.removed, second.rebuilt, second.lost) == ([], [], [], []), vars(second)
    return f"{again} of {max(own.values(), default=0)} rows"


def _rows(part: RunPaths) -> int:
    """Rows in the run of a process; one that was killed while it made it had captured nothing."""
    try:
        return len(open_run(part.root).steps)
    except NotARunError:
        return 0


def _as_it_is(path: Path) -> int:
    """Rows that embevo reads, all of them right; plain zarr reads as many or fewer, and right."""
    run = open_run(path)
    _assert_right(run, run.steps.tolist())
    _sealed(path)
    return len(run.steps)


def _sealed(path: Path) -> int:
    group = zarr.open_group(path / "trajectory.zarr", mode="r")
    steps = np.asarray(group["step"][:]).tolist()
    _assert_right(group, steps)
    return len(steps)


def _assert_right(found: Any, steps: list[int]) -> None:
    assert steps == list(range(len(steps))), steps
    for name in NAMES:
        expected = [values(step)[name].float().numpy() for step in steps]
        read = np.asarray(found[name][:])
        assert len(read) == len(steps)
        assert not steps or np.array_equal(read, np.stack(expected)), name
    assert np.asarray(found["loss"][:]).tolist() == [float(step) for step in steps]
