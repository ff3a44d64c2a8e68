"""What the processes of one training tell each other when they make a recorder.

They speak through the store of the training, by which torch.distributed has brought them together, and not
by its collectives. So where one of them does not come, or goes on to train instead, no collective of the
training is taken for its answer, and the others are told who is missing. The first gathers what all say.
"""

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.distributed_c10d import _get_default_store
from torch.distributed.tensor import DTensor

from embevo import errors
from embevo.errors import CreationError, EmbevoError, RecordingWarning

# How long its processes wait for each other in a training; torch does not declare it.
_TIMEOUT: Final = attrgetter("timeout")
# Between looks; the pause grows from the first to the second.
_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.1
# After which it is said who is waited for.
_SAY_SECONDS: Final = 30.0
# Beyond the patience of the first, which says who is missing.
_GRACE_SECONDS: Final = 10.0
_ALL: Final = (
    "Where a matrix is divided among processes, every one of them makes the recorder, and not only the first."
)
_MOST_NAMED: Final = 8
# How often these processes have met: the number of a meeting is the same in each of them.
_met: Counter[tuple[int, ...]] = Counter()


class Meeting:
    """One meeting of some processes, to make a recorder: they say something in turns, each in every turn.

    Attributes:
        ranks: of the processes, ascending.
    """

    def __init__(self, ranks: Sequence[int]) -> None:
        """Begin the next meeting of these processes; nothing is sent or waited for."""
        self.ranks = tuple(sorted(ranks))
        number = _met[self.ranks]
        _met[self.ranks] += 1
        self._place = f"embevo/{','.join(map(str, self.ranks))}/{number}"
        self._store = _get_default_store()
        self._patience = float(_TIMEOUT(self._store).total_seconds())
        self._turn = 0

    @property
    def _first(self) -> int:
        return self.ranks[0]

    def everyone(self, rank: int, host: str, value: Any) -> list[Any]:
        """What each process says in this turn, plain JSON all: ``[rank, host, value]``, by rank.

        Raises:
            EmbevoError: of the kind that a process has come with, which it names.
            CreationError: a process has not come in the time that the training gives its processes.
        """
        turn, self._turn = self._turn, self._turn + 1
        try:
            self._say(turn, str(rank), [rank, host, value])
            if rank == self._first:
                found = self._gathered(turn)
                self._say(turn, "all", found)
            else:
                found = self._waited(turn)
        except dist.DistError as error:
            raise CreationError(
                f"rank {rank} on {host}: the store of the training does not answer any more: a process of it "
                f"has ended, which may have said why. {str(error).partition(chr(10))[0]}"
            ) from error
        if isinstance(found, dict):
            raise _error_of(found)
        return sorted(found, key=lambda item: int(item[0]))

    def tell(self, rank: int, host: str, error: BaseException) -> None:
        """Have the others raise the error of this process, in this turn; nothing is waited for."""
        said = {"rank": rank, "host": host, "kind": type(error).__name__, "text": str(error)}
        turn, self._turn = self._turn, self._turn + 1
        self._say(turn, str(rank), said)
        if rank == self._first:
            self._say(turn, "all", said)

    def _say(self, turn: int, who: str, value: Any) -> None:
        self._store.set(self._key(turn, who), json.dumps(value))

    def _key(self, turn: int, who: str) -> str:
        return f"{self._place}/{turn}/{who}"

    def _heard(self, turn: int, who: str) -> Any:
        """What was said; None if nothing was."""
        key = self._key(turn, who)
        return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def _gathered(self, turn: int) -> Any:
        """What all have said, or the first error of one."""
        found: list[Any] = []
        missing = list(self.ranks)
        for _ in _looks(self._patience, lambda: missing):
            for rank in tuple(missing):
                heard = self._heard(turn, str(rank))
                if isinstance(heard, dict):
                    return heard
                if heard is not None:
                    found.append(heard)
                    missing.remove(rank)
            if not missing:
                return found
        return {"kind": CreationError.__name__, "text": _absent(missing, self.ranks, self._patience)}

    def _waited(self, turn: int) -> Any:
        """What the first has gathered."""
        patience = self._patience + _GRACE_SECONDS

        def missing() -> list[int]:
            # While the first is there, it says whom it waits for.
            return [] if self._store.check([self._key(turn, str(self._first))]) else [self._first]

        for _ in _looks(patience, missing):
            heard = self._heard(turn, "all")
            if heard is not None:
                return heard
        text = _absent([self._first], self.ranks, patience)
        return {"kind": CreationError.__name__, "text": text}


def meeting_of(given: Iterable[object]) -> Meeting | None:
    """The meeting of the processes that tensors are divided among; None where this is none of them."""
    meshes = [tensor.device_mesh for tensor in given if isinstance(tensor, DTensor)]
    if not meshes:
        return None
    ranks = _ranks_of(max(meshes, key=lambda mesh: mesh.size()))
    return Meeting(ranks) if dist.get_rank() in ranks else None


def _ranks_of(mesh: DeviceMesh) -> list[int]:
    return [int(rank) for rank in mesh.mesh.flatten().tolist()]


def _looks(patience: float, missing: Callable[[], Sequence[int]]) -> Iterator[None]:
    """Have the caller look again and again until the patience ends; says once who is waited for."""
    began, pause, said = time.monotonic(), _PAUSE_SECONDS, False
    while True:
        yield
        waited = time.monotonic() - began
        if waited > patience:
            return
        if waited > _SAY_SECONDS and not said:
            said = True
            if who := missing():
                warnings.warn(
                    f"making the recorder waits for {_named(who)}. {_ALL}",
                    RecordingWarning,
                    stacklevel=2,
                )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _absent(missing: Sequence[int], ranks: Sequence[int], patience: float) -> str:
    return (
        f"{_named(missing)} of {len(ranks)} did not come to make the recorder in {patience:g} s, the timeout "
        f"of the training. {_ALL}"
    )


def _named(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:_MOST_NAMED]))
    more = f" and {len(ranks) - _MOST_NAMED} more" if len(ranks) > _MOST_NAMED else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more}"


def _error_of(said: Mapping[str, Any]) -> EmbevoError:
    """The error that a process has told of, of its kind where that is one of embevo's."""
    kind = getattr(errors, str(said["kind"]), None)
    where = f"rank {said['rank']} on {said['host']}: " if "rank" in said else ""
    if isinstance(kind, type) and issubclass(kind, EmbevoError):
        return kind(f"{where}{said['text']}")
    return CreationError(f"{where}{said['kind']}: {said['text']}")
