"""What tokens are called: characters only where the run says that its token ids are bytes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embevo.experiment.config import ExperimentConfig
from embevo.run.format.provenance import is_experiment, vocabulary_is_bytes
from embevo.run.format.tokens import TokenNames

EXPERIMENT = ExperimentConfig().to_mapping()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["config", "vocabulary", "corpus", "mine"]), JSON))
def test_of_a_run_that_says_nothing_tokens_are_ids(attributes: dict[str, Any]) -> None:
    if attributes.get("vocabulary") == "bytes":
        del attributes["vocabulary"]
    assert not is_experiment(attributes)
    assert TokenNames.of(attributes, np.array([0, 33, 65, 50_000]), None).labels == ["0", "33", "65", "50000"]


@pytest.mark.parametrize(
    "attributes",
    [{"config": EXPERIMENT}, {"vocabulary": "bytes"}, {"config": {"x": 1}, "vocabulary": "bytes"}],
)
def test_bytes_are_characters_or_their_codes(attributes: dict[str, Any]) -> None:
    assert vocabulary_is_bytes(attributes)
    assert TokenNames.of(attributes, np.array([10, 32, 33, 65, 126, 127, 255]), None).labels == [
        "x0a", "x20", "!", "A", "~", "x7f", "xff",
    ]  # fmt: skip


@given(st.sampled_from(sorted(EXPERIMENT)), JSON)
def test_settings_of_other_programs_are_not_the_experiments(name: str, value: Any) -> None:
    """Each setting by which it is known counts."""
    known = {"vocab_size", "init", "objective", "dtype"}
    if name in known and value not in (128, 256, "normal", "qwen", "qwen-unit", "next-token", "seed"):
        assert not is_experiment({"config": {**EXPERIMENT, name: value}})
    without = {key: setting for key, setting in EXPERIMENT.items() if key != name}
    needed = known | {"corpus", "learning_rate", "seed", "steps"}
    assert is_experiment({"config": without}) == (name not in needed)


def test_a_run_that_names_another_vocabulary_has_no_bytes() -> None:
    assert not vocabulary_is_bytes({"config": EXPERIMENT, "vocabulary": "bpe"})
