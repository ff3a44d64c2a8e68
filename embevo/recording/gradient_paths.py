"""The gradient of a tied matrix by the two ways in which it comes: from looking rows up, and from the head.

Autograd adds both into one ``.grad``. While a module that uses the matrix runs its forward pass, it is given
a view of the matrix in its place; what arrives at that view in the backward pass came from this use alone.
The view is of the same memory, and what it hands on is added into ``.grad`` as before, bit for bit.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from embevo.errors import ArgumentError
from embevo.recording.phased import Gradient
from embevo.recording.sources import Named

Path = Literal["input", "output"]
PATHS: Final[tuple[Path, ...]] = ("input", "output")
_WEIGHT: Final = "weight"
# Where a module keeps its parameters by name; torch has no public way to put a view there.
_TABLE: Final[Callable[[nn.Module], dict[str, Any]]] = attrgetter("_parameters")


class GradientPaths:
    """What has arrived of a tied matrix since its gradient was last taken away.

    Attributes:
        wanted: whether the coming step is recorded; where it is not, nothing is kept.
        parameter: gives the matrix.
    """

    def __init__(self, parameter: Named, looking_up: nn.Module, head: nn.Module) -> None:
        """Hook onto both uses, until :meth:`close`.

        Raises:
            ArgumentError: the matrix is not tied, or one of its uses cannot be told apart.
        """
        self.wanted = True
        self.parameter = parameter
        self._arrived: dict[Path, Tensor] = {}
        # Whether anything was added into .grad since what is kept here was begun.
        self._is_added = False
        self._held: dict[int, Tensor] = {}
        self._accumulating: tuple[Tensor, Any] | None = None
        _check(parameter(), looking_up, head)
        self._handles = []
        for path, module in zip(PATHS, (looking_up, head), strict=True):
            before = _Lend(self, path)
            self._handles += [
                module.register_forward_pre_hook(before),
                module.register_forward_hook(self._take_back, always_call=True),
            ]

    def lend(self, module: nn.Module, path: Path) -> None:
        """Give a module a view in the place of the matrix."""
        matrix = _TABLE(module).get(_WEIGHT)
        if not self.wanted or matrix is None or not (torch.is_grad_enabled() and matrix.requires_grad):
            return
        self._follow(matrix)
        view: Any = matrix.view_as(matrix)
        view.register_hook(_Arrival(self, path))
        self._held[id(module)] = matrix
        _TABLE(module)[_WEIGHT] = view

    def _take_back(self, module: nn.Module, *_: Any) -> None:
        matrix = self._held.pop(id(module), None)
        if matrix is not None:
            _TABLE(module)[_WEIGHT] = matrix

    def _follow(self, matrix: Tensor) -> None:
        """Be told when something is added into the gradient of the matrix, whatever took its place."""
        if self._accumulating is not None and self._accumulating[0] is matrix:
            return
        if self._accumulating is not None:
            self._accumulating[1].remove()
        hooked: Any = matrix
        self._accumulating = (matrix, hooked.register_post_accumulate_grad_hook(self._added))

    def _added(self, _: Tensor) -> None:
        self._is_added = True

    def arrive(self, path: Path, gradient: Tensor) -> None:
        """Keep a copy, added to what came by this way before, in the dtype in which it comes."""
        if self._is_added and self.parameter().grad is None:
            # What was there has been taken away since, as after a step that a gradient scaler skips.
            self.forget()
        before = self._arrived.get(path)
        found = gradient.detach()
        self._arrived[path] = found.clone() if before is None else before + found

    def take(self, path: Path) -> Tensor | None:
        """What came by this way; None if nothing did."""
        return self._arrived.get(path)

    def forget(self) -> None:
        """Begin anew."""
        self._arrived.clear()
        self._is_added = False

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        if self._accumulating is not None:
            self._accumulating[1].remove()
            self._accumulating = None
        self.forget()


class _Lend:
    def __init__(self, paths: GradientPaths, path: Path) -> None:
        self._paths, self._path = paths, path

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        del args
        self._paths.lend(module, self._path)


class _Arrival:
    def __init__(self, paths: GradientPaths, path: Path) -> None:
        self._paths, self._path = paths, path

    def __call__(self, gradient: Tensor) -> None:
        self._paths.arrive(self._path, gradient)


class PathGradient(Gradient):
    """A source: the gradient of a tied matrix by one of its two uses, as it arrived in a step.

    It is accumulated over micro-batches in the order in which they come, before any clipping. Where the
    optimizer itself unscales gradients, it is unscaled likewise.
    """

    def __init__(self, paths: GradientPaths, path: Path) -> None:
        """Take what came by one way."""
        super().__init__(paths.parameter)
        self._paths = paths
        self._path = path

    def __call__(self) -> Tensor | None:
        """What arrived; None where nothing did."""
        found = self._paths.take(self._path) if self.is_known else None
        if found is None or self.scale is None:
            return found
        return found / self.scale.to(found.device, found.dtype)


def check_not_compiled(model: nn.Module, name: str) -> None:
    """Raise ArgumentError where torch.compile would take the hooks for a part of the model."""
    for module in model.modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ArgumentError(
                f"{name}: {type(module).__name__} is compiled, and in a compiled model the uses of a tied "
                "matrix cannot be told apart. Record a model that is not compiled, or leave the name out"
            )


def _check(matrix: Tensor, looking_up: nn.Module, head: nn.Module) -> None:
    names = f"{type(looking_up).__name__} and {type(head).__name__}"
    uses = [_TABLE(module).get(_WEIGHT) for module in (looking_up, head)]
    if looking_up is head or any(use is not matrix for use in uses):
        raise ArgumentError(
            f"the matrices of the input and the output embeddings ({names}) are not one parameter that both "
            "hold by the name weight: of two, embeddings.grad and unembeddings.grad are the two ways"
        )
    if isinstance(matrix, DTensor) or getattr(looking_up, "sparse", False):
        raise ArgumentError(
            "of a matrix that is divided among processes, or whose gradient is sparse, the two ways cannot "
            "be told apart: leave embeddings.grad.input and embeddings.grad.output out"
        )
