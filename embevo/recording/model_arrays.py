"""Finding in a model what ``what=`` names: embeddings, parameters, gradients, moments, hidden states."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from torch import Tensor, nn
from torch.optim import Optimizer

from embevo.errors import ArgumentError
from embevo.recording.embedding_layer import embedding_source
from embevo.recording.gradient_paths import PATHS, GradientPaths, PathGradient, check_not_compiled
from embevo.recording.module_output import AttentionMask, ModuleOutput, Statistic
from embevo.recording.numbers import shown
from embevo.recording.phased import Gradient, OptimizerState, Phased
from embevo.recording.sources import Named, Take

EMBEDDINGS: Final = "embeddings"
UNEMBEDDINGS: Final = "unembeddings"
_GRADIENT: Final = "grad"
# What goes into the output embeddings, and what comes out of them, of all positions of the training's
# batches.
_OUTPUTS: Final[dict[str, tuple[Statistic, bool]]] = {
    "hidden_mean": ("mean", True),
    "hidden_var": ("var", True),
    "hidden_last": ("last", True),
    "logits": ("mean", False),
}
# The gradient of a tied matrix by each of its two uses.
_OF_PATHS: Final = {f"{EMBEDDINGS}.{_GRADIENT}.{path}": path for path in PATHS}
# How torch.compile, DataParallel and DistributedDataParallel call what they wrap.
_WRAPPERS: Final = ("_orig_mod", "module")
_MOST_LISTED: Final = 12


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of torch.compile and data parallelism."""
    while True:
        inner = next(
            (getattr(model, name) for name in _WRAPPERS if isinstance(getattr(model, name, None), nn.Module)),
            None,
        )
        if inner is None or len(list(model.children())) != 1:
            return model
        model = inner


@dataclass
class ModelArrays:
    """What is recorded of a model.

    Attributes:
        sources: by name of the array.
        dimensions: names of the axes, by name of the array.
        main: the parameter whose optimizer, and whose learning rate, counts.
        outputs: the sources that have hooks.
        mask: what looks at the attention mask for them.
    """

    sources: dict[str, Take]
    dimensions: dict[str, tuple[str, ...]]
    main: Named
    outputs: list[ModuleOutput | GradientPaths] = field(default_factory=list)
    mask: AttentionMask | None = None

    def close(self) -> None:
        """Remove every hook from the model."""
        for output in self.outputs:
            output.close()
        if self.mask is not None:
            self.mask.close()


def find_arrays(
    model: nn.Module,
    optimizers: list[Optimizer],
    what: Iterable[str],
    *,
    parameter: str | None = None,
    unembedding: str | None = None,
    merged: bool = False,
) -> ModelArrays:
    """The sources that names stand for.

    Args:
        model: whose parameters they are.
        optimizers: that keep moments for them.
        what: names: ``embeddings``, ``unembeddings``, a parameter's name or a pattern of names, each of these
            followed by ``.grad`` or a name in the optimizer's state such as ``.exp_avg``;
            ``embeddings.grad.input`` and ``.output`` of a tied matrix; ``hidden_mean``,
            ``hidden_var``, ``hidden_last`` of what goes into the output embeddings, and ``logits``, the mean
            of what comes out.
        parameter: name of the input embeddings' matrix, where the model does not say which it is.
        unembedding: name of the output embeddings' matrix, likewise.
        merged: have ``embeddings`` be what the model looks up for each token, with the adapters that lie over
            its matrix merged into it.

    Raises:
        ArgumentError: a name stands for nothing, or for several things.
    """
    for option, given in (("parameter", parameter), ("unembedding", unembedding)):
        if given is not None and not isinstance(given, str):
            raise ArgumentError(
                f"{option} is {shown(given)}; pass the name that the parameter has in the model, such as "
                "'0.weight': dict(model.named_parameters()) lists them"
            )
    finder = _Finder(model, optimizers, parameter, unembedding, merged=merged)
    listed = [what] if isinstance(what, str) else list(what)
    if not listed:
        raise ArgumentError("what=[] names nothing: pass at least one name, such as embeddings")
    try:
        for name in listed:
            finder.add(name)
        return finder.found()
    except BaseException:
        finder.arrays.close()
        raise


