"""Which matrix of a model is its embedding, and which of two where adapters lie over it."""

import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import Final

import torch
from torch import Tensor
from torch.nn import Embedding, Module

from embevo.errors import ArgumentError, RecordingWarning, StaleTensorError
from embevo.recording.sources import Source

# What a layer calls the one whose output it adds to, as LoRA and its kin do in peft. Layers that peft puts in
# another one's place (modules_to_save, trainable tokens) have the right weight themselves.
_ADAPTED: Final = "base_layer"
_WEIGHT: Final = attrgetter("weight")


def embedding_source(model: Module, *, parameter: str | None, merged: bool) -> Source:
    """What to record of a model: the name of a parameter in it, or what gives the merged matrix.

    Args:
        model: any module.
        parameter: its name, if the caller knows it.
        merged: whether adapters of the embedding are to be merged into it.

    Raises:
        ArgumentError: it cannot be told which matrix is the embedding, or it cannot be merged.
    """
    if parameter is not None:
        if merged:
            raise ArgumentError(
                "merged is the matrix that the model looks up, and parameter names another: pass one of them"
            )
        return parameter
    layer = _input_embeddings(model)
    if layer is None:
        raise ArgumentError(
            f"{type(model).__name__} does not say which matrix is its embedding. Name it, parameter="
            f"{_candidates(model)}"
        )
    adapted = isinstance(getattr(layer, _ADAPTED, None), Module)
    if merged and (adapted or type(layer).forward is not Embedding.forward):
        return _looked_up(layer)
    name = _name(model, layer)
    if adapted and not merged:
        warnings.warn(
            f"the embedding of this model is adapted ({type(layer).__module__}.{type(layer).__name__}): "
            f"recorded is {name}, the matrix below the adapters, and not what the model looks up. "
            "RecordEmbeddings(..., merged=True) records that.",
            RecordingWarning,
            stacklevel=2,
        )
    return name


def _input_embeddings(model: Module) -> Module | None:
    """What the model, or the first module in it that knows, says are its input embeddings."""
    for module in model.modules():
        ask = getattr(module, "get_input_embeddings", None)
        if callable(ask):
            try:
                layer = ask()
            except (NotImplementedError, AttributeError, TypeError):
                continue
            if isinstance(layer, Module) and isinstance(getattr(layer, "weight", None), Tensor):
                return layer
    layers = [module for module in model.modules() if isinstance(module, Embedding)]
    return layers[0] if len(layers) == 1 else None


def _name(model: Module, layer: Module) -> str:
    """The name of the layer's weight in the model, by which it is followed."""
    for path, module in model.named_modules(remove_duplicate=False):
        if module is layer:
            return f"{path}.weight".lstrip(".")
    raise StaleTensorError(
        f"the input embeddings of {type(model).__name__} are not a module of it: name what to record, "
        f"parameter={_candidates(model)}"
    )


def _looked_up(layer: Module) -> Callable[[], Tensor]:
    """What gives the row that the layer looks up for each token."""
    if any(getattr(module, "max_norm", None) is not None for module in layer.modules()):
        raise ArgumentError(
            "an embedding with max_norm changes its weights when they are looked up, and cannot be recorded "
            "merged"
        )

    def merged() -> Tensor:
        with torch.no_grad():
            weight: Tensor = _WEIGHT(layer)
            ids = torch.arange(weight.shape[0], device=weight.device)
            # Not through hooks: this is no step of the training.
            found = layer.forward(ids)
        return found if isinstance(found, Tensor) else weight

    return merged


def _candidates(model: Module) -> str:
    names = [name for name, value in model.named_parameters() if value.ndim == 2]
    embeddings = [name for name in names if "embed" in name.lower() or "wte" in name.lower()]
    return " or ".join(repr(name) for name in (embeddings or names)[:8]) or "(it has no matrix)"
