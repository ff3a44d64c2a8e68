"""The key findings are sentences with the right numbers, about what applies to the run and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from embevo_cli.main import embevo

from embevo.analysis import Analysis, analyze
from embevo.analysis.findings import findings
from embevo.analysis.report import page as module
from embevo.analysis.report.page import report
from embevo.analysis.report.tables import numbers_of
from support import drawn, trajectories


@pytest.fixture(scope="module")
def singular(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyze(drawn.record_singular(tmp_path_factory.mktemp("found") / "singular"))


def test_what_is_known_of_a_singular_run_is_said_with_its_numbers(singular: Analysis) -> None:
    values = drawn.singular().astype(np.float64)
    live = [token for token in range(110) if token not in drawn.DEAD]
    spread = values[-1, live] - values[-1, live].mean(axis=0)
    radius = np.sqrt((spread**2).sum(axis=1).mean())
    found = findings(singular)
    assert found[:2] == [
        "110 tokens have one and the same vector at step 0 and 105 different vectors at step 149.",
        "6 tokens end as one black hole, the same in every bit: exactly the dead.",
    ]
    assert f"The RMS radius of the live tokens goes from 0 to {radius:.3g}." in found
    assert any(sentence.startswith("No dead token moves after step 50 of 149") for sentence in found)
    assert (
        "In the last interval 0 of 104 live tokens are at rest and 104 move by more than sqrt(dim) ULPs."
        in found
    )
    assert (
        "In 50 of 149 intervals, the first 50 without a break, more than half of the motion of the dead "
        "tokens is common to them."
    ) in found
    assert any("mean cosine between live tokens" in of and "says nothing of its form" in of for of in found)
    assert any(sentence.startswith("The loss goes from 4 to 3.85, below the 4.45") for sentence in found)


def test_rests_and_the_final_form_are_said(field_run: Path) -> None:
    found = findings(analyze(field_run, measures="all"))
    assert "A rest of ten intervals or more ends with a kick 2 times: a token moves again." in found
    (form,) = [sentence for sentence in found if "final form" in sentence]
    analysis = analyze(field_run, measures="all")
    step = int(form.split()[2])
    alike = analysis.series["cka_last"].sel(group="live")
    assert (alike.values[alike["measured_step"] >= step] >= 0.95).all()
    assert alike.values[alike["measured_step"] < step][-1] < 0.95
    assert any("all 89 intervals" in sentence and "dead tokens" in sentence for sentence in found)


def test_what_does_not_apply_is_not_said(tmp_path: Path) -> None:
    walk = trajectories.brownian(20, 8, 3).astype(np.float32)
    plain = findings(analyze(trajectories.record(tmp_path / "walk", walk), measures="core", keep=False))
    assert [sentence.split(" goes ")[0] for sentence in plain] == ["The RMS radius of the tokens", "The loss"]
    # Nor is there an error where there is hardly anything.
    row = analyze(trajectories.record(tmp_path / "row", walk[:1], dead=[1]), measures="all", keep=False)
    assert not any("interval" in sentence for sentence in findings(row))
    nowhere = walk.copy()
    nowhere[5:] = np.nan
    lost = analyze(trajectories.record(tmp_path / "lost", nowhere, dead=[1]), measures="all", keep=False)
    assert not any("nan" in sentence for sentence in findings(lost))


def test_of_one_row_nothing_is_said_twice(tmp_path: Path) -> None:
    row = drawn.singular()[-1:]
    path = trajectories.record(tmp_path / "row", row, steps=[7], dead=drawn.DEAD)
    analysis = analyze(path, measures="all", keep=False)
    assert findings(analysis)[:3] == [
        "110 tokens have 105 different vectors at step 7.",
        "6 tokens are one black hole, the same in every bit: exactly the dead.",
        "The RMS radius of the live tokens is 0.556.",
    ]
    assert findings(analysis)[-1] == "The loss is 3.99."
    # Of the steps of two rows, what did not change is not said as if it had.
    two = analyze(
        trajectories.record(tmp_path / "two", row[[0, 0]], losses=[2, 2]), measures="all", keep=False
    )
    assert findings(two)[0] == "110 tokens have 105 different vectors at step 0 and at step 1."
    assert "The loss stays at 2." in findings(two)
    assert not any("goes from" in sentence for sentence in findings(two))
    for sentence in findings(analysis):
        assert not any(word in sentence for word in ("goes", " from ", "ends", "end as")), sentence
    assert not any("→" in text for text in numbers_of(analysis).values())
    assert numbers_of(analysis)["steps"] == "7, the only one recorded"
    output = CliRunner().invoke(embevo, ["analyze", str(path)]).output
    assert "float32, 1 row x 110 tokens x 5 dimensions, step 7\n" in output
    assert "first to last row" not in output


def test_a_loss_that_only_one_row_has_is_said_once(tmp_path: Path) -> None:
    walk = trajectories.brownian(2, 20, 8).astype(np.float32)
    path = trajectories.record(tmp_path / "run", walk, losses=[np.nan, 3.5])
    (loss,) = [of for of in findings(analyze(path, measures="core", keep=False)) if "loss" in of]
    assert loss == "The loss is 3.5."


def test_the_report_begins_with_them_and_folds_the_rest(
    singular: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "FIGURES", tuple(of for of in module.FIGURES if of.name in {"life", "radius"})
    )
    page = report([singular])
    first = page.index("are at rest and 104 move by more than sqrt(dim) ULPs.")
    assert page.index('id="findings"') < first < page.index('id="verdicts"') < page.index('id="numbers"')
    numbers = page[page.index('id="numbers"') : page.index('id="figures"')]
    assert "<details open><summary>At a glance" in numbers
    for section in ("Geometry", "Singularities", "Shape", "Lattice"):
        assert f"<details><summary>{section} (" in numbers
    assert ">-</td></tr>" not in numbers
    assert "Not drawn" not in page
    assert "<summary>On the lattice of numbers</summary>" in page


def test_a_figure_that_no_run_can_show_takes_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIGURES", tuple(of for of in module.FIGURES if of.name == "life"))
    path = trajectories.record(tmp_path / "run", np.ones((3, 4, 2), np.float32))
    page = report([analyze(path, keep=False)])
    assert "<details><summary>Not drawn (1)</summary>" in page
    assert 'id="figure-life"' not in page


def test_the_command_says_them_before_its_table(field_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    output = CliRunner().invoke(embevo, ["analyze", str(field_run), "--measures", "all"]).output
    assert output.index("- 7 tokens end as one black hole") < output.index("RMS radius, first to last row")