class _Finder:
    def __init__(
        self,
        given: nn.Module,
        optimizers: list[Optimizer],
        parameter: str | None,
        unembedding: str | None,
        *,
        merged: bool,
    ) -> None:
        self._given_model = given
        self._model = model = unwrapped(given)
        self._optimizers = optimizers
        self._merged = merged
        self._given = {EMBEDDINGS: parameter, UNEMBEDDINGS: unembedding}
        self._names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        self._main: Named | None = None
        self._paths: GradientPaths | None = None
        if not self._names:
            raise ArgumentError(f"{type(model).__name__} has no parameters: there is nothing to record")
        self.arrays = ModelArrays({}, {}, self._named(self._names[0]))

    def _named(self, path: str) -> Named:
        named = Named(path, self._model, path)
        named()
        return named

    def found(self) -> ModelArrays:
        """All of it."""
        first = next((source for source in self.arrays.sources.values() if isinstance(source, Named)), None)
        main = self._main or first
        if main is not None:
            self.arrays.main = main
        return self.arrays

    def add(self, name: str) -> None:
        """What one name stands for."""
        if not isinstance(name, str):
            raise ArgumentError(f"what names {shown(name)}; names are strings, such as embeddings")
        if name in _OUTPUTS:
            self._add_output(name)
            return
        if name in _OF_PATHS:
            self._add_path(name)
            return
        if name == EMBEDDINGS and self._merged:
            merged = embedding_source(self._model, parameter=self._given[EMBEDDINGS], merged=True)
            # It is a name where nothing has to be merged.
            if callable(merged):
                self.arrays.sources[name], self.arrays.dimensions[name] = merged, ("token", "dim")
                return
        whole = dict(self._parameters(name))
        if whole:
            for array, source in whole.items():
                self._keep(array, source, source(), array)
            return
        base, _, key = name.rpartition(".")
        parts = dict(self._parameters(base)) if base else {}
        if not parts:
            raise self._nothing(name)
        for array, source in parts.items():
            self._keep(f"{array}.{key}", self._of(source, key, name), source(), array)

    def _parameters(self, name: str) -> Iterator[tuple[str, Named]]:
        """The parameters that a name or pattern stands for, by the name of their array."""
        if name in (EMBEDDINGS, UNEMBEDDINGS):
            source = self._named(self._matrix(name))
            if name == EMBEDDINGS:
                self._main = source
            yield name, source
            return
        for found in self._names:
            if found == name or fnmatchcase(found, name):
                yield found, self._named(found)

    def _of(self, source: Named, key: str, name: str) -> Take:
        if key == _GRADIENT:
            return Gradient(source)
        tensor = source()
        for optimizer in self._optimizers:
            if any(held is tensor for group in optimizer.param_groups for held in group["params"]):
                return OptimizerState(optimizer, source, key)
        raise ArgumentError(
            f"{name}: no optimizer that was passed holds {source.path}, so that nothing is kept for it. Pass "
            "the optimizer that steps it"
        )

    def _add_output(self, name: str) -> None:
        statistic, of_input = _OUTPUTS[name]
        path = self._matrix(UNEMBEDDINGS)
        head = self._model.get_submodule(path.rpartition(".")[0])
        rows, width = self._named(path)().shape
        if self.arrays.mask is None:
            self.arrays.mask = AttentionMask(self._model)
        output = ModuleOutput(
            head, statistic, width if of_input else rows, of_input=of_input, mask=self.arrays.mask
        )
        self.arrays.outputs.append(output)
        self.arrays.sources[name] = output
        self.arrays.dimensions[name] = ("dim",) if of_input else ("token",)

    def _add_path(self, name: str) -> None:
        check_not_compiled(self._given_model, name)
        source = self._named(self._matrix(EMBEDDINGS))
        if self._paths is None:
            modules = (
                self._model.get_submodule(self._matrix(which).rpartition(".")[0])
                for which in (EMBEDDINGS, UNEMBEDDINGS)
            )
            self._paths = GradientPaths(source, *modules)
            self.arrays.outputs.append(self._paths)
        self._keep(name, PathGradient(self._paths, _OF_PATHS[name]), source(), EMBEDDINGS)

    def _keep(self, array: str, source: Take, tensor: Tensor, owner: str) -> None:
        like = source.like() if isinstance(source, Phased) else tensor
        shape = tuple((tensor if like is None else like).shape)
        matrix = owner in (EMBEDDINGS, UNEMBEDDINGS) and len(shape) == 2 and shape == tuple(tensor.shape)
        axes = ("token", "dim") if matrix else tuple(f"{array}_{axis}" for axis in range(len(shape)))
        if array[:1].isdigit():
            raise ArgumentError(
                f"{owner} cannot be the name of an array, which begins with a letter: say which matrix it "
                "is, parameter= for embeddings and unembedding= for unembeddings, or give the array a name "
                f"of your own, Recorder(run, {{'matrix': {owner!r}}}, module=model)"
            )
        self.arrays.sources[array] = source
        self.arrays.dimensions[array] = axes

    def _matrix(self, which: str) -> str:
        """The name of the matrix of the input or the output embeddings."""
        given = self._given[which]
        if given is not None:
            return self._named(given).path
        if which == EMBEDDINGS:
            # With merged=False this is a name.
            return str(embedding_source(self._model, parameter=None, merged=False))
        places = dict(self._model.named_modules(remove_duplicate=False))
        found = {id(module): module for module in self._heads()}
        if len(found) == 1:
            (chosen,) = found.values()
            return next(f"{name}.weight" for name, module in places.items() if module is chosen)
        named = [f"{name}.weight" for name, module in places.items() if id(module) in found]
        named = named or [name for name, held in self._model.named_parameters() if held.ndim == 2]
        more = f" and {len(named) - _MOST_LISTED} more" if len(named) > _MOST_LISTED else ""
        raise ArgumentError(
            f"{type(self._model).__name__} does not say which of its matrices are the output embeddings: "
            f"name one with unembedding=. Candidates: {', '.join(named[:_MOST_LISTED])}{more}"
        )

    def _heads(self) -> Iterator[nn.Module]:
        """What the model itself, or else the models in it, say are their output embeddings."""
        for module in self._model.modules():
            ask: Callable[[], object] | None = getattr(module, "get_output_embeddings", None)
            if not callable(ask):
                continue
            try:
                answer = ask()
            except (AttributeError, NotImplementedError, TypeError):
                continue
            if isinstance(answer, nn.Module) and isinstance(getattr(answer, "weight", None), Tensor):
                yield answer
                if module is self._model:
                    return

    def _nothing(self, name: str) -> ArgumentError:
        known = [EMBEDDINGS, UNEMBEDDINGS, *_OUTPUTS, *self._names]
        close = difflib.get_close_matches(name, known, n=3) or known[:_MOST_LISTED]
        return ArgumentError(
            f"what names {name!r}, which is no parameter of {type(self._model).__name__} and matches none. "
            f"Did you mean {', '.join(close)}? Gradients and moments are NAME.grad, NAME.exp_avg and so on"
        )
