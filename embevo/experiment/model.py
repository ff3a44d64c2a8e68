"""The model of the experiment: a tiny GPT-2 whose embedding matrix starts as the configuration says."""

from typing import Final, Literal

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from embevo.experiment.config import ExperimentConfig
from embevo.experiment.device import find_device
from embevo.experiment.matmul import cpu_multiplies_bfloat16, multiply_in_float32
from embevo.experiment.rng import seed_all

TORCH_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build_model(config: ExperimentConfig) -> GPT2LMHeadModel:
    """Build and initialise the model on the CPU, drawing random numbers in the notebook's order.

    Seeds the global generators. The model is made in float32 and then cast; the one vector of ``qwen`` and
    ``qwen-unit`` is drawn after that, the jitter last.

    Returns:
        The model in training mode, in ``config.dtype``, without dropout, ``lm_head.weight`` tied to
        ``transformer.wte.weight`` of shape ``(vocab_size, dim)``.
    """
    in_float32 = resolve_matmul(config) == "float32"
    seed_all(config.seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context,
            n_embd=config.dim,
            n_layer=config.layers,
            n_head=config.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=True,
            # GPT-2's own ids are outside a vocabulary of bytes.
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    if in_float32:
        multiply_in_float32(model)
    drawn = model.transformer.wte.weight.detach().clone()  # (V, D) float32
    nn.Module.to(model, TORCH_DTYPES[config.dtype])
    if config.init != "normal" or config.init_sigma > 0:
        with torch.no_grad():
            model.transformer.wte.weight.copy_(_initial_embedding(config, drawn))
    model.train()
    return model


def resolve_matmul(config: ExperimentConfig) -> Literal["native", "float32"]:
    """How the bfloat16 matrices of a configuration are multiplied on the device that it asks for."""
    if config.dtype != "bfloat16" or config.matmul == "native":
        return "native"
    if config.matmul == "float32":
        return "float32"
    on_cpu = find_device(config.device).device.type == "cpu"
    return "float32" if on_cpu and not cpu_multiplies_bfloat16() else "native"


def _initial_embedding(config: ExperimentConfig, drawn: Tensor) -> Tensor:
    """The matrix of step 0, ``(V, D)``, not yet rounded to the model's dtype."""
    if config.init == "normal":
        centre = drawn
    else:
        vector = torch.randn(config.dim)
        if config.init == "qwen-unit":
            vector = vector / vector.norm()
        centre = vector.expand_as(drawn)
    if config.init_sigma == 0:
        return centre
    # In bfloat16 the centre, the noise, their product with sigma and the sum are each rounded: jitter below
    # half a unit in the last place vanishes, and what stays lies on the lattice of bfloat16 twice over.
    dtype = TORCH_DTYPES[config.init_dtype]
    return centre.to(dtype) + config.init_sigma * torch.randn(drawn.shape, dtype=dtype)
