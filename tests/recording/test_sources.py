"""What is recorded is the tensor that training uses, never one that it has let go of."""

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embevo import Recorder, open_run
from embevo.errors import ArgumentError, FrameMismatchError, RecordingWarning, StaleTensorError
from support.captures import SHAPE

TOKENS, DIM = SHAPE
STEPS = 8


class Model(nn.Module):
    """Embedding and head, tied or not."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.wte = nn.Embedding(*SHAPE)
        self.head = nn.Linear(DIM, TOKENS, bias=False)
        if tied:
            self.head.weight = self.wte.weight

    def step(self) -> None:
        """One step of an optimizer that is made for it, so that it holds on to nothing."""
        ids = torch.randint(TOKENS, (16,))
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        nn.functional.cross_entropy(self.head(self.wte(ids)), ids).backward()
        optimizer.step()
        optimizer.zero_grad()


def assign(model: Model) -> None:
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)


def replace_module(model: Model) -> None:
    model.wte = nn.Embedding(*SHAPE)


def replace_parameter(model: Model) -> None:
    model.wte.weight = nn.Parameter(torch.randn(SHAPE))


def replace_in_table(model: Model) -> None:
    model.wte._parameters["weight"] = nn.Parameter(torch.randn(SHAPE))


def replace_data(model: Model) -> None:
    model.wte.weight.data = torch.randn(SHAPE)


CHANGES: dict[str, Callable[[Model], None]] = {
    "load_state_dict(assign=True)": assign,
    "a new parameter": replace_parameter,
    "a new parameter behind the module's back": replace_in_table,
    "new data": replace_data,
}
HANDED_OVER: dict[str, Callable[[Model], Tensor]] = {
    "the parameter": lambda model: model.wte.weight,
    "its data": lambda model: model.wte.weight.data,
    "detached": lambda model: model.wte.weight.detach(),
    "of the state dict": lambda model: model.state_dict()["wte.weight"],
}


def record(path: Path, model: Model, source: Any, change: Callable[[Model], None], **options: Any) -> None:
    """Train and record, with a change in the middle; every step recorded must be the model's own."""
    truth = []
    with Recorder(path, {"embeddings": source}, block_steps=4, **options) as recorder:
        for step in range(STEPS):
            if step == STEPS // 2:
                change(model)
            model.step()
            recorder.capture(step)
            truth.append(model.wte.weight.detach().clone().numpy())
    assert np.array_equal(open_run(path)["embeddings"][:], np.stack(truth))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize("handed_over", list(HANDED_OVER))
def test_a_parameter_is_followed_to_what_its_module_holds(
    tmp_path: Path, handed_over: str, change: str, tied: bool
) -> None:
    if tied and change != "new data":
        pytest.skip("unties the two: which of them is meant is another test's question")
    model = Model(tied=tied)
    record(tmp_path / "run", model, HANDED_OVER[handed_over](model), CHANGES[change])


@pytest.mark.parametrize("change", [*CHANGES.values(), replace_module])
@pytest.mark.parametrize("source", ["wte.weight", *HANDED_OVER.values()])
def test_with_its_module_a_matrix_is_followed_by_its_name(
    tmp_path: Path, source: Any, change: Callable[[Model], None]
) -> None:
    model = Model()
    given = source if isinstance(source, str) else source(model)
    record(tmp_path / "run", model, given, change, module=model)


def test_a_callable_is_asked_at_every_capture(tmp_path: Path) -> None:
    model = Model()
    record(tmp_path / "run", model, lambda: model.wte.weight, replace_module)


