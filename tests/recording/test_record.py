"""One line records what it names: equal to copies of the tensors at those moments, in anyone's loop."""

import gc
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from embevo import open_run
from embevo.errors import ArgumentError, DivergedError, RecordingWarning
from embevo.recording import recorder as recorder_module
from embevo.recording.module_output import ModuleOutput
from embevo.recording.record import record
from support.slow_transport import SlowTransport

VOCABULARY, WIDTH, LAYERS = 19, 8, 2
ALL = (
    "embeddings",
    "embeddings.grad",
    "embeddings.exp_avg",
    "embeddings.exp_avg_sq",
    "unembeddings",
    "hidden_mean",
    "hidden_var",
    "hidden_last",
    "logits",
    "transformer.h.*.ln_1.weight",
    "transformer.h.0.attn.c_attn.weight.grad",
)


def gpt2(*, tied: bool = True, seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=6,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=tied,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


def batches(count: int) -> Iterator[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        ids = torch.randint(VOCABULARY, (3, 6), generator=generator)
        mask = torch.ones_like(ids)
        mask[0, 4:] = 0
        yield {"input_ids": ids, "attention_mask": mask, "labels": ids}


class Copies:
    """Plain copies of what a step used, taken by hand."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Tensor]] = {}

    def keep(self, **tensors: Tensor | None) -> None:
        for name, tensor in tensors.items():
            found = torch.full((1,), torch.nan) if tensor is None else tensor.detach().clone()
            self.rows.setdefault(name, []).append(found)

    def check(self, run: Any, names: dict[str, str]) -> None:
        for array, kept in names.items():
            for row, wanted in enumerate(self.rows[kept]):
                expected = np.broadcast_to(wanted.float().numpy(), run[array].shape[1:])
                np.testing.assert_array_equal(run[array][row], expected, f"{array} of row {row}")


@pytest.fixture(params=["host", "device"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How arrays reach the ring: copied by the training thread, or through buffers of a device."""

    def make(likes: list[Tensor], scalars: int) -> SlowTransport:
        made = SlowTransport(likes, scalars, 64)
        made.gate.set()
        return made

    if request.param == "device":
        monkeypatch.setattr(recorder_module, "transport_for", make)
    return str(request.param)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_array_is_what_its_name_says(
    tmp_path: Path, transport: str, tied: bool, accumulate: int
) -> None:
    model, copies = gpt2(tied=tied), Copies()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    weight, head = model.transformer.wte.weight, model.lm_head.weight
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    with record(model, optimizer, tmp_path / "run", ALL, scalars=("norm",), block_steps=4) as recorder:
        copies.keep(w=weight, u=head, g=None, m=None, v=None, mean=None, var=None, last=None, logits=None)
        seen: list[tuple[Tensor, Tensor]] = []
        for number, batch in enumerate(batches(9 * accumulate), start=1):
            out = model(**batch, output_hidden_states=True)
            (out.loss / accumulate).backward()
            mask = batch["attention_mask"]
            seen.append((out.hidden_states[-1][mask > 0].detach(), out.logits[mask > 0].detach()))
            ends = out.hidden_states[-1][torch.arange(3), mask.sum(1) - 1].detach()
            if number % accumulate:
                continue
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            recorder.log(loss=out.loss, norm=norm)
            assert weight.grad is not None
            gradient = weight.grad.clone()
            optimizer.step()
            scheduler.step()
            model.zero_grad()
            state = optimizer.state[weight]
            hidden = torch.cat([pair[0] for pair in seen]).double()
            logits = torch.cat([pair[1] for pair in seen]).double()
            copies.keep(w=weight, u=head, g=gradient, m=state["exp_avg"], v=state["exp_avg_sq"])
            copies.keep(
                mean=hidden.mean(0),
                var=hidden.var(0, correction=0),
                last=ends.double(),
                logits=logits.mean(0),
            )
            seen = []
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == list(range(10))
    exact = {
        "embeddings": "w",
        "embeddings.grad": "g",
        "embeddings.exp_avg": "m",
        "embeddings.exp_avg_sq": "v",
    }
    copies.check(run, {**exact, "unembeddings": "u"})
    for array, kept in {"hidden_mean": "mean", "hidden_var": "var", "logits": "logits"}.items():
        wanted = torch.stack(copies.rows[kept][1:]).numpy()
        np.testing.assert_allclose(run[array][1:], wanted, rtol=1e-5, atol=1e-7)
        assert np.isnan(run[array][0]).all()
    if accumulate == 1:
        last = torch.stack([rows.mean(0) for rows in copies.rows["last"][1:]]).numpy()
        np.testing.assert_allclose(run["hidden_last"][1:], last, rtol=1e-5, atol=1e-7)
    assert run["norm"][1:].min() > 0
    assert run["loss"][1:].min() > 0
    np.testing.assert_allclose(run["learning_rate"][1:], 1e-2 / np.arange(1, 10))
    assert run["transformer.h.1.ln_1.weight"].shape == (10, WIDTH)
    assert run.frame.by_name["embeddings.grad"].dimensions == ("token", "dim")
    assert run.frame.by_name["hidden_var"].dimensions == ("dim",)
    assert run.frame.by_name["logits"].dimensions == ("token",)


def test_nothing_is_left_in_the_model_or_the_optimizer(tmp_path: Path) -> None:
    model = gpt2()
    optimizer = torch.optim.AdamW(model.parameters())

    def hooks() -> list[int]:
        tables = [optimizer._optimizer_step_post_hooks, optimizer._optimizer_step_pre_hooks]
        for module in model.modules():
            tables += [module._forward_hooks, module._forward_pre_hooks]
        return [len(table) for table in tables]

    before = hooks()
    with record(model, optimizer, tmp_path / "run", ALL) as recorder:
        assert hooks() != before
        with pytest.raises(ArgumentError, match="no scalar typo"):
            recorder.log(typo=1)
    assert hooks() == before
    for what in (["embeddings", "hidden_mean", "nothing"], ["hidden_mean"]):
        with pytest.raises(ArgumentError):
            record(model, optimizer, tmp_path / "other", what, tokens=[99])
        assert hooks() == before
    gc.collect()


def trained(model: Any, step: Callable[[Tensor], None], count: int = 6) -> None:
    for batch in batches(count):
        step(model(**batch).loss)


def test_a_scaled_gradient_is_recorded_unscaled_and_a_skipped_step_not_at_all(tmp_path: Path) -> None:
    """With a fused optimizer the scaler leaves the unscaling to the step, and skips inside it."""
    for fused in (False, True):
        model = gpt2()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
        path, kept, weight = tmp_path / f"run{fused}", [], model.transformer.wte.weight
        with record(model, optimizer, path, ["embeddings", "embeddings.grad"]) as recorder:
            for number, batch in enumerate(batches(6)):
                scaler.scale(model(**batch).loss).backward()
                assert weight.grad is not None
                wanted = weight.grad / scaler.get_scale()
                if number == 2:
                    weight.grad[0, 0] = torch.inf
                else:
                    kept.append(wanted.clone())
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
            assert recorder.step == 5
        run = open_run(path)
        assert run.steps.tolist() == list(range(6))
        np.testing.assert_allclose(run["embeddings.grad"][1:], torch.stack(kept).numpy(), rtol=1e-6)
        assert np.isfinite(run["embeddings"][:]).all()


def test_accelerate(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = gpt2()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    prepared, wrapped = accelerator.prepare(model, optimizer)
    what, kept = ["embeddings", "embeddings.grad", "embeddings.exp_avg"], []
    with record(prepared, wrapped, tmp_path / "run", what) as recorder:
        for batch in batches(8):
            with accelerator.accumulate(prepared):
                accelerator.backward(prepared(**batch).loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(prepared.parameters(), 0.1)
                    kept.append(model.transformer.wte.weight.grad.clone())
                wrapped.step()
                wrapped.zero_grad()
        assert recorder.step == 4
    run = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run["embeddings.grad"][1:], torch.stack(kept).numpy())
    assert np.isfinite(run["embeddings.exp_avg"][1:]).all()


@pytest.mark.filterwarnings("error")
def test_a_scheduler_that_was_made_before_does_not_warn(tmp_path: Path) -> None:
    class Wrapper:
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.inner, self.param_groups = inner, inner.param_groups

        def step(self) -> None:
            self.inner.step()

    class Scheduled(Wrapper, torch.optim.Optimizer):
        """As accelerate's: torch's in name, and made without its constructor."""

    model = gpt2()
    optimizer = Scheduled(torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer.defaults = optimizer.inner.defaults
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    with record(model, optimizer, tmp_path / "run"):
        for batch in batches(3):
            model(**batch).loss.backward()
            optimizer.step()
            scheduler.step()
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2, 3]


OPTIMIZERS: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], list[str]]] = {
    "adamw": (lambda p: torch.optim.AdamW(p, foreach=False), ["exp_avg", "exp_avg_sq", "step"]),
    "foreach": (lambda p: torch.optim.AdamW(p, foreach=True), ["exp_avg", "exp_avg_sq"]),
    "fused": (lambda p: torch.optim.AdamW(p, fused=True), ["exp_avg", "exp_avg_sq"]),
    "amsgrad": (lambda p: torch.optim.Adam(p, amsgrad=True), ["max_exp_avg_sq"]),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), ["momentum_buffer"]),
    "adafactor": (torch.optim.Adafactor, ["row_var", "col_var"]),
    "rmsprop": (torch.optim.RMSprop, ["square_avg"]),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_of_any_optimizer_by_the_names_in_its_state(tmp_path: Path, name: str) -> None:
    make, keys = OPTIMIZERS[name]
    keys = [key for key in keys if key != "step"]
    model = gpt2()
    optimizer = make(model.parameters())
    weight, kept = model.transformer.wte.weight, []
    with record(model, optimizer, tmp_path / "run", [f"embeddings.{key}" for key in keys]):
        assert not optimizer.state
        for batch in batches(4):
            model(**batch).loss.backward()
            optimizer.step()
            kept.append({key: optimizer.state[weight][key].clone() for key in keys})
    run = open_run(tmp_path / "run")
    for key in keys:
        assert np.isnan(run[f"embeddings.{key}"][0]).all()
        for row, states in enumerate(kept, start=1):
            np.testing.assert_array_equal(run[f"embeddings.{key}"][row], states[key].numpy())


