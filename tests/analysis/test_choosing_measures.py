"""Which measures are taken, of what, and what is absent; and those of the logits."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from embevo_cli.main import embevo
from scipy.special import softmax as scipy_softmax
from scipy.stats import entropy as scipy_entropy

from embevo import Recorder
from embevo.analysis import analyze
from embevo.analysis.findings import findings
from embevo.analysis.measures import logits, outline
from embevo.analysis.measures.registry import COSTLY, USUAL, names_of
from embevo.errors import ArgumentError
from embevo.run.paths import RunPaths
from support import trajectories


def test_entropy_and_inequality_of_logits() -> None:
    even = logits.softmax(np.full(7, 3.0))
    assert logits.entropy(even) == pytest.approx(math.log(7))
    assert logits.gini(even) == pytest.approx(0, abs=1e-15)
    one = logits.softmax(np.array([0.0, 0, 0, 5000]))
    assert (logits.entropy(one), logits.gini(one)) == (0, pytest.approx(3 / 4))
    share = logits.softmax(np.random.default_rng(5).normal(size=50))
    assert logits.entropy(share) == pytest.approx(scipy_entropy(share))
    pairs = np.abs(share[:, None] - share).sum()
    assert logits.gini(share) == pytest.approx(pairs / (2 * 50**2 * share.mean()))


def test_recorded_logits_are_measured(tmp_path: Path) -> None:
    weight = torch.zeros(5, 3)
    given = np.full((3, 5), np.nan, np.float32)
    given[1:] = np.random.default_rng(1).normal(size=(2, 5))
    logits_now = torch.zeros(5)
    with Recorder(
        tmp_path / "run", {"embeddings": weight, "logits": logits_now}, dimensions={"logits": ["token"]}
    ) as recorder:
        for step, row in enumerate(given):
            logits_now.copy_(torch.from_numpy(row))
            recorder.capture(step)
    found = analyze(tmp_path / "run", keep=False)
    shares = [scipy_softmax(row.astype(np.float64)) for row in given[1:]]
    entropies = [scipy_entropy(share) for share in shares]
    np.testing.assert_allclose(found.series["logit_entropy"].values[1:], entropies)
    assert np.isnan(found.series["logit_gini"].values[0])
    assert np.isfinite(found.series["logit_gini"].values[1:]).all()
    (said,) = [sentence for sentence in findings(found) if "softmax" in sentence]
    assert f"from {entropies[0]:.3g} to {entropies[1]:.3g} nats; 1.61 is the most" in said


def test_what_does_not_apply_is_absent(tmp_path: Path) -> None:
    path = trajectories.record(tmp_path / "run", trajectories.brownian(20, 8, 3).astype(np.float32))
    found = analyze(path, measures="all", keep=False)
    for name in ("unused_cosine", "way_left", "alpha_req", "twonn", "neighbours_last", "logit_entropy"):
        assert name not in found.series
    assert {"rankme", "graph_degree"} <= set(found.series)
    assert "undertrained" not in found.summary
    core = analyze(path, measures="core", keep=False)
    assert not {"rankme", "life"} & set(core.series)
    assert "rankme_last" not in core.summary["groups"]["all"]


def test_more_than_is_asked_for_is_found_where_it_was_kept(tmp_path: Path) -> None:
    path = trajectories.record(tmp_path / "run", trajectories.brownian(20, 12, 3).astype(np.float32))
    everything = analyze(path, measures="all")
    found = analyze(path)
    assert found.series.identical(everything.series)
    assert "twonn" in found.series
    # It is still there, and what is kept still says what it is.
    assert analyze(path, measures=["twonn", "cka"]).series.identical(everything.series)
    analyze(path, {"tight": 0.3})
    assert "twonn" in json.loads(RunPaths(path).analysis_json.read_bytes())["key"]["measured"]
    fewer = analyze(path, measures="twonn", exact=True)
    assert "rankme" not in fewer.series
    assert "rankme" in analyze(path, exact=True).series


def test_the_command_chooses_and_says_what_there_is(tmp_path: Path) -> None:
    path = trajectories.record(tmp_path / "run", trajectories.brownian(20, 12, 3).astype(np.float32))
    chosen = CliRunner().invoke(embevo, ["analyze", str(path), "--measures", "participation", "--no-keep"])
    assert "participation ratio" in chosen.output
    assert "RankMe" not in chosen.output
    wrong = CliRunner().invoke(embevo, ["analyze", str(path), "--measures", "rankme,rank"])
    assert wrong.exit_code != 0
    assert all(name in wrong.output for name in names_of((*USUAL, *COSTLY)))
    with pytest.raises(ArgumentError, match="no measure 'rank'"):
        analyze(path, measures="rank")


def test_many_tokens_are_sampled_unless_all_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outline, "MOST_PAIRED", 15)
    monkeypatch.setattr(outline, "_KEPT_BYTES", 30 * 3 * 4 * 12)
    path = trajectories.record(
        tmp_path / "run", trajectories.brownian(12, 60, 3).astype(np.float32), dead=range(0, 60, 6)
    )
    some = analyze(path, measures="all", keep=False)
    assert (some.summary["kept_tokens"], some.summary["sampled_tokens"]) == (30, 16)
    whole = analyze(path, measures="all", exact=True, keep=False)
    assert (whole.summary["kept_tokens"], whole.summary["sampled_tokens"]) == (60, 60)
    assert whole.series["graph_isolated"].values[0, 0] == 60
    assert some.series["graph_isolated"].values[0, 0] == 16
    # What needs no pairs and no last row is of all tokens anyway.
    np.testing.assert_array_equal(whole.series["rankme"], some.series["rankme"])
