"""Which modules hold a tensor: so that it can be told when training has let go of it."""

import gc
from typing import Final, NamedTuple

from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.parameter import Buffer

# The tables of a module that hold tensors, by the names of the module's attributes.
_TABLES: Final = ("_parameters", "_buffers")
# Tensors with memory of their own; a fake one or a distributed one has none that could be compared.
_PLAIN: Final = (Tensor, Parameter, Buffer)


class Place(NamedTuple):
    """A place where a module holds a tensor.

    Attributes:
        module: the module itself, not one that contains it.
        table: its own parameters or buffers, by name.
        key: the name there.
    """

    module: Module
    table: dict[str, Tensor | None]
    key: str


def all_places() -> list[tuple[Tensor, Place]]:
    """Every tensor that a module of this process holds.

    There is no other way to get from a tensor to its module than to look at all objects: some tens of
    milliseconds where transformers is loaded, once a recorder.
    """
    kinds = {Module}
    waiting = [Module]
    while waiting:
        for kind in type.__subclasses__(waiting.pop()):
            if kind not in kinds:
                kinds.add(kind)
                waiting.append(kind)
    # By their ids: not every class can be a member of a set.
    ids = set(map(id, kinds))
    modules = [found for found in gc.get_objects() if id(type(found)) in ids]
    return [
        (tensor, Place(module, table, key))
        for module in modules
        for table in map(vars(module).get, _TABLES)
        if isinstance(table, dict)
        for key, tensor in list(table.items())
        if isinstance(tensor, Tensor)
    ]


def places_of(tensor: Tensor) -> list[Place]:
    """The places where modules hold this very tensor, now."""
    return [place for held, place in all_places() if held is tensor]


def same_matrix(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one matrix in memory, as ``weight`` and ``weight.detach()`` are."""
    return (
        type(tensor) in _PLAIN
        and type(other) in _PLAIN
        and tensor.device == other.device
        and tensor.dtype == other.dtype
        and tensor.shape == other.shape
        and tensor.stride() == other.stride()
        and tensor.data_ptr() == other.data_ptr() != 0
    )


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has memory of its own, and is not one that stands for others."""
    return type(tensor) in _PLAIN


def storage_of(tensor: Tensor) -> int:
    """The address of the memory that a tensor is a view of; 0 where it has none of its own."""
    return (
        tensor.untyped_storage().data_ptr() if type(tensor) in _PLAIN and tensor.device.type != "meta" else 0
    )
