"""Recording in several processes of one training: which of them has what, and what each one records.

A parameter that is divided (a DTensor: FSDP2, tensor parallel) is recorded where it lies. The processes speak
to each other when a recorder is made, those of the mesh of what they record, and never again.
"""

import contextlib
import gc
import socket
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, Self

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel

from embevo import errors
from embevo.errors import ArgumentError, CreationError, EmbevoError, StaleTensorError
from embevo.recording.meeting import Meeting, meeting_of
from embevo.recording.owners import is_plain
from embevo.recording.phased import Gradient, OptimizerState, Phased
from embevo.recording.sources import Take
from embevo.run.format.frame import FrameSpec
from embevo.run.format.shards import Piece, Shards

# What ``to_local`` gives where no gradient is asked for; it makes a view of it, which takes 5 us.
_LOCAL: Final = attrgetter("_local_tensor")
_Box = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Part:
    """What this process has of a recording.

    Attributes:
        rank: of this process in the training.
        host: that it runs on.
        meeting: of the processes that record together; None where this one has nothing to record, because
            they are replicas of each other, or others have all of it.
        boxes: by name of the array, where its piece begins and its shape; 0 in the shape where it has none.
    """

    rank: int
    host: str
    meeting: Meeting | None
    boxes: Mapping[str, _Box]

    @property
    def name(self) -> str:
        """For messages: ``rank 3 on node7``."""
        return f"rank {self.rank} on {self.host}"

    def everyone(self, value: Any) -> list[Any]:
        """What each process of the meeting gives, plain JSON all: ``[rank, host, value]``, by rank.

        Raises:
            EmbevoError: of the kind that another process has come with, which it names.
            CreationError: another process has not come.
        """
        if self.meeting is None:
            return [[self.rank, self.host, value]]
        return self.meeting.everyone(self.rank, self.host, value)

    def shards(self, frame: FrameSpec) -> Shards:
        """The pieces of all processes; of replicas, the one of the lowest rank counts.

        Raises:
            ArgumentError: they are not the whole of an array, each part once, or divide it too unevenly.
        """
        told = self.everyone(
            {name: [list(start), list(shape)] for name, (start, shape) in self.boxes.items()}
        )
        pieces: dict[str, dict[_Box, int]] = {name: {} for name in frame.by_name}
        for rank, _, boxes in told:
            for name, (start, shape) in boxes.items():
                if 0 not in shape:
                    pieces[name].setdefault((tuple(start), tuple(shape)), rank)
        shards = Shards(
            dist.get_world_size(),
            {
                name: tuple(
                    sorted((Piece(rank, *box) for box, rank in owned.items()), key=lambda it: it.rank)
                )
                for name, owned in pieces.items()
            },
        )
        try:
            shards.check(frame)
        except ValueError as error:
            raise ArgumentError(
                f"{self.name}: this cannot be recorded by several processes: {error}"
            ) from error
        return shards

    def agree(self, error: BaseException | None) -> None:
        """Return if no process has an error; each of them calls this, and raises one if any has.

        Raises:
            BaseException: the error given.
            EmbevoError: of the kind that another process has, which it names.
        """
        said = None if error is None else [type(error).__name__, str(error)]
        told = self.everyone(said)
        if error is not None:
            raise error
        for rank, host, other in told:
            if other is not None:
                kind = getattr(errors, other[0], CreationError)
                known = isinstance(kind, type) and issubclass(kind, EmbevoError)
                raise (kind if known else CreationError)(f"rank {rank} on {host}: {other[1]}")

    def check_same(self, what: str, value: Any) -> None:
        """Raise ArgumentError, in every process, unless all have given the same plain JSON value."""
        told = self.everyone(value)
        first_rank, first_host, first = told[0]
        for rank, host, other in told:
            if other != first:
                raise ArgumentError(
                    f"{what} is {other!r} in rank {rank} on {host} and {first!r} in rank {first_rank} on "
                    f"{first_host}: every process makes the recorder with the same arguments"
                )


class Arrival:
    """The way of a process to the making of a recorder: where an error ends it, the others are told of that.

    They would wait for it otherwise, for as long as the training has patience.

    Attributes:
        part: of this process, as soon as it is known.
    """

    def __init__(self, *given: object) -> None:
        """Arrive with what may be recorded: tensors, mappings of them, models."""
        self.part: Part | None = None
        self._given = given

    def __enter__(self) -> Self:
        """Begin; nothing is said unless it ends with an error."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Tell the others of an error."""
        if error is None or not dist.is_available() or not dist.is_initialized():
            return
        part = self.part
        meeting = meeting_of(_tensors(self._given)) if part is None else part.meeting
        if meeting is not None:
            with contextlib.suppress(dist.DistError):
                meeting.tell(dist.get_rank(), socket.gethostname(), error)


def _tensors(given: Iterable[object]) -> Iterator[object]:
    for one in given:
        if isinstance(one, Module):
            yield from one.parameters()
        elif isinstance(one, Mapping):
            yield from one.values()
        else:
            yield one


def is_divided(model: Module) -> bool:
    """Whether parameters of a model are divided among processes."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def part_of(sources: Mapping[str, Take], likes: Mapping[str, Tensor]) -> Part | None:
    """What this process records of a recording by several; None where it records all of it by itself.

    Args:
        sources: what is recorded, by name of the array.
        likes: tensors of the shape and dtype of each.

    Raises:
        ArgumentError: a tensor is a sum of what processes have, or divided in a way that is not recorded.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    rank, host = dist.get_rank(), socket.gethostname()
    if not any(isinstance(like, DTensor) for like in likes.values()):
        return Part(rank, host, None, {}) if rank and _are_replicas(sources) else None
    boxes = {name: _box(name, like) for name, like in likes.items()}
    return Part(rank, host, meeting_of(likes.values()), boxes)


