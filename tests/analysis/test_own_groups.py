"""Groups of the user's own and names stand beside live and dead, of all tokens or of some, in everything."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from embevo_cli.main import embevo
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

from embevo import Recorder, open_run
from embevo.analysis import analyze
from embevo.analysis.figures import frequency
from embevo.analysis.figures.catalogue import FIGURES
from embevo.analysis.figures.groups import key_of
from embevo.analysis.figures.rendering import render
from embevo.analysis.figures.token_names import name_of
from embevo.analysis.film.animation import animate
from embevo.analysis.measures.groups import GROUPS as GROUP_NAMES
from embevo.analysis.measures.groups import Groups
from embevo.errors import AnalysisError
from embevo.recording.annotating import annotate
from embevo.run.format.tokens import SPACE, Tokens, label_of

TOKENS, DIM, STEPS = 12, 4, 60
COUNTS = [5, 0, 3, 0, 9, 0, 1, 1, 1, 0, 2, 2]
NAMES = [" the", "of", "7", None, "<b>", b"\xe2", *"abcdef"]
GROUPS = {"digits": [2, 3, 4], "mine": [11, 5, 0]}


def record(path: Path, tokens: list[int] | None = None, **options: object) -> Path:
    generator = torch.Generator().manual_seed(1)
    weight = torch.nn.Parameter(torch.randn(TOKENS, DIM, generator=generator))
    options = {"token_count": COUNTS, **options}
    with Recorder(path, {"embeddings": weight}, tokens=tokens, **options) as recorder:
        for step in range(STEPS):
            with torch.no_grad():
                weight += 0.1 * torch.randn(TOKENS, DIM, generator=generator)
            recorder.capture(step, loss=3.0, lr=0.1)
    return path


@pytest.mark.parametrize("tokens", [None, [0, 2, 3, 5, 8, 11]])
def test_a_group_is_measured_as_its_tokens_are_alone(tmp_path: Path, tokens: list[int] | None) -> None:
    found = analyze(record(tmp_path / "run", tokens, groups=GROUPS), keep=False)
    recorded = range(TOKENS) if tokens is None else tokens
    assert found.series["group"].to_numpy().tolist() == ["all", "live", "dead", "digits", "mine"]
    assert found.series["token"].to_numpy().tolist() == list(recorded)
    members = {
        "all": set(recorded),
        "live": {token for token in recorded if COUNTS[token]},
        "dead": {token for token in recorded if not COUNTS[token]},
        **{name: set(ids) & set(recorded) for name, ids in GROUPS.items()},
    }
    values = np.asarray(open_run(tmp_path / "run")["embeddings"][:], np.float64)
    for name, ids in members.items():
        part = values[:, [list(recorded).index(token) for token in sorted(ids)]]
        centroid = part.mean(axis=1)
        assert found.summary["groups"][name]["tokens"] == len(ids)
        assert np.allclose(found.series["centroid"].sel(group=name), centroid)
        radius = np.sqrt(((part - centroid[:, None]) ** 2).sum(axis=2).mean(axis=1))
        assert np.allclose(found.series["radius_rms"].sel(group=name), radius)
        moved = ((part[1:] - part[:-1]) ** 2).sum(axis=2).mean()
        assert np.isclose(found.series["msd_tokens"].sel(group=name)[0], moved)
        chosen = found.series["token"].to_numpy()[found.series["member"].sel(group=name).to_numpy()]
        assert set(chosen.tolist()) == ids
    assert set(found.summary["phases"]) == set(found.summary["exponents"]["tokens"]) == set(members)


def test_of_some_tokens_nothing_is_said_that_needs_all_of_them(tmp_path: Path) -> None:
    path = record(tmp_path / "run", [0, 2, 3, 5], tokenizer=NAMES)
    found = analyze(path)
    assert found.labels == ["\u2423the", '"7"', "3", "\\xe2"]
    assert (found.summary["live"], found.summary["dead"]) == (2, 2)
    assert found.summary["unigram_entropy"] is None
    assert not found.applies.judged
    assert "8 of its tokens are not recorded" in found.applies.statement
    with pytest.raises(AnalysisError, match="not recorded"):
        analyze(path, judge=True)


def test_a_name_measures_nothing_anew_and_a_group_or_a_count_does(tmp_path: Path) -> None:
    path = record(tmp_path / "run")
    measured: list[int] = []

    def look() -> list[str]:
        measured.clear()
        return analyze(path, on_rows=lambda done, _: measured.append(done)).labels

    assert look() == [str(token) for token in range(TOKENS)]
    assert measured
    annotate(path, tokenizer=NAMES)
    assert look()[0] == "\u2423the"
    assert not measured
    annotate(path, groups=GROUPS)
    look()
    assert measured
    annotate(path, token_count=[1] * TOKENS)
    assert analyze(path).summary["dead"] == 0


@pytest.mark.parametrize("tokens", [None, [0, 2, 3, 5, 8, 11]])
@pytest.mark.parametrize("counted", [True, False])
def test_pictures_show_them(tmp_path: Path, tokens: list[int] | None, counted: bool) -> None:
    counts = COUNTS if counted else None
    path = record(tmp_path / "run", tokens, groups=GROUPS, tokenizer=NAMES, token_count=counts)
    analysis = analyze(path)
    for name, ids in GROUPS.items():
        recorded = len(ids) if tokens is None else len(set(ids) & set(tokens))
        assert key_of(analysis, name)[2:] == f"{name} ({recorded})"
    counting = [] if counted else [figure for figure in FIGURES if figure.draw is frequency.draw]
    drawn = {figure.name: figure.draw(analysis) for figure in FIGURES if figure not in counting}
    for name, drawing in drawn.items():
        render(drawing, "png")
        ends = " ".join(label.text for label in drawing.labels)
        said = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
        ylabels = [axes.get_ylabel() for axes in drawing.figure.axes]
        every = " ".join([ends, *said, *ylabels])
        if name in {"radius", "cloud", "distinct", "displacement", "diffusion"}:
            assert "digits" in every, name
            assert "mine" in every, name
        if name == "cloud":
            assert "\u2423the" in every
    animate(analysis, tmp_path / "film.gif", frames=2, labels=True)


def test_commands_show_them(tmp_path: Path) -> None:
    path = record(tmp_path / "run", groups=GROUPS, tokenizer=NAMES)
    other = record(tmp_path / "other", groups={"rest": [7]})

    def command(*arguments: object) -> str:
        result = CliRunner().invoke(embevo, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    info = command("info", path)
    assert "11 of 12 tokens" in info
    assert "digits 3, mine 3" in info
    assert " ".join(command("analyze", path).split()).count("digits mine") == 1
    command("report", path, other, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for name in ("digits", "mine", "rest"):
        assert f"number, {name} tokens" in page
    assert f"{len(COUNTS)} vectors" in page
    recorded = command("info", record(tmp_path / "some", [0, 3, 5], tokenizer=NAMES))
    assert "3 of the vocabulary's 12 tokens" in recorded
    assert "1 live, 2 dead" in recorded
    assert "3  \\xe2" in recorded


@given(st.text(max_size=20) | st.binary(max_size=5))
def test_names_in_pictures_are_of_characters_that_the_font_has(text: str | bytes) -> None:
    name = name_of(label_of(text, 5))
    assert all(0x20 <= ord(c) < 0x7F or c == SPACE for c in name)
    assert FT2Font(findfont("DejaVu Sans")).get_char_index(ord(SPACE))


@given(st.data())
def test_a_sample_of_a_big_vocabulary_has_its_share_of_every_group(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 300))
    at_most = data.draw(st.integers(1, 120))
    members = st.lists(st.integers(0, count - 1), unique=True) if count else st.just([])
    own = {
        f"own{number}": np.array(sorted(ids), np.int64)
        for number, ids in enumerate(data.draw(st.lists(members, max_size=4)))
    }
    tokens = None
    if data.draw(st.booleans()):
        dead = data.draw(members)
        occurrences = np.ones(count, np.int64)
        occurrences[dead] = 0
        tokens = Tokens(np.arange(count), occurrences)
    groups = Groups.of(count, tokens, own)
    sample = groups.sampled(at_most)
    assert (sample.names, sample.known, sample.own) == (groups.names, groups.known, groups.own)
    if count <= at_most:
        assert sample is groups
    stride = max(1, -(-count // at_most))
    for name in groups.names:
        chosen, whole = sample[name], groups[name]
        assert np.all(np.diff(chosen) > 0)
        assert np.isin(chosen, whole).all()
        # None is left out altogether, and none is thinner than the rest.
        assert len(chosen) >= min(len(whole), -(-len(whole) // stride) if name in GROUP_NAMES else 1)
        if name in own and len(whole) <= at_most // (4 * len(own)):
            assert chosen.tolist() == whole.tolist()
    if tokens is not None:
        assert sample["all"].tolist() == sorted([*sample["live"], *sample["dead"]])
    # The live and the dead round up, each once; groups of the user's own come on top, by a quarter.
    assert len(sample.together) <= at_most + 1 + max(at_most // 4, len(own)) + len(own)
