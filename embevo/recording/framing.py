"""From tensors and sources to the frame that a run records, and whether a tensor still fits into it."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from embevo.errors import FrameMismatchError, RecordingWarning, StaleTensorError
from embevo.recording.phased import OptimizerState, Phased
from embevo.recording.sources import Take, check_recordable
from embevo.recording.tensor_dtypes import DTYPE_NAMES, dtype_name
from embevo.run.format.array_spec import default_dimensions
from embevo.run.format.dtypes import FLOATS
from embevo.run.format.frame import FrameSpec
from embevo.run.format.token_subset import TokenSubset


def likeness(name: str, take: Take) -> Tensor:
    """A tensor of the shape and dtype that a source gives.

    Raises:
        StaleTensorError: it gives none yet, so that this cannot be known.
    """
    like = take.like() if isinstance(take, Phased) else take()
    if like is None and isinstance(take, OptimizerState):
        raise StaleTensorError(
            f"{name}: what the optimizer will keep cannot be found out before its first step. Begin to "
            "record after that step (first_step=1), or say it with an empty tensor, embevo.source(lambda: "
            "optimizer.state[weight].get(key), like=tensor)"
        )
    if like is None:
        raise StaleTensorError(
            f"{name} gave None, not a tensor, so that its shape and dtype are not known. Say them with an "
            "empty tensor, embevo.source(call, like=tensor); of a gradient, capture between backward and "
            "zero_grad(), or record embevo.gradient(parameter)"
        )
    return like


def frame_of(
    likes: Mapping[str, Tensor],
    scalars: tuple[str, ...],
    dimensions: Mapping[str, Sequence[str]] | None = None,
    subset: TokenSubset | None = None,
) -> FrameSpec:
    """The frame that these tensors, of one to three axes, and scalars make.

    Args:
        likes: by name, tensors of the shape and dtype of what is recorded of all tokens.
        scalars: names.
        dimensions: names of the axes of arrays, by name of the array.
        subset: the tokens that are recorded of the arrays along ``token``; None for all of them.

    Raises:
        FrameMismatchError: a tensor has a shape or dtype that is not recorded.
    """
    for name, tensor in likes.items():
        check_recordable(name, tensor)
        if tensor.dtype not in DTYPE_NAMES:
            conversion = "abs" if tensor.is_complex() else "float"
            raise FrameMismatchError(
                f"{name} is {tensor.dtype}; embevo records {', '.join(DTYPE_NAMES.values())}. Give a "
                f"callable that converts it at every capture, such as lambda: tensor.{conversion}()"
            )
    shapes = {name: tuple(tensor.shape) for name, tensor in likes.items()}
    named = default_dimensions(shapes) | {name: tuple(axes) for name, axes in (dimensions or {}).items()}
    if subset is not None:
        along = [name for name in shapes if named[name][:1] == ("token",)]
        if not along:
            raise FrameMismatchError(
                "tokens are chosen, and no array has the axis token: name it with dimensions="
            )
        for name in along:
            if shapes[name][0] != subset.vocabulary:
                raise FrameMismatchError(
                    f"{name} has {shapes[name][0]} rows along token; the vocabulary has {subset.vocabulary}"
                )
            shapes[name] = (len(subset), *shapes[name][1:])
    described = {name: (dtype_name(tensor.dtype), shapes[name]) for name, tensor in likes.items()}
    return FrameSpec.of(described, scalars, dimensions=named, tokens=subset)


def check_matches(name: str, tensor: Tensor, frame: FrameSpec) -> None:
    """Raise FrameMismatchError unless the tensor is what the run records under this name."""
    found = (dtype_name(tensor.dtype), tuple(tensor.shape))
    spec = frame.by_name[name]
    whole = spec.shape
    if frame.tokens is not None and spec.dimensions[0] == "token":
        whole = (frame.tokens.vocabulary, *spec.shape[1:])
    if found == (spec.dtype, whole):
        return
    resized = len(found[1]) == len(whole) and found[1][1:] == whole[1:] and found[0] == spec.dtype
    hint = (
        "Resize before recording begins (resize_token_embeddings and the like), or record on in a new run."
        if resized
        else "An array keeps its shape and dtype for a whole run: record the new one in a new run."
    )
    raise FrameMismatchError(
        f"{name} is now {found[0]} {found[1]}; this run records {spec.dtype} {whole}. {hint}"
    )


def check_can_be_missing(name: str, frame: FrameSpec) -> None:
    """Raise FrameMismatchError for a source that is None at some step and has a dtype without NaN."""
    dtype = frame.by_name[name].dtype
    if dtype not in FLOATS:
        raise FrameMismatchError(
            f"{name} gave None, and {dtype} has no NaN to stand for that: give a tensor at every step, "
            "or record it in a floating dtype"
        )


def say_never_taken(names: Sequence[str]) -> None:
    """Warn of sources that nobody takes before the optimizer's step."""
    warnings.warn(
        f"{', '.join(names)} is taken before the optimizer's step, and nothing has done that: NaN is "
        "recorded. Call recorder.before_step() right before optimizer.step(), or use embevo.record",
        RecordingWarning,
        stacklevel=5,
    )


def gathered(tensor: Tensor, ids: Tensor) -> Tensor:
    """The rows of some tokens, ``(token, ...)``, on the tensor's device."""
    return torch.index_select(tensor.detach(), 0, ids)