def test_a_closure_has_no_gradient_before_the_step(tmp_path: Path) -> None:
    model = gpt2()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    with record(model, optimizer, tmp_path / "run", ["embeddings", "embeddings.grad"]):
        for number, batch in enumerate(batches(3)):

            def closure(batch: dict[str, Tensor] = batch) -> Tensor:
                optimizer.zero_grad()
                loss: Tensor = model(**batch).loss
                loss.backward()
                return loss

            if number == 0:
                with pytest.warns(RecordingWarning, match="LBFGS computes several gradients"):
                    optimizer.step(closure)
            else:
                optimizer.step(closure)
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 2, 3]
    assert np.isnan(run["embeddings.grad"][:]).all()
    assert np.isfinite(run["embeddings"][:]).all()


def test_of_a_closure_that_is_called_once_the_gradient_is_that_of_the_step(tmp_path: Path) -> None:
    model = gpt2()
    optimizer = torch.optim.AdamW(model.parameters())
    kept = []
    with record(model, optimizer, tmp_path / "run", ["embeddings", "embeddings.grad"]):
        for batch in batches(3):

            def closure(batch: dict[str, Tensor] = batch) -> Tensor:
                optimizer.zero_grad()
                loss: Tensor = model(**batch).loss
                loss.backward()
                kept.append(model.transformer.wte.weight.grad.clone())
                return loss

            loss = optimizer.step(closure)
            assert loss is not None
    run = open_run(tmp_path / "run")
    np.testing.assert_array_equal(run["embeddings.grad"][1:], torch.stack(kept).numpy())


