import dataclasses
from typing import Any

import pytest
import torch

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.model import build_model


def embedding(**settings: Any) -> torch.Tensor:
    return build_model(ExperimentConfig(**settings)).transformer.wte.weight.detach()


def test_the_notebooks_vector() -> None:
    # Printed by the notebook: "Vector L2 norm: 8.201394", "Vector mean component: 2.535469e-01", and 8.187500
    # for the norm of the bfloat16 rows, computed in bfloat16.
    rows = embedding(dtype="float32")
    assert (rows == rows[0]).all()
    assert f"{rows[0].norm().item():.6f}" == "8.201394"
    assert rows[0].mean().item() == pytest.approx(2.535469e-01, rel=1e-6)
    rounded = embedding(dtype="bfloat16")
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, rows.to(torch.bfloat16))
    assert f"{torch.norm(rounded, p=2, dim=1).min().item():.6f}" == "8.187500"


def test_unit_vector() -> None:
    unit = embedding(dtype="float32", init="qwen-unit")
    assert (unit == unit[0]).all()
    assert unit[0].norm().item() == pytest.approx(1, abs=1e-6)
    full = embedding(dtype="float32")
    torch.testing.assert_close(unit * full[0].norm(), full)


def test_normal_is_gpt2s_own() -> None:
    rows = embedding(dtype="float32", init="normal")
    assert rows.std().item() == pytest.approx(0.02, rel=0.05)
    assert len(torch.unique(rows, dim=0)) == 128
    assert torch.equal(embedding(dtype="bfloat16", init="normal"), rows.to(torch.bfloat16))


def test_jitter_has_its_deviation_around_the_centre() -> None:
    for init in ("normal", "qwen", "qwen-unit"):
        centre = embedding(dtype="float32", init=init)
        jitter = embedding(dtype="float32", init=init, init_sigma=0.1) - centre
        assert jitter.std().item() == pytest.approx(0.1, rel=0.05)
        assert jitter.mean().item() == pytest.approx(0, abs=0.01)
        assert len(torch.unique(jitter, dim=0)) == 128


def test_rounding_after_drawing_is_not_drawing_rounded() -> None:
    settings: dict[str, Any] = {"init": "qwen", "init_sigma": 0.01}
    in_float32 = embedding(dtype="bfloat16", init_dtype="float32", **settings)
    in_bfloat16 = embedding(dtype="bfloat16", init_dtype="bfloat16", **settings)
    assert torch.equal(in_float32, embedding(dtype="float32", init_dtype="float32", **settings).bfloat16())
    # Drawn in bfloat16, the matrix is on bfloat16's lattice even in a float32 model.
    widened = embedding(dtype="float32", init_dtype="bfloat16", **settings)
    assert torch.equal(widened, in_bfloat16.float())
    assert not torch.equal(in_float32, in_bfloat16)


def test_jitter_below_half_a_unit_in_the_last_place_vanishes() -> None:
    rows = embedding(dtype="bfloat16", init="qwen", init_sigma=1e-6, init_dtype="bfloat16").float()
    large = rows[0].abs() > 0.1
    assert (rows[:, large] == rows[0, large]).all()


def test_tied_without_dropout_in_training_mode() -> None:
    model = build_model(ExperimentConfig())
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.training
    assert sum(parameter.numel() for parameter in model.parameters()) == 116_480
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))


def test_the_seed_decides() -> None:
    config = ExperimentConfig(init="normal")
    first, again = build_model(config), build_model(config)
    other = build_model(dataclasses.replace(config, seed=43))
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
    assert not torch.equal(first.transformer.wte.weight, other.transformer.wte.weight)
