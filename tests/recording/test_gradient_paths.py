"""Of a tied matrix the gradient is recorded by each of its two uses, and training goes on as it would."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from click.testing import CliRunner
from embevo_cli.main import embevo as command
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from embevo import open_run, record
from embevo.analysis import audit, explain
from embevo.errors import ArgumentError

VOCABULARY, WIDTH = 13, 8
PATHS = ["embeddings.grad.input", "embeddings.grad.output"]
WHAT = ["embeddings", "embeddings.grad", *PATHS]


class Tied(nn.Module):
    """Looks rows up, mixes them, and reads them out by the same matrix."""

    def __init__(self, *, tied: bool = True, lookups: int = 1, checkpointed: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self._lookups, self._checkpointed = lookups, checkpointed
        if tied:
            self.head.weight = self.table.weight

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def looked_up(self, ids: Tensor) -> Tensor:
        found = self.table(ids)
        for _ in range(self._lookups - 1):
            found = found + self.table(ids.flip(0))
        return torch.tanh(self.mix(found))

    def forward(self, ids: Tensor) -> Tensor:
        if self._checkpointed:
            hidden = torch.utils.checkpoint.checkpoint(self.looked_up, ids, use_reentrant=False)
        else:
            hidden = self.looked_up(ids)
        logits: Tensor = self.head(hidden)
        return logits


def tied(dtype: torch.dtype = torch.float64, **options: Any) -> Tied:
    torch.manual_seed(0)
    return Tied(**options).to(dtype)


def batches(count: int) -> Iterator[Tensor]:
    drawn = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield torch.randint(VOCABULARY, (6,), generator=drawn)


def loss_of(model: nn.Module, ids: Tensor) -> Tensor:
    return functional.cross_entropy(model(ids), (ids + 1) % VOCABULARY)


def untied_gradients(model: Tied, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The two gradients, of two copies of the matrix: an independent computation."""
    one, other = (model.table.weight.detach().clone().requires_grad_() for _ in range(2))
    found = functional.embedding(ids, one)
    for _ in range(model._lookups - 1):
        found = found + functional.embedding(ids.flip(0), one)
    hidden = torch.tanh(functional.linear(found, model.mix.weight.detach(), model.mix.bias.detach()))
    logits = functional.linear(hidden, other)
    return torch.autograd.grad(functional.cross_entropy(logits, (ids + 1) % VOCABULARY), (one, other))


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"lookups": 2}, {"checkpointed": True}], ids=["plain", "twice", "checkpointed"]
)
@pytest.mark.parametrize("set_to_none", [True, False])
def test_both_ways_are_those_of_two_matrices(
    tmp_path: Path, options: dict[str, Any], micro: int, set_to_none: bool
) -> None:
    model = tied(**options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = []
    with record(model, optimizer, tmp_path / "run", WHAT):
        for ids in batches(4):
            sums = [torch.zeros_like(model.table.weight) for _ in PATHS]
            for shift in range(micro):
                for total, part in zip(sums, untied_gradients(model, ids.roll(shift)), strict=True):
                    total.add_(part)
                loss_of(model, ids.roll(shift)).backward()
            expected.append(sums)
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
    run = open_run(tmp_path / "run")
    for place, name in enumerate(PATHS):
        found = run[name].torch("native")
        assert torch.isnan(found[0]).all()
        for row, sums in enumerate(expected, start=1):
            torch.testing.assert_close(found[row], sums[place], rtol=1e-12, atol=1e-14)
    both = sum(run[name].torch("native", slice(1, None)) for name in PATHS)
    torch.testing.assert_close(both, run["embeddings.grad"].torch("native", slice(1, None)))
    assert model.head.weight is model.table.weight
    assert isinstance(model.table.weight, nn.Parameter)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_is_the_same_to_the_last_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    def trained(what: list[str]) -> Tensor:
        model = tied(dtype)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        with record(model, optimizer, tmp_path / str(len(what)), what):
            for ids in batches(6):
                for _ in range(2):
                    loss_of(model, ids).backward()
                optimizer.step()
                optimizer.zero_grad()
        return model.table.weight.detach()

    assert torch.equal(trained(WHAT), trained(WHAT[:2]))
    one, other = (open_run(tmp_path / str(count))["embeddings.grad"] for count in (4, 2))
    assert torch.equal(one.torch("native", slice(1, None)), other.torch("native", slice(1, None)))
    # It comes in the dtype of the matrix.
    assert one.recorded == open_run(tmp_path / "4")[PATHS[0]].recorded


def test_a_step_that_was_skipped_leaves_nothing_behind(tmp_path: Path) -> None:
    model = tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first, second = batches(2)
    with record(model, optimizer, tmp_path / "run", WHAT):
        # As a gradient scaler does where a gradient overflows.
        (loss_of(model, first) * torch.inf).backward()
        optimizer.zero_grad()
        expected = untied_gradients(model, second)
        loss_of(model, second).backward()
        # An evaluation in between has no backward pass.
        with torch.no_grad():
            loss_of(model, first)
        optimizer.step()
    run = open_run(tmp_path / "run")
    for name, gradient in zip(PATHS, expected, strict=True):
        torch.testing.assert_close(run[name].torch("native", 1), gradient)


def test_a_forward_pass_that_fails_leaves_the_matrix_in_place(tmp_path: Path) -> None:
    model = tied()
    with record(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path / "run", WHAT):
        with pytest.raises(IndexError):
            model(torch.tensor([VOCABULARY]))
        assert isinstance(model.table.weight, nn.Parameter)
    assert not model.table._forward_pre_hooks
    assert not model.head._forward_hooks


def test_gpt2_with_a_tied_head_is_followed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=6, n_embd=WIDTH, n_layer=1, n_head=2, bos_token_id=0,
                   eos_token_id=0)
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    with record(model, optimizer, tmp_path / "run", [*WHAT, "embeddings.exp_avg", "embeddings.exp_avg_sq"]):
        ids = torch.tensor([[1, 2, 3, 4, 2, 1]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    run = open_run(tmp_path / "run")
    one, other, both = (run[name].torch("native", 1) for name in (*PATHS, "embeddings.grad"))
    # Of one backward pass the sum is .grad to the last bit.
    assert torch.equal(one + other, both)
    # Only what was looked up has a gradient by the way in; by the way out every token has one.
    assert one.abs().sum(1).nonzero().flatten().tolist() == [1, 2, 3, 4]
    assert (other.abs().sum(1) > 0).all()
    assert audit(run).explained
    story = explain(run, 3)
    assert story.by_input is not None
    assert story.by_output is not None
    assert torch.equal(torch.from_numpy(story.by_input[0]), one[3].double())
    assert torch.equal(torch.from_numpy(story.by_output[0]), other[3].double())
    shown = CliRunner().invoke(command, ["explain", str(tmp_path / "run"), "--token", "3"]).output
    assert f"{one[3].norm():.3g} came by looking it up and {other[3].norm():.3g} by the head" in shown


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    def refused(model: nn.Module, message: str) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ArgumentError, match=message):
            record(model, optimizer, tmp_path / "run", WHAT)
        assert not (tmp_path / "run").exists()

    refused(tied(tied=False), "unembeddings.grad are the two ways")
    refused(nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4)), "does not say which of its matrices")
    sparse = tied()
    sparse.table.sparse = True
    refused(sparse, "sparse")
    compiled = tied()
    compiled.compile(backend="eager")
    refused(compiled, "is compiled")
    assert not compiled.table._forward_pre_hooks