def test_what_no_checkpoint_holds_is_not_compared_where_a_training_begins_again(tmp_path: Path) -> None:
    what = ["embeddings", "embeddings.grad", "embeddings.exp_avg", "hidden_mean"]

    def train(first: int, last: int, *, wrong: bool = False) -> None:
        model = gpt2()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        if first:
            checkpoint = torch.load(tmp_path / "checkpoint")
            model.load_state_dict(checkpoint["model"])
            optimizer.load_state_dict(checkpoint["optimizer"])
        resume = first > 0
        with record(model, optimizer, tmp_path / "run", what, first_step=first, resume=resume) as recorder:
            for batch in list(batches(last))[first:]:
                model(**batch).loss.backward()
                if wrong:
                    assert model.transformer.wte.weight.grad is not None
                    model.transformer.wte.weight.grad[0, 0] += 1e-3
                optimizer.step()
                optimizer.zero_grad()
                if recorder.step == 2 and not resume:
                    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    torch.save(state, tmp_path / "checkpoint")

    train(0, 4)
    with pytest.raises(DivergedError, match="step 3 diverged: embeddings"):
        train(2, 4, wrong=True)
    train(2, 6)
    assert open_run(tmp_path / "run").steps.tolist() == list(range(7))
    assert np.isfinite(open_run(tmp_path / "run")["embeddings.grad"][1:]).all()


