"""What is recorded: tensors, taken anew at every capture, so that it is those that training uses then."""

import warnings
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from embevo.errors import ArgumentError, FrameMismatchError, RecordingWarning, StaleTensorError
from embevo.recording.numbers import shown
from embevo.recording.owners import Place, all_places, places_of, same_matrix, storage_of
from embevo.recording.phased import Phased

Take = Callable[[], Tensor | None]
Source = Tensor | str | Callable[[], Tensor | None]
_Always = Callable[[], Tensor]

_BY_NAME: Final = "give the name of a parameter and the module, {'embeddings': 'wte.weight'} and module=model"

_EMBEDDING_WORDS: Final = ("embed", "wte")
_MOST_LISTED: Final = 8
# The tensor that a view was taken of; torch has no public name for it.
_BASE: Final = attrgetter("_base")
# How torch marks what the first version of FSDP has taken; where that is divided, it has one axis.
_FLATTENED: Final = "_fsdp_flattened"


def sources_of(matrices: Mapping[str, Source], module: Module | None = None) -> dict[str, Take]:
    """What takes each matrix, by name.

    Args:
        matrices: by name of the array: a tensor; a callable that gives one, or None where there is none; a
            source with a phase; or with ``module`` the name of a parameter or buffer in it.
        module: where names are looked up; tensors are then followed by their names in it.

    Raises:
        ArgumentError: something is none of these.
        StaleTensorError: a tensor is a copy of what is trained, or not in the module.
    """
    if not isinstance(matrices, Mapping):
        raise ArgumentError(
            f"matrices is {shown(matrices)}; pass them by name, such as {{'embeddings': parameter}}"
        )
    if module is not None and not isinstance(module, Module):
        raise ArgumentError(
            f"module is {shown(module)}; it must be a torch.nn.Module that holds what is recorded"
        )
    for name, source in matrices.items():
        _check(name, source)
    held = [] if module is not None else all_places()
    beside = [source for source in matrices.values() if isinstance(source, Tensor)]
    return {name: _take(str(name), source, module, held, beside) for name, source in matrices.items()}


def _check(name: object, source: object) -> None:
    """Raise an error on what is no source, or a tensor that cannot change any more."""
    if isinstance(source, Module):
        raise ArgumentError(
            f"{name} is a module, {type(source).__name__}; pass its matrix, such as its .weight"
        )
    if source is None:
        raise ArgumentError(
            f"{name} is None. A gradient is None until the first backward: run one before this."
        )
    if isinstance(source, np.ndarray):
        raise ArgumentError(
            f"{name} is a numpy array; pass torch.from_numpy(array), which is the same memory"
        )
    if not isinstance(source, Tensor):
        if not isinstance(source, str) and not callable(source):
            raise ArgumentError(f"{name} is {shown(source)}; pass a tensor, or a callable that gives one")
        return
    check_recordable(str(name), source)
    base = _BASE(source)
    if source.grad_fn is not None and (base is None or base.grad_fn is not None):
        raise StaleTensorError(
            f"{name} was computed from other tensors ({source.grad_fn.name()}) and does not change when they "
            f"do: it is a copy. Record the parameter itself; or {_BY_NAME}; or give a callable that computes "
            "it at every capture, such as lambda: weight[ids]"
        )


def check_recordable(name: str, tensor: Tensor) -> None:
    """Raise FrameMismatchError on a tensor whose elements do not lie in memory one beside the other."""
    if tensor.is_nested or tensor.layout is not torch.strided:
        found, how = f"sparse or nested ({tensor.layout})", "to_dense()"
    elif tensor.is_quantized:
        found, how = f"quantized ({tensor.dtype})", "dequantize()"
    elif tensor.is_meta:
        raise FrameMismatchError(
            f"{name} is on the meta device and has no values: record it when the model has its weights"
        )
    elif tensor.ndim == 1 and getattr(tensor, _FLATTENED, False):
        raise FrameMismatchError(
            f"{name} is a piece of what FullyShardedDataParallel has made one vector of: it says neither its "
            "shape nor which rows it has. Divide the model with fully_shard (FSDP2), which keeps both."
        )
    else:
        return
    raise FrameMismatchError(
        f"{name} is {found}, which is not recorded. Give a callable that converts it at every capture, such "
        f"as lambda: tensor.{how}"
    )


