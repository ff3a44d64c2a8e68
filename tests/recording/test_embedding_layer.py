"""Which matrix of a model is recorded where nobody names it, and which of two where adapters lie over it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embevo import Recorder, open_run
from embevo.errors import ArgumentError, RecordingWarning, StaleTensorError
from embevo.recording.embedding_layer import embedding_source

SHAPE = (6, 4)


class Adapted(nn.Module):
    """As peft's LoRA layers are: the base below, frozen, and what is added to its rows."""

    def __init__(self, base: nn.Embedding) -> None:
        super().__init__()
        self.base_layer = base.requires_grad_(requires_grad=False)
        self.a = nn.Parameter(torch.randn(SHAPE[0], 2))
        self.b = nn.Parameter(torch.zeros(2, SHAPE[1]))

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.base_layer(ids) + self.a[ids] @ self.b


class Scaled(nn.Embedding):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * 2


class Model(nn.Module):
    """A model of the usual kind."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.first = nn.Linear(SHAPE[1], SHAPE[0], bias=False)
        self.layer = layer

    def get_input_embeddings(self) -> Any:
        return self.layer


class Silent(nn.Module):
    """One that cannot say what its embeddings are."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def get_input_embeddings(self) -> nn.Module:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> None:
    torch.manual_seed(0)


def recorded(path: Path, model: nn.Module, source: Any) -> tuple[Any, Any]:
    """What is recorded over steps of an optimizer, and what the layer looks up at each."""
    truth = []
    layer = model.layer
    optimizer = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    with Recorder(path, {"embeddings": source}, module=model) as recorder:
        for step in range(5):
            layer(torch.arange(SHAPE[0])).square().sum().backward()
            optimizer.step()
            recorder.capture(step)
            truth.append(layer(torch.arange(SHAPE[0])).detach().numpy())
    return open_run(path)["embeddings"][:], np.stack(truth)


def test_the_embedding_is_followed_by_its_name() -> None:
    model = Model(nn.Embedding(*SHAPE))
    assert embedding_source(model, parameter=None, merged=False) == "layer.weight"
    assert embedding_source(model, parameter=None, merged=True) == "layer.weight"
    assert embedding_source(nn.Sequential(model), parameter=None, merged=False) == "0.layer.weight"
    assert embedding_source(model, parameter="first.weight", merged=False) == "first.weight"
    model.first.weight = model.layer.weight
    assert embedding_source(model, parameter=None, merged=False) == "layer.weight", "though tied to another"
    assert embedding_source(nn.Embedding(*SHAPE), parameter=None, merged=False) == "weight"
    assert embedding_source(Silent(nn.Embedding(*SHAPE)), parameter=None, merged=False) == "layers.0.weight"


def test_of_an_adapted_embedding_it_is_said_which_matrix_is_recorded(tmp_path: Path) -> None:
    model = Model(Adapted(nn.Embedding(*SHAPE)))
    with pytest.warns(RecordingWarning, match=r"recorded is layer\.weight, the matrix below .*merged=True"):
        source = embedding_source(model, parameter=None, merged=False)
    found, truth = recorded(tmp_path / "below", model, source)
    assert np.array_equal(found[4], model.layer.weight.numpy())
    assert not np.array_equal(found, truth)


@pytest.mark.parametrize("make", [lambda: Adapted(nn.Embedding(*SHAPE)), lambda: Scaled(*SHAPE)])
def test_merged_is_what_the_model_looks_up(tmp_path: Path, make: Any) -> None:
    model = Model(make())
    model.layer.register_forward_hook(lambda *_: None)
    with warnings.catch_warnings(action="error"):
        source = embedding_source(model, parameter=None, merged=True)
    found, truth = recorded(tmp_path / "run", model, source)
    assert np.array_equal(found, truth)
    assert not np.array_equal(found[0], found[4])


@pytest.mark.parametrize("kind", ["LoRA", "modules_to_save", "trainable tokens"])
@pytest.mark.filterwarnings("ignore")
def test_with_peft(tmp_path: Path, kind: str) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=SHAPE[0], n_positions=4, n_embd=SHAPE[1], n_layer=1, n_head=1, tie_word_embeddings=False
    )
    options: dict[str, Any] = {
        "LoRA": {"target_modules": ["wte"]},
        "modules_to_save": {"target_modules": ["c_attn"], "modules_to_save": ["wte"]},
        "trainable tokens": {"target_modules": ["c_attn"], "trainable_token_indices": [1, 2]},
    }[kind]
    model = peft.get_peft_model(transformers.GPT2LMHeadModel(config), peft.LoraConfig(r=2, **options))
    model.layer = model.get_input_embeddings()
    for merged in (True, False) if kind != "LoRA" else (True,):
        source = embedding_source(model, parameter=None, merged=merged)
        found, truth = recorded(tmp_path / str(merged), model, source)
        assert np.array_equal(found, truth)
        assert not np.array_equal(found[0], found[4])


@pytest.mark.parametrize(
    ("model", "options", "error", "advice"),
    [
        (
            Silent(nn.Embedding(6, 4), nn.Embedding(5, 4)),
            {},
            ArgumentError,
            r"parameter='layers\.0\.weight' or",
        ),
        (Silent(), {}, ArgumentError, "it has no matrix"),
        (Model(None), {}, ArgumentError, r"parameter='first\.weight'"),
        (Model("text"), {}, ArgumentError, r"parameter='first\.weight'"),
        (
            Model(nn.Embedding(6, 4)),
            {"parameter": "layer.weight", "merged": True},
            ArgumentError,
            "one of them",
        ),
        (Model(Adapted(nn.Embedding(6, 4, max_norm=1.0))), {"merged": True}, ArgumentError, "max_norm"),
    ],
)
def test_what_cannot_be_told_is_asked_for(
    model: nn.Module, options: dict[str, Any], error: type[Exception], advice: str
) -> None:
    with pytest.raises(error, match=advice):
        embedding_source(model, **{"parameter": None, "merged": False} | options)


def test_an_embedding_outside_of_the_model_is_asked_for() -> None:
    model = Model(None)
    outside = nn.Embedding(*SHAPE)
    vars(model)["get_input_embeddings"] = lambda: outside
    with pytest.raises(StaleTensorError, match=r"parameter='first\.weight'"):
        embedding_source(model, parameter=None, merged=False)