def test_of_several_optimizers_the_one_that_holds_the_embedding_counts(tmp_path: Path) -> None:
    model = gpt2(tied=False)
    embedding = model.transformer.wte.weight
    rest = [parameter for parameter in model.parameters() if parameter is not embedding]
    first, second = torch.optim.SGD(rest, lr=0.5), torch.optim.AdamW([embedding], lr=0.25)
    what = ["embeddings", "embeddings.exp_avg", "unembeddings.grad"]
    with record(model, [first, second], tmp_path / "run", what) as recorder:
        for batch in batches(6):
            model(**batch).loss.backward()
            first.step()
            if recorder.step < 3:
                second.step()
            model.zero_grad()
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 2, 3]
    assert run["learning_rate"][1:].tolist() == [0.25] * 3
    assert np.isfinite(run["unembeddings.grad"][1:]).all()


@pytest.mark.parametrize("late", [True, False])
def test_what_is_logged_after_the_step_is_said_to_be_the_next_ones(tmp_path: Path, late: bool) -> None:
    weight = nn.Embedding(VOCABULARY, WIDTH)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with record(weight, optimizer, tmp_path / "run") as recording:
            for number in range(1, 4):
                for moment in ("before", "after"):
                    if late == (moment == "after"):
                        recording.log(loss=number)
                    if moment == "before":
                        optimizer.step()
    texts = [str(one.message) for one in said]
    expected = [
        r"The first log came when step 1 was recorded",
        r"loss, logged after step 3, is recorded with no step",
    ]
    assert len(texts) == (len(expected) if late else 0), texts
    assert all(re.search(pattern, text) for pattern, text in zip(expected, texts, strict=False))
    assert all("before optimizer.step()" in text for text in texts)
    losses = open_run(tmp_path / "run")["loss"][:].tolist()
    assert losses[2:] == ([1, 2] if late else [2, 3])


def test_a_recording_that_is_begun_again_on_one_optimizer_does_not_end_the_training(tmp_path: Path) -> None:
    weight = nn.Embedding(VOCABULARY, WIDTH)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
    first = record(weight, optimizer, tmp_path / "run", ["embeddings", "embeddings.grad"])
    optimizer.step()
    again = record(weight, optimizer, tmp_path / "run", overwrite=True)
    with pytest.warns(RecordingWarning, match="records nothing after step 1") as said:
        optimizer.step()
    optimizer.step()
    assert len(said) == 1
    first.close()
    again.close()
    assert open_run(tmp_path / "run").steps.tolist() == [0, 1, 2]


@pytest.mark.parametrize("beside", [1, 3])
def test_of_several_recordings_each_warns_of_an_optimizer_and_none_disturbs_the_step(
    tmp_path: Path, beside: int
) -> None:
    weight = nn.Embedding(VOCABULARY, WIDTH)
    first, second = (torch.optim.SGD(weight.parameters(), lr=0.1) for _ in range(2))
    recordings = [record(weight, first, tmp_path / f"{number}") for number in range(beside)]
    with pytest.warns(RecordingWarning, match="is not followed") as said:
        second.step()
    assert len(said) == beside
    first.step()
    second.step()
    for number, recording in enumerate(recordings):
        recording.close()
        assert open_run(tmp_path / f"{number}").steps.tolist() == [0, 1]


def test_an_optimizer_that_steps_what_is_recorded_and_is_not_followed_is_said_once(tmp_path: Path) -> None:
    model, apart = gpt2(), nn.Linear(2, 2)
    first, second = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    beside = torch.optim.SGD(apart.parameters(), lr=0.1)

    def step(optimizer: torch.optim.Optimizer) -> None:
        (batch,) = batches(1)
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    path, what = tmp_path / "run", ["embeddings", "embeddings.grad"]
    with record(model, first, path, what):
        step(first)
        beside.step()
        with pytest.warns(RecordingWarning, match="SGD that is not followed has stepped") as said:
            step(second)
        step(second)
    assert len(said) == 1
    # What it says goes on.
    with record(model, second, path, what, first_step=3, resume=True):
        step(second)
    step(first)
    assert open_run(path).steps.tolist() == [0, 1, 3, 4]


