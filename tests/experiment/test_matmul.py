"""bfloat16 products accumulated in float32: exact operands, one rounding."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.model import build_model, resolve_matmul


def test_products_are_rounded_once() -> None:
    model = build_model(ExperimentConfig(device="cpu", matmul="float32", layers=1))
    for module in model.modules():
        if not isinstance(module, Conv1D | nn.Linear):
            continue
        width = module.weight.shape[0] if isinstance(module, Conv1D) else module.weight.shape[1]
        x = torch.randn(7, width).to(torch.bfloat16)
        weight = module.weight.double() if isinstance(module, Conv1D) else module.weight.double().T
        exact = x.double() @ weight + (module.bias.double() if module.bias is not None else 0)
        # float32 accumulation errs by far less than half a bfloat16 ULP; ties aside, that is one rounding.
        nearest = exact.to(torch.bfloat16)
        assert (module(x) == nearest).float().mean() > 0.99
        assert torch.allclose(module(x).double(), exact, rtol=2**-8, atol=1e-6)


def test_the_model_is_the_same_but_for_its_products() -> None:
    widened = build_model(ExperimentConfig(device="cpu", matmul="float32", init="normal"))
    native = build_model(ExperimentConfig(device="cpu", matmul="native", init="normal"))
    assert widened.lm_head.weight is widened.transformer.wte.weight
    assert {name: p.dtype for name, p in widened.named_parameters()} == {
        name: p.dtype for name, p in native.named_parameters()
    }
    for (_, ours), (_, theirs) in zip(widened.named_parameters(), native.named_parameters(), strict=True):
        assert torch.equal(ours, theirs)
    tokens = torch.arange(60)[None] % 128
    assert torch.allclose(widened(tokens).logits, native(tokens).logits, atol=0.05)


def test_float32_models_need_no_emulation() -> None:
    assert resolve_matmul(ExperimentConfig(device="cpu", dtype="float32", matmul="float32")) == "native"
