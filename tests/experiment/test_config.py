import codecs
import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embevo import Recorder
from embevo.errors import ConfigError, NotARunError
from embevo.experiment.config import ExperimentConfig, load_settings, overridden, settings_of

# The first page of the notebook.
NOTEBOOK = {
    "vocab_size": 128,
    "dim": 64,
    "layers": 2,
    "heads": 2,
    "context": 128,
    "init": "qwen",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "batch": 16,
    "steps": 5000,
    "seed": 42,
    "dtype": "bfloat16",
}


def test_the_defaults_are_the_notebooks() -> None:
    assert NOTEBOOK.items() <= ExperimentConfig().to_mapping().items()


@given(
    st.builds(
        ExperimentConfig,
        vocab_size=st.sampled_from([128, 256]),
        init=st.sampled_from(["normal", "qwen", "qwen-unit"]),
        init_sigma=st.floats(0, 1e3),
        learning_rate=st.floats(0, 1),
        corpus=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        seed=st.integers(0, 2**63 - 1),
        drop_out_of_vocab=st.booleans(),
    )
)
def test_toml_round_trip_is_exact(config: ExperimentConfig) -> None:
    assert ExperimentConfig.from_mapping(tomllib.loads(config.to_toml())) == config


def test_config_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('init = "normal"\nlearning_rate = 1\n')
    config = ExperimentConfig.from_mapping(load_settings(path), "c.toml")
    assert config == dataclasses.replace(ExperimentConfig(), init="normal", learning_rate=1.0)
    assert type(config.learning_rate) is float


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rat": 1.0}, "unknown setting 'learning_rat'; did you mean learning_rate"),
        ({"zzz": 1}, "unknown setting 'zzz'; known settings: vocab_size"),
        ({"vocab_size": 127}, "vocab_size is 127; it must be one of 128, 256"),
        ({"vocab_size": True}, "vocab_size is True"),
        ({"init": "qwn"}, "init is 'qwn'; it must be one of normal, qwen, qwen-unit"),
        ({"steps": 1.5}, "steps is 1.5; it must be a whole number"),
        ({"steps": True}, "steps is True; it must be a whole number"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"every": 0}, "every is 0"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; it must be a number"),
        ({"learning_rate": float("nan")}, "it must be finite"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be at least 0"),
        ({"drop_out_of_vocab": 1}, "it must be true or false"),
        ({"dim": 63}, "dim 63 cannot be split among 2 heads"),
        ({"seed": 2**63}, "below 2"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ExperimentConfig.from_mapping(settings, "c.toml")
    assert message in str(refused.value)
    assert str(refused.value).startswith("c.toml: ")


def test_unreadable_config_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(tmp_path / "binary.toml")


def test_a_run_of_another_program_has_no_settings(tmp_path: Path) -> None:
    with pytest.raises(NotARunError, match="there is no such directory"):
        settings_of(tmp_path / "none")
    with Recorder(tmp_path / "mine", {"embeddings": torch.zeros(3, 2)}) as recorder:
        recorder.capture(0)
    for load in (settings_of, load_settings):
        with pytest.raises(ConfigError, match="was not recorded by embevo train"):
            load(tmp_path / "mine")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_of_any_editor(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(f'init = "normal"{newline}steps = 5{newline}'.encode(encoding))
    assert load_settings(path) == {"init": "normal", "steps": 5}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32", "latin-1"])
def test_other_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "c.toml"
    mark = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-16-le": codecs.BOM_UTF16_LE}.get(encoding, b"")
    path.write_bytes(mark + 'corpus = "\u00e4"\n'.encode(encoding))
    with pytest.raises(ConfigError, match=r"Save it as UTF-8|is not TOML"):
        load_settings(path)


def test_a_table_and_a_short_name_are_explained() -> None:
    with pytest.raises(ConfigError, match=r"leave out the line \[train\]"):
        ExperimentConfig.from_mapping({"train": {"steps": 5}})
    with pytest.raises(ConfigError, match="did you mean learning_rate"):
        ExperimentConfig.from_mapping({"lr": 1e-3})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"record": "weights,moments"}, "record has 'moments'; it is made of weights, grad, exp_avg"),
        ({"record": "weights,grad,grad"}, "name each of them once"),
        ({"record": "grad"}, "write weights,grad"),
        ({"record": ""}, "record has ''"),
        ({"tokens": "128"}, "the vocabulary has the ids 0 to 127, and not 128"),
        ({"tokens": "deadly"}, "'deadly' is not a token"),
        ({"tokens": ""}, "'' is not a token"),
        ({"tokens": "9-3"}, "ends before it begins"),
        ({"schedule": "sometimes"}, "'sometimes' is no schedule: write every:10"),
        ({"schedule": "log"}, "'log' is no schedule"),
        ({"schedule": "dense:5"}, "'dense:5' is no schedule"),
        ({"schedule": "every:0"}, "a whole number of at least 1"),
        ({"schedule": "log:2+"}, "'' is no schedule"),
        ({"schedule": "log:5", "every": 2}, "every is 2 and schedule is 'log:5': give one of them"),
        ({"schedule": "every:5", "every": 2}, "every is 2 and schedule is 'every:5': give one of them"),
    ],
)
def test_arrays_tokens_and_steps_that_are_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ExperimentConfig.from_mapping(given, "c.toml")
    assert message in str(refused.value)


def test_names_are_kept_in_one_order_and_every_in_one_way() -> None:
    config = ExperimentConfig(record="exp_avg, weights,grad", schedule="every:5")
    assert (config.record, config.every, config.schedule) == ("weights,grad,exp_avg", 5, "every")
    assert config == ExperimentConfig(record="weights,grad,exp_avg", every=5, schedule="every:5")


@given(
    st.integers(1, 50),
    st.sampled_from(["every", "every:3", "log:4", "dense:9,4", "0,5,7", "log:3+2+every:9"]),
    st.integers(1, 60),
)
def test_the_steps_are_those_written_the_first_and_the_last(every: int, written: str, last: int) -> None:
    config = ExperimentConfig(
        steps=last, schedule=written, **({"every": every} if written == "every" else {})
    )
    steps = {
        "every": set(range(0, last, every)),
        "every:3": set(range(0, last, 3)),
        "log:4": {0, 1, 2, 3, 6, 10, 18, 32, 56},
        "dense:9,4": {*range(9), *range(9, last, 4)},
        "0,5,7": {0, 5, 7},
        "log:3+2+every:9": {0, 1, 2, 5, 10, 22, 46, *range(0, last, 9)},
    }[written]
    expected = sorted({0, last, *(step for step in steps if step < last)})
    assert list(config.steps_to_record().up_to(last)) == expected


def test_one_way_of_naming_steps_replaces_the_other() -> None:
    stored = {"every": 8, "dim": 16}
    assert overridden(stored, {"schedule": "log:5"}) == {"dim": 16, "schedule": "log:5"}
    assert overridden({"every": 1, "schedule": "log:5"}, {"every": 2}) == {"every": 2}
    assert overridden(stored, {"dim": 8}) == {"every": 8, "dim": 8}
    assert ExperimentConfig(**overridden({}, {"every": 4, "schedule": "every:4"})).every == 4
    with pytest.raises(ConfigError, match="--every 1 and --schedule every:4 are not the same steps"):
        overridden({}, {"every": 1, "schedule": "every:4"})
    with pytest.raises(ConfigError, match="--every 3 and --schedule log:5 are not the same steps"):
        overridden({}, {"every": 3, "schedule": "log:5"})