def test_a_module_of_ones_own_needs_names(tmp_path: Path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(6, WIDTH)
            self.out = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, ids: Tensor) -> Tensor:
            logits: Tensor = self.out(self.tokens(ids) + self.places.weight)
            return logits

    model = Own()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path / "run"
    with pytest.raises(ArgumentError, match=r"parameter='?tokens\.weight.*places\.weight"):
        record(model, optimizer, path)
    with pytest.raises(ArgumentError, match=r"unembedding=.*out\.weight"):
        record(model, optimizer, path, ["hidden_mean"], parameter="tokens.weight")
    what = ["embeddings", "hidden_mean", "logits", "unembeddings"]
    with record(
        model, optimizer, path, what, parameter="tokens.weight", unembedding="out.weight"
    ) as recorder:
        for batch in batches(3):
            logits = model(batch["input_ids"])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
            loss.backward()
            recorder.log(loss=loss)
            optimizer.step()
    run = open_run(path)
    np.testing.assert_allclose(run["logits"][3], logits.detach().mean((0, 1)).numpy(), rtol=1e-4, atol=1e-6)


def test_evaluation_and_recomputation_are_no_forward_passes_of_the_training(tmp_path: Path) -> None:
    model = gpt2()
    # Of older versions of transformers the name is another.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    (batch,) = batches(1)
    with record(model, optimizer, tmp_path / "run", ["hidden_mean", "embeddings"]):
        for _ in range(2):
            model.train()
            model(**batch).loss.backward()
            model.eval()
            model(input_ids=batch["input_ids"] * 0)
            optimizer.step()
    found = open_run(tmp_path / "run")["hidden_mean"][:]
    np.testing.assert_array_equal(found[1], found[2])
    model.train()
    hidden = model(**batch, output_hidden_states=True).hidden_states[-1][batch["attention_mask"] > 0]
    np.testing.assert_allclose(found[1], hidden.detach().mean(0).numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("given", ["none", "decoder_attention_mask"])
def test_of_an_encoder_and_a_decoder_the_positions_are_the_decoders(tmp_path: Path, given: str) -> None:
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=VOCABULARY, d_model=WIDTH, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    (batch,) = batches(1)
    # As many positions as the encoder's, whose mask would fit.
    mask = torch.ones_like(batch["attention_mask"])
    masks = {}
    if given != "none":
        mask[2, 1:] = 0
        masks[given] = mask
    seen: list[Tensor] = []
    model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    with record(model, optimizer, tmp_path / "run", ["embeddings", "hidden_mean"]):
        model(**batch, **masks, decoder_input_ids=batch["input_ids"]).loss.backward()
        optimizer.step()
    wanted = seen[0][mask > 0].double().mean(0).float()
    np.testing.assert_array_equal(open_run(tmp_path / "run")["hidden_mean"][1], wanted.numpy())


class Flattening(nn.Module):
    """Puts batch and positions into one axis before its output embeddings, as many do for the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        del attention_mask
        return self.head(self.embedding(ids).view(-1, WIDTH))


def test_the_mask_counts_where_batch_and_positions_are_one_axis(tmp_path: Path) -> None:
    model = Flattening()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    (batch,) = batches(1)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    what = ["hidden_mean", "hidden_last"]
    with record(model, optimizer, tmp_path / "run", what, unembedding="head.weight"):
        model(ids, mask).sum().backward()
        optimizer.step()
    run, hidden = open_run(tmp_path / "run"), model.embedding(ids).detach().double()
    np.testing.assert_allclose(run["hidden_mean"][1], hidden[mask > 0].mean(0), rtol=1e-6)
    np.testing.assert_allclose(
        run["hidden_last"][1], hidden[torch.arange(3), mask.sum(1) - 1].mean(0), rtol=1e-6
    )


@pytest.mark.parametrize("evaluating", [True, False])
def test_a_step_without_a_forward_pass_is_said_once(tmp_path: Path, evaluating: bool) -> None:
    model = gpt2()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    model.train(not evaluating)
    with record(model, optimizer, tmp_path / "run", ["embeddings", "hidden_mean", "logits"], steps=2):
        for step, batch in enumerate(batches(4), start=1):
            if evaluating:
                model(**batch).loss.backward()
            if step != 2:
                optimizer.step()
                continue
            why = r"evaluation mode.*model\.train\(\)" if evaluating else "had none"
            with pytest.warns(RecordingWarning, match=f"hidden_mean, logits.*in step 2.*{why}"):
                optimizer.step()
    assert np.isnan(open_run(tmp_path / "run")["hidden_mean"][:]).all()


def test_a_recomputed_forward_pass_counts_once() -> None:
    layer, seen = nn.Linear(3, 3), torch.randn(4, 3, requires_grad=True)
    output = ModuleOutput(layer, "mean", 3)
    torch.utils.checkpoint.checkpoint(lambda x: layer(x).square(), seen, use_reentrant=False).sum().backward()
    assert output._count == 4
    output.close()


def test_what_a_dropped_step_has_seen_is_not_the_next_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SlowTransport] = []

    def make(likes: list[Tensor], scalars: int) -> SlowTransport:
        made.append(SlowTransport(likes, scalars, 1))
        return made[-1]

    monkeypatch.setattr(recorder_module, "transport_for", make)
    model = gpt2()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    path = tmp_path / "run"
    with record(model, optimizer, path, ["embeddings", "hidden_mean"], when_full="drop") as recorder:
        for number, batch in enumerate(batches(2)):
            loss = model(**batch, output_hidden_states=True)
            loss.loss.backward()
            if number == 1:
                made[0].gate.set()
                recorder.flush()
            optimizer.step()
        assert recorder.stats.dropped == 1
    run = open_run(path)
    assert run.steps.tolist() == [0, 2]
    hidden = loss.hidden_states[-1][batch["attention_mask"] > 0].detach()
    np.testing.assert_allclose(run["hidden_mean"][1], hidden.mean(0).numpy(), rtol=1e-5, atol=1e-7)


def test_a_schedule_rests_the_hooks_between_its_steps(tmp_path: Path) -> None:
    model = gpt2()
    optimizer = torch.optim.AdamW(model.parameters())
    what = ["embeddings", "embeddings.grad", "hidden_mean"]
    with record(model, optimizer, tmp_path / "run", what, steps=3) as recorder:
        wanted = []
        for number, batch in enumerate(batches(9), start=1):
            model(**batch).loss.backward()
            gradient = model.transformer.wte.weight.grad.clone()
            output = recorder._arrays.outputs[0]
            assert output.wanted == (number % 3 == 0)
            assert (output._sum is not None) == output.wanted
            optimizer.step()
            optimizer.zero_grad()
            if number % 3 == 0:
                wanted.append(gradient)
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 3, 6, 9]
    np.testing.assert_array_equal(run["embeddings.grad"][1:], torch.stack(wanted).numpy())
    assert np.isfinite(run["hidden_mean"][1:]).all()


# Dynamo looks at .grad of what is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.slow
def test_a_compiled_model_is_recorded_as_any(tmp_path: Path) -> None:
    model = gpt2()
    optimizer = torch.optim.AdamW(model.parameters())
    compiled = torch.compile(model, backend="eager")
    with record(compiled, optimizer, tmp_path / "run", ["embeddings", "embeddings.grad"]):
        for batch in batches(3):
            compiled(**batch).loss.backward()
            optimizer.step()
    run = open_run(tmp_path / "run")
    assert run.steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(run["embeddings"][3], model.transformer.wte.weight.detach().numpy())


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (["embeding"], "Did you mean embeddings"),
        (["embeddings.exp_agv"], "keeps nothing called 'exp_agv'"),
        (["transformer.h.9.*"], "matches none"),
        ([], "names nothing"),
        ([3], "names are strings"),
        (["position.grad"], "matches none"),
    ],
)
def test_names_that_stand_for_nothing(tmp_path: Path, what: Any, message: str) -> None:
    model = gpt2()
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(ArgumentError, match=message):
        record(model, optimizer, tmp_path / "run", what)
    assert not (tmp_path / "run").exists()


def test_an_optimizer_that_does_not_hold_the_embedding_is_refused(tmp_path: Path) -> None:
    model, other = gpt2(), gpt2()
    optimizer = torch.optim.AdamW(other.parameters())
    with pytest.raises(ArgumentError, match=r"AdamW does not hold transformer\.wte\.weight"):
        record(model, optimizer, tmp_path / "run")
    for wrong in (3, None, [], model):
        with pytest.raises(ArgumentError):
            record(model, wrong, tmp_path / "run")
    with pytest.raises(ArgumentError, match="model is 3"):
        record(3, optimizer, tmp_path / "run")


def test_a_resized_model_says_what_to_do(tmp_path: Path) -> None:
    model = gpt2()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with record(model, optimizer, tmp_path / "run", ["embeddings"]):
        model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
        with pytest.raises(Exception, match="Resize before recording begins"):
            optimizer.step()
    assert open_run(tmp_path / "run").steps.tolist() == [0]