def _take(
    name: str, source: Source, module: Module | None, held: list[tuple[Tensor, Place]], beside: list[Tensor]
) -> Take:
    if isinstance(source, str):
        if module is None:
            raise ArgumentError(
                f"{name} is {source!r}, the name of a parameter: pass the module that it is looked up in, "
                "Recorder(..., module=model)"
            )
        return Named(name, module, source)
    if isinstance(source, Phased):
        return source
    if not isinstance(source, Tensor):
        return _Called(name, source)
    if module is not None:
        return _in_module(name, source, module)
    return _held(name, source, held, beside)


def _in_module(name: str, tensor: Tensor, module: Module) -> _Always:
    """Look a tensor up by its name in the module, or as the gradient of what has one."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for path, other in named:
        if other is tensor or same_matrix(other, tensor):
            return Named(name, module, path)
    for path, other in named:
        if other.grad is tensor:
            return _Gradient(name, Named(name, module, path))
    raise StaleTensorError(
        f"{name} is not, or is no longer, a parameter or buffer of {type(module).__name__}, so that it would "
        f"not change with it. {type(module).__name__} has {_listed(module)}."
    )


def _listed(module: Module) -> str:
    """Parameters of a module for a message, those that look like embeddings first; a few of many."""
    names = [path for path, _ in module.named_parameters(remove_duplicate=False)]
    names.sort(key=lambda path: not any(word in path.lower() for word in _EMBEDDING_WORDS))
    return ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "") or "none"


def _held(name: str, tensor: Tensor, held: list[tuple[Tensor, Place]], beside: list[Tensor]) -> _Always:
    """A tensor as whatever it is found to be: what a module holds, a gradient, a view, or only itself."""
    places = [place for other, place in held if other is tensor]
    if places:
        return _Owned(name, tensor, places)
    owner = next((other for other, _ in held if same_matrix(other, tensor)), None)
    if owner is not None:
        return _held(name, owner, held, [])
    parameters = [other for other, _ in held] + [other for other in beside if other is not tensor]
    of_gradient = next((other for other in parameters if other.is_leaf and other.grad is tensor), None)
    if of_gradient is not None:
        return _Gradient(name, _held(name, of_gradient, held, []))
    base = _BASE(tensor)
    storage = storage_of(tensor)
    if base is None and storage:
        base = next((other for other, _ in held if storage_of(other) == storage), None)
    if base is not None and base is not tensor and storage:
        return _View(name, tensor, _held(name, base, held, []))
    # Of all calls the one that costs least.
    return partial((tensor,).__getitem__, 0)


def followed(parameter: Tensor) -> Callable[[], Tensor]:
    """What gives a parameter, or whatever its module holds in its place by then.

    Raises:
        StaleTensorError: it is a copy of what is trained.
    """
    _check("the parameter", parameter)
    return _held("the parameter", parameter, all_places(), [])


class _Called:
    """What a callable gives."""

    def __init__(self, name: str, source: Callable[[], Tensor | None]) -> None:
        self._name = name
        self._source = source

    def __call__(self) -> Tensor | None:
        tensor = self._source()
        if tensor is not None and not isinstance(tensor, Tensor):
            raise StaleTensorError(
                f"{self._name}: the callable gave {shown(tensor)}, not a tensor; it gives a tensor, or None "
                "where there is none."
            )
        return tensor


class Named:
    """What a module holds under a name, whatever module or tensor was put there since.

    Attributes:
        path: the name.
    """

    def __init__(self, name: str, module: Module, path: str) -> None:
        """Take, for the array ``name``, what ``module`` has at ``path``."""
        self._name = name
        self._module = module
        self.path = path
        self._get = attrgetter(path)

    def __call__(self) -> Tensor:
        """What it holds now; StaleTensorError where there is nothing of the name."""
        try:
            found = self._get(self._module)
        except AttributeError:
            found = None
        if not isinstance(found, Tensor):
            raise StaleTensorError(
                f"{self._name}: {type(self._module).__name__} has no parameter {self.path!r}; it has "
                f"{_listed(self._module)}"
            )
        return found


class _Owned:
    """What a module holds in the place where the tensor was found.

    When one of the modules that a tensor is tied to lets go of it, it is still recorded, and a warning says
    so. When none holds it any more, what was put into its place is recorded, if that is one tensor.
    """

    def __init__(self, name: str, tensor: Tensor, places: list[Place]) -> None:
        self._name = name
        self._adopt(tensor, places)

    def _adopt(self, tensor: Tensor, places: list[Place]) -> None:
        self._tensor = tensor
        # Not the modules themselves: a recorder does not keep alive what training has let go of.
        self._places = [(weakref.ref(module, self._forget), table, key) for module, table, key in places]
        _, self._table, self._key = self._places[0]
        self._tied = [(table, key) for _, table, key in places[1:]]

    def _forget(self, gone: object) -> None:
        del gone
        self._table = {}

    def __call__(self) -> Tensor:
        if self._table.get(self._key) is not self._tensor:
            return self._follow()
        for table, key in self._tied:
            if table.get(key) is not self._tensor:
                return self._follow()
        return self._tensor

    def _follow(self) -> Tensor:
        holding = places_of(self._tensor)
        if not holding:
            return self._replaced()
        if len(holding) < len(self._places):
            still = ", ".join(f"{type(place.module).__name__}.{place.key}" for place in holding)
            warnings.warn(
                f"{self._name}: a module that held the tensor that was handed over holds another one now, or "
                f"is gone. Recorded is still the one that was handed over, held by {still}. To say which is "
                f"meant, {_BY_NAME}",
                RecordingWarning,
                stacklevel=2,
            )
        self._adopt(self._tensor, holding)
        return self._tensor

    def _replaced(self) -> Tensor:
        living = [(module, table, key) for ref, table, key in self._places if (module := ref()) is not None]
        put = [(tensor, Place(*place)) for place in living if (tensor := place[1].get(place[2])) is not None]
        if len({id(tensor) for tensor, _ in put}) != 1:
            raise StaleTensorError(
                f"{self._name}: no module holds the tensor any more that was handed over; training has let "
                f"go of it. To have it followed, {_BY_NAME}; to record this very tensor all the same, give a "
                "callable, lambda: weight"
            )
        self._adopt(put[0][0], [place for _, place in put])
        return self._tensor


class _Gradient:
    """The gradient that a parameter has at the moment."""

    def __init__(self, name: str, take: _Always) -> None:
        self._name = name
        self._take = take

    def __call__(self) -> Tensor:
        gradient = self._take().grad
        if gradient is None:
            raise StaleTensorError(
                f"{self._name} is the gradient of a parameter that has none now: zero_grad() takes it away. "
                "Capture before zero_grad(), or call zero_grad(set_to_none=False)."
            )
        return gradient


class _View:
    """A part of a tensor that is followed, as long as it lies in the same memory."""

    def __init__(self, name: str, tensor: Tensor, take: _Always) -> None:
        self._name = name
        self._tensor = tensor
        self._take = take

    def __call__(self) -> Tensor:
        if storage_of(self._take()) != storage_of(self._tensor):
            raise StaleTensorError(
                f"{self._name} is a view of a tensor whose memory was replaced: it does not change any more. "
                "Give a callable that takes the view at every capture, such as lambda: weight[:10]"
            )
        return self._tensor
