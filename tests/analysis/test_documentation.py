"""docs/analysis.md: its example runs, and it leaves nothing out."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from embevo.analysis import Thresholds, analyze
from embevo.analysis.measurement import outline_of
from embevo.analysis.measures.registry import MEASURES, VARIABLES, measures_of
from embevo.run.reading.reader import open_run
from support import trajectories

TEXT = (Path(__file__).parents[2] / "docs/analysis.md").read_text()


def test_the_three_lines_run(tmp_path: Path) -> None:
    values = trajectories.brownian(30, 4, 3).astype("float32")
    for run, scale in (("mine", 1), ("yours", 2)):
        config = trajectories.experiment(init="normal", seed=scale)
        trajectories.record(tmp_path / "runs" / run, scale * values, dead=[1, 2], config=config)
    (name, code), (other, compared), (third, survives) = re.findall(
        r"<!-- test: ([\w ]+) -->\n```python\n(.*?)```", TEXT, re.DOTALL
    )
    assert (name, other, third) == ("three lines", "two runs", "survival")
    assert len([line for line in code.splitlines() if line]) == 3
    program = f"{code}\nprint(radius.dims, radius.sizes['step'])\n{compared}\n{survives}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    first, second, *survived = done.stdout.splitlines()
    assert (first, done.stderr) == ("('step',) 30", "")
    assert [line.split()[:3:2] for line in survived] == [
        ["N1", "True"],
        *([f"N{number}", "False"] for number in (2, 3, 4)),
    ]
    # One is the other, twice as large.
    assert [float(number) for number in second.split()] == pytest.approx([1, 0], abs=1e-6)


def test_the_examples_of_the_page_on_scaling_run(tmp_path: Path) -> None:
    values = trajectories.brownian(600, 4, 3).astype("float32")
    trajectories.record(tmp_path / "runs/mine", values, dead=[1, 2])
    page = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
    examples = re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", page, re.DOTALL)
    assert [name for name, _ in examples] == ["cluster", "tree"]
    assert page.count("```python") == len(examples)
    for name, code in examples:
        program = tmp_path / f"{name}.py"
        program.write_text(code)
        done = subprocess.run(
            [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        for printed in re.findall(r"^ *print\(.*# (.*)$", code, re.MULTILINE):
            assert printed in done.stdout


def test_the_tables_of_variables_are_what_the_measures_declare() -> None:
    tables = re.findall(r"<!-- variables: (\w+) -->\n(.*?)<!-- variables: end -->", TEXT, re.DOTALL)
    shown = [(section, row) for section, rows in tables for row in rows.splitlines()[2:]]
    declared = [
        (section, f"| `{of.name}` ({', '.join(of.dimensions)}) | {of.unit or '-'} | {said} |")
        for section in dict(tables)
        for measure in MEASURES
        if measure.section == section
        for of in measure.variables
        for said in [f"{of.definition} | {of.source}"]
    ]
    assert shown == declared
    assert {measure.section for measure in MEASURES} == set(dict(tables))
    assert len(shown) == len(VARIABLES)
    # Nothing but the tables says what a variable is: a row outside of them would not be compared.
    assert len(re.findall(r"^\| `\w+` \([\w, ]+\) \|", TEXT, re.MULTILINE)) == len(shown)


def test_the_script_writes_the_tables_that_are_there(tmp_path: Path) -> None:
    made = runpy.run_path(str(Path(__file__).parents[2] / "scripts/make_measures_tables.py"))
    page = tmp_path / "analysis.md"
    page.write_text(re.sub(r"(<!-- variables: \w+ -->\n)(?:\|.*\n)+", r"\1", TEXT))
    assert "| `radius_rms` (step, group)" not in page.read_text()
    made["rewrite"](page)
    assert page.read_text() == TEXT


def test_units_and_labels_are_those_of_the_series(tmp_path: Path) -> None:
    values = trajectories.brownian(30, 4, 3).astype("float32")
    path = trajectories.record(tmp_path / "run", values, dead=[1])
    series = analyze(path, keep=False).series
    assert {name: variable.dims for name, variable in series.variables.items()} == {
        variable.name: variable.dimensions
        for measure in measures_of(outline_of(open_run(path), "embeddings"))
        for variable in measure.variables
    }
    for name, variable in series.variables.items():
        assert variable.attrs["units"] == VARIABLES[str(name)].unit
        assert variable.attrs["long_name"] == VARIABLES[str(name)].label


def test_every_threshold_is_there_with_its_default_and_its_reason() -> None:
    reasons = Thresholds.reasons()
    rows = [f"| `{name}` | {value:g} | {reasons[name]} |" for name, value in Thresholds().to_json().items()]
    assert [row for row in rows if row not in TEXT] == []
    section = TEXT.partition("### Thresholds\n")[2].partition("\n### ")[0]
    assert len(re.findall(r"^\| `\w+` \| [\d.]+ \|", section, re.MULTILINE)) == len(rows)


def test_the_tables_of_the_novel_are_those_of_the_recorded_numbers() -> None:
    docs = Path(__file__).parents[2] / "docs"
    made = runpy.run_path(str(docs.parent / "scripts/make_novel.py"))
    shown = TEXT.partition(made["BEGIN"])[2].partition(made["END"])[0].strip()
    assert shown == made["page"](json.loads((docs / "novel.json").read_text()))


def test_the_notebook_runs_and_was_made_by_its_script(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    made = tmp_path / "made.ipynb"
    subprocess.run(
        [sys.executable, "-W", "error", docs.parent / "scripts/make_notebook.py", made],
        cwd=tmp_path,
        check=True,
    )
    kept, again = (json.loads(path.read_text())["cells"] for path in (docs / "analysis.ipynb", made))
    assert [cell["source"] for cell in kept] == [cell["source"] for cell in again]
    # Numbers may differ from machine to machine, what kind of output there is may not.
    kinds = [
        [[o["output_type"] for o in cell.get("outputs", [])] for cell in cells] for cells in (kept, again)
    ]
    assert kinds[0] == kinds[1]
    assert sum(map(len, kinds[0])) == 5