@pytest.mark.parametrize("handed_over", list(HANDED_OVER))
def test_a_module_that_was_replaced_as_a_whole_is_an_error(tmp_path: Path, handed_over: str) -> None:
    model = Model()
    kept = HANDED_OVER[handed_over](model)
    with pytest.raises(StaleTensorError, match=r"embeddings: no module holds .* module=model") as stale:
        record(tmp_path / "run", model, kept, replace_module)
    assert open_run(tmp_path / "run").steps.tolist() == list(range(STEPS // 2))
    assert "lambda: weight" in str(stale.value)


def test_of_tied_matrices_the_one_that_was_handed_over_stays_and_this_is_said_once(tmp_path: Path) -> None:
    for change, still in (("head", "Embedding"), ("wte", "Linear")):
        model = Model(tied=True)
        weight = model.wte.weight
        with Recorder(tmp_path / change, {"embeddings": weight}) as recorder:
            recorder.capture(0)
            getattr(model, change).weight = nn.Parameter(torch.zeros(SHAPE))
            with pytest.warns(RecordingWarning, match=rf"held by {still}\.weight.*module=model"):
                recorder.capture(1)
            recorder.capture(2)
        assert np.array_equal(open_run(tmp_path / change)["embeddings"][2], weight.detach().numpy())


def test_tied_matrices_that_are_replaced_together_are_followed(tmp_path: Path) -> None:
    model = Model(tied=True)

    def both(model: Model) -> None:
        model.wte.weight = model.head.weight = nn.Parameter(torch.randn(SHAPE))

    record(tmp_path / "run", model, model.wte.weight, both)


def test_tied_matrices_that_are_replaced_by_two_are_an_error(tmp_path: Path) -> None:
    model = Model(tied=True)

    def untie(model: Model) -> None:
        replace_parameter(model)
        model.head.weight = nn.Parameter(torch.randn(SHAPE))

    with pytest.raises(StaleTensorError, match="no module holds"):
        record(tmp_path / "run", model, model.wte.weight, untie)


def test_a_parameter_that_another_module_takes_over_is_still_recorded(tmp_path: Path) -> None:
    model = Model()
    weight = model.wte.weight
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        other = nn.Embedding(*SHAPE)
        other.weight = weight
        del model
        gc.collect()
        for step in range(3):
            with torch.no_grad():
                other.weight.fill_(step)
            recorder.capture(step)
    assert open_run(tmp_path / "run")["embeddings"][:, 0, 0].tolist() == [0, 1, 2]


# Gradients


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("beside", [True, False], ids=["beside its parameter", "alone"])
@pytest.mark.parametrize("in_module", [True, False], ids=["of a module", "of a parameter"])
def test_a_gradient_is_the_one_that_its_parameter_has(
    tmp_path: Path, set_to_none: bool, beside: bool, in_module: bool
) -> None:
    if not in_module and not beside:
        pytest.skip("nothing leads from such a gradient to its parameter")
    model = Model()
    weight = model.wte.weight if in_module else nn.Parameter(torch.zeros(SHAPE))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.sum().backward()
    matrices = {"embeddings": weight, "gradient": weight.grad} if beside else {"gradient": weight.grad}
    with Recorder(tmp_path / "run", matrices) as recorder:
        for step in range(5):
            optimizer.zero_grad(set_to_none=set_to_none)
            (weight.sum() * (step + 2)).backward()
            optimizer.step()
            recorder.capture(step)
    assert open_run(tmp_path / "run")["gradient"][:, 0, 0].tolist() == [2, 3, 4, 5, 6]


def test_a_gradient_that_is_gone_is_an_error(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.zeros(SHAPE))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.sum().backward()
    with Recorder(tmp_path / "run", {"embeddings": weight, "gradient": weight.grad}) as recorder:
        recorder.capture(0)
        optimizer.zero_grad()
        with pytest.raises(StaleTensorError, match=r"gradient .* Capture before zero_grad\(\)"):
            recorder.capture(1)
        weight.sum().backward()
        recorder.capture(1)
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1]


# Copies


def of_two(make: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    return lambda: make(nn.Parameter(torch.randn(2 * TOKENS, DIM)))


COPIES: dict[str, Callable[[], Tensor]] = {
    "rows by ids": of_two(lambda weight: weight[torch.arange(TOKENS)]),
    "cast": of_two(lambda weight: weight.double()),
    "scaled": of_two(lambda weight: weight * 3),
    "cloned": of_two(lambda weight: weight.clone()),
    "a view of a copy": of_two(lambda weight: (weight * 3)[:TOKENS]),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Embedding(*SHAPE)).weight,
}


@pytest.mark.parametrize("copy", list(COPIES))
def test_a_copy_is_refused_at_once(tmp_path: Path, copy: str) -> None:
    with pytest.raises(StaleTensorError, match=r"^embeddings was computed .* It|^embeddings was computed"):
        Recorder(tmp_path / "run", {"embeddings": COPIES[copy]()})
    assert not (tmp_path / "run").exists()


def test_a_parametrized_matrix_is_recorded_by_its_name(tmp_path: Path) -> None:
    module = nn.utils.parametrizations.weight_norm(nn.Embedding(*SHAPE))
    truth = []
    with Recorder(tmp_path / "run", {"embeddings": "weight"}, module=module) as recorder:
        for step in range(6):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(torch.randn_like(parameter))
            recorder.capture(step)
            truth.append(module.weight.detach().numpy())
    assert np.array_equal(open_run(tmp_path / "run")["embeddings"][:], np.stack(truth))


@pytest.mark.parametrize("in_module", [True, False])
@pytest.mark.parametrize(
    "cut", [lambda w: w[:3], lambda w: w.detach()[1:], lambda w: w.t(), lambda w: w[::2]]
)
def test_a_view_is_recorded_until_its_memory_is_replaced(
    tmp_path: Path, cut: Callable[[Tensor], Tensor], in_module: bool
) -> None:
    model = Model()
    weight = model.wte.weight if in_module else nn.Parameter(torch.zeros(SHAPE))
    view = cut(weight)
    with Recorder(tmp_path / "run", {"part": view}) as recorder:
        for step in range(3):
            with torch.no_grad():
                weight.fill_(step)
            recorder.capture(step)
        weight.data = torch.ones(SHAPE)
        if in_module or view.requires_grad:
            with pytest.raises(
                StaleTensorError, match="part is a view of a tensor whose memory was replaced"
            ):
                recorder.capture(3)
    assert open_run(tmp_path / "run")["part"][:, 0, 0].tolist() == [0, 1, 2]


# What is no source


def quantized(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor(tensor, 1.0, 0, torch.qint8)


@pytest.mark.parametrize(
    ("source", "error", "advice"),
    [
        (np.zeros(SHAPE), ArgumentError, r"torch\.from_numpy"),
        (None, ArgumentError, "None until the first backward"),
        (nn.Embedding(*SHAPE), ArgumentError, r"such as its \.weight"),
        ([[1.0]], ArgumentError, "pass a tensor"),
        ("wte.weight", ArgumentError, "module=model"),
        (lambda: None, StaleTensorError, "between backward and zero_grad"),
        (lambda: 3, StaleTensorError, "gave 3, not a tensor"),
        (torch.zeros(SHAPE).to_sparse(), FrameMismatchError, r"tensor\.to_dense\(\)"),
        (
            quantized(torch.zeros(SHAPE)),
            FrameMismatchError,
            "dequantize",
        ),
        (torch.zeros(SHAPE, dtype=torch.complex64), FrameMismatchError, "lambda: tensor"),
        (torch.zeros(SHAPE, device="meta"), FrameMismatchError, "meta device"),
        (torch.zeros(0, 4), FrameMismatchError, "none of them empty"),
        (torch.zeros(()), FrameMismatchError, "1 to 3 axes"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    tmp_path: Path, source: Any, error: type[Exception], advice: str
) -> None:
    with pytest.raises(error, match=advice) as refused:
        Recorder(tmp_path / "run", {"embeddings": source})
    assert "embeddings" in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("conversion", ["to_dense", "dequantize", "abs", "float"])
def test_the_conversions_that_errors_name_help(tmp_path: Path, conversion: str) -> None:
    tensors = {
        "to_dense": torch.eye(4).to_sparse(),
        "dequantize": quantized(torch.eye(4)),
        "abs": torch.eye(4, dtype=torch.complex64),
        "float": torch.eye(4).to(torch.float8_e4m3fn),
    }
    with Recorder(tmp_path / "run", {"embeddings": getattr(tensors[conversion], conversion)}) as recorder:
        recorder.capture(0)
    assert np.array_equal(open_run(tmp_path / "run")["embeddings"][0], np.eye(4))


@pytest.mark.parametrize("matrices", [None, [], torch.zeros(2, 2), "weight", 3, {1, 2}])
def test_matrices_are_given_by_name(tmp_path: Path, matrices: Any) -> None:
    with pytest.raises(ArgumentError, match="by name"):
        Recorder(tmp_path / "run", matrices)


def test_a_name_that_the_module_does_not_have_is_an_error_with_those_it_has(tmp_path: Path) -> None:
    for source in ("wte.wait", "head.weight.x", "", "wte", nn.Parameter(torch.zeros(SHAPE))):
        with pytest.raises(StaleTensorError, match=r"has .*wte\.weight, head\.weight"):
            Recorder(tmp_path / "run", {"embeddings": source}, module=Model())
    with pytest.raises(ArgumentError, match="module is 3"):
        Recorder(tmp_path / "run", {"embeddings": "weight"}, module=3)