def local_sources(sources: Mapping[str, Take], likes: Mapping[str, Tensor]) -> dict[str, Take]:
    """What takes the pieces that this process has; what is not divided is taken as before."""
    taken = dict(sources)
    for name, like in likes.items():
        if isinstance(like, DTensor):
            take = sources[name]
            if isinstance(take, Phased):
                taken[name] = _LocalPhased(name, take, like)
            else:
                taken[name] = _Local(name, take, like)
    return taken


def local_likes(likes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the shape and dtype of the pieces that this process has."""
    return {name: _local(like) for name, like in likes.items()}


class _Piece:
    """The piece that this process records of tensors that are divided in one way or another."""

    def __init__(self, name: str, like: Tensor) -> None:
        self._name = name
        self._placements = _placements(like)
        self._box = _box(name, like)
        # Where the piece lies in what this process has, by how that is divided.
        self._cuts: dict[tuple[Any, ...], tuple[slice, ...]] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """The piece of a tensor: of what this process has of it, which may be more.

        Raises:
            StaleTensorError: it has less, or the tensor is not divided any more.
        """
        placements = _placements(tensor)
        if placements == self._placements:
            return _local(tensor)
        if not placements:
            raise StaleTensorError(
                f"{self._name} is whole now, and was divided among processes when the recorder was made: "
                "what training steps is not here. Capture after optimizer.step(), when it is divided again."
            )
        cut = self._cuts.get(placements)
        if cut is None:
            cut = self._cuts[placements] = self._cut(tensor)
        return _local(tensor)[cut]

    def _cut(self, tensor: Tensor) -> tuple[slice, ...]:
        (start, shape), (first, size) = self._box, _box(self._name, tensor)
        inside = all(
            at >= begin and at + length <= begin + all_of_it
            for at, length, begin, all_of_it in zip(start, shape, first, size, strict=True)
        )
        if not inside:
            raise StaleTensorError(
                f"{self._name} is now divided as {_placements(tensor)}, and was as {self._placements} when "
                "the recorder was made: the piece that is recorded here is elsewhere. Record on in a new run."
            )
        return tuple(
            slice(at - begin, at - begin + length)
            for at, length, begin in zip(start, shape, first, strict=True)
        )


class _Local:
    """The piece that this process has of a tensor.

    While FSDP has a parameter gathered, its module holds the whole of it, which no optimizer steps: taken is
    the piece that is stepped.
    """

    def __init__(self, name: str, take: Take, like: Tensor) -> None:
        self._take = take
        self._piece = _Piece(name, like)
        self._last = weakref.ref(like)

    def __call__(self) -> Tensor | None:
        tensor = self._take()
        if tensor is None:
            return None
        if isinstance(tensor, DTensor):
            if tensor is not self._last():
                self._last = weakref.ref(tensor)
        else:
            known = self._last()
            tensor = tensor if known is None else known
        return self._piece.of(tensor)


class _LocalPhased(Phased):
    """The piece that this process has of what is taken at a moment of its own."""

    def __init__(self, name: str, take: Phased, like: Tensor) -> None:
        self.phase = take.phase
        self._take = take
        self._piece = _Piece(name, like)
        self._like = _local(like)

    def __call__(self) -> Tensor | None:
        tensor = self._take()
        return None if tensor is None else self._piece.of(tensor)

    def like(self) -> Tensor:
        return self._like


def _local(tensor: Tensor) -> Tensor:
    if not isinstance(tensor, DTensor):
        return tensor
    local: Tensor = _LOCAL(tensor)
    # What is still on its way from another process is waited for.
    wait: Callable[[], Tensor] | None = None if is_plain(local) else getattr(local, "wait", None)
    return local if wait is None else wait()


def _placements(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.placements) if isinstance(tensor, DTensor) else ()


def _box(name: str, like: Tensor) -> _Box:
    """Where the piece that this process has begins, and its shape."""
    if not isinstance(like, DTensor):
        return (0,) * like.ndim, tuple(like.shape)
    if any(placement.is_partial() for placement in like.placements):
        raise ArgumentError(
            f"{name} is divided as {tuple(like.placements)}: each process has a part of a sum, and none a "
            "number. Record what comes of it when it is added up."
        )
    shape, start = compute_local_shape_and_global_offset(like.shape, like.device_mesh, like.placements)
    local = tuple(_local(like).shape)
    if tuple(shape) != local:
        raise ArgumentError(
            f"{name} is divided as {tuple(like.placements)}: the piece here is {local}, where {tuple(shape)} "
            "was expected. Such a division is not recorded."
        )
    return tuple(start), local


def _are_replicas(sources: Mapping[str, Take]) -> bool:
    """Whether all that is recorded is the same in every process: parameters of a model in DDP, and theirs."""
    wrapped = [found for found in gc.get_objects() if issubclass(type(found), DistributedDataParallel)]
    theirs = {id(parameter) for module in wrapped for parameter in module.parameters()}
    return all(id(_parameter(take)) in theirs for take in sources.values())


def _parameter(take: Take) -> Tensor | None:
    """The parameter that something is, or is kept for."""
    if isinstance(take, Gradient | OptimizerState):
        return take.parameter()
    return None if isinstance(take, Phased) else take()
