"""embevo report, embevo figures and embevo animate: what they write, and what they refuse to."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embevo.analysis.figures import saving
from embevo.analysis.figures.catalogue import FIGURES, NAMES
from embevo.analysis.report import page as module
from support import drawn

WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if sys.modules.get(name, 0) is None else find(name, *rest)
from embevo_cli.main import embevo
embevo(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.record_singular(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(autouse=True)
def two_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are enough to see what the commands do with them."""
    monkeypatch.setattr(module, "FIGURES", FIGURES[:2])
    monkeypatch.setattr(saving, "FIGURES", FIGURES[:2])


def test_report_writes_one_page(invoke: Any, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    for thresholds in ((), ("--threshold", "tight=0.5")):
        result = invoke("report", run, "-o", out, *thresholds)
        assert result.exit_code == 0, result.output
        assert result.output.startswith(f"Wrote {out} (")
    page = out.read_text(encoding="utf-8")
    assert "0.5 (changed from 0.1)" in page
    assert "-o page.html" in page
    assert list(tmp_path.iterdir()) == [out]


def test_figures_writes_them_where_it_is_told(invoke: Any, run: Path, tmp_path: Path) -> None:
    result = invoke("figures", run, "--format", "svg", "--out", tmp_path / "here")
    assert result.exit_code == 0, result.output
    names = sorted(f"{figure.name}.svg" for figure in FIGURES[:2])
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == names
    assert sorted(Path(line).name for line in result.output.splitlines()) == names
    # Its own figures are replaced without asking.
    assert invoke("figures", run, "--format", "svg", "--out", tmp_path / "here").exit_code == 0
    only = invoke("figures", run, "--only", NAMES[0])
    assert only.output.splitlines() == [str(run / "figures" / f"{NAMES[0]}.png")]
    wrong = invoke("figures", run, "--only", "lost")
    assert wrong.exit_code == 2
    assert "no figure is called 'lost'; there are loss, cloud," in " ".join(wrong.output.split())


def test_animate_writes_a_film(invoke: Any, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gif"
    for _ in range(2):
        result = invoke("animate", run, "-o", out, "--frames", 2)
        assert result.exit_code == 0, result.output
        assert result.output.startswith(f"Wrote {out}: 2 steps (")
    wrong = invoke("animate", run, "-o", tmp_path / "out.avi")
    assert wrong.exit_code == 2
    assert "is an .mp4 or a .gif, not .avi" in wrong.output


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [("report", "-o", "a.html"), ("figures", "--out", "folder"), ("animate", "-o", "a.gif")],
)
def test_what_cannot_be_written_is_refused_before_anything_is_measured(
    invoke: Any,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    option: str,
    name: str,
) -> None:
    monkeypatch.setattr("embevo.analysis.analyze", lambda *_, **__: pytest.fail("measured"))
    lost = invoke(command, run, option, tmp_path / "nowhere" / name)
    assert lost.exit_code == 2
    assert f"there is no directory {tmp_path / 'nowhere'}; make it first" in " ".join(lost.output.split())
    # Tests may be run by root, who may write everywhere.
    monkeypatch.setattr("embevo.analysis.destination.os.access", lambda _, mode: mode != os.W_OK | os.X_OK)
    locked = invoke(command, run, option, tmp_path / name)
    assert locked.exit_code == 2
    assert "no permission to write into" in " ".join(locked.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [("report", "-o", "a.html"), ("figures", "--out", "loss.png"), ("animate", "-o", "a.gif")],
)
def test_what_embevo_did_not_make_is_not_replaced(
    invoke: Any, run: Path, tmp_path: Path, command: str, option: str, name: str
) -> None:
    theirs = tmp_path / name
    theirs.write_bytes(b"mine")
    out = tmp_path if command == "figures" else theirs
    refused = invoke(command, run, option, out)
    assert refused.exit_code == 2
    assert "embevo did not make it" in " ".join(refused.output.split())
    assert theirs.read_bytes() == b"mine"
    few = ("--frames", 2) if command == "animate" else ()
    assert invoke(command, run, option, out, "--overwrite", *few).exit_code == 0
    assert theirs.read_bytes() != b"mine"


@pytest.mark.parametrize("command", ["report", "animate"])
def test_a_directory_is_not_a_file(invoke: Any, run: Path, tmp_path: Path, command: str) -> None:
    folder = tmp_path / "a.gif"
    folder.mkdir()
    result = invoke(command, run, "-o", folder)
    assert result.exit_code == 2
    assert "is a directory" in result.output


@pytest.mark.parametrize(("command", "out"), [("report", "a.html"), ("figures", "folder")])
def test_an_interrupt_leaves_no_half_file(
    invoke: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, out: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(module if command == "report" else saving, "render", interrupted)
    result = invoke(command, run, "--out", tmp_path / out)
    assert result.exit_code == 130
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("library", ["matplotlib", "xarray"])
@pytest.mark.parametrize("command", ["report", "figures", "animate"])
def test_a_missing_library_is_named(run: Path, tmp_path: Path, command: str, library: str) -> None:
    out = tmp_path / "a.gif"
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, library, command, run, "--out", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert library in result.stderr
    assert "pip install 'embevo[analysis]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_a_number_is_shown_beside_what_chance_makes_of_it(invoke: Any, run: Path, tmp_path: Path) -> None:
    measure = "groups.all.radius_rms_last"
    printed = invoke("null", run, "--measure", measure, "--count", 20, "--json")
    assert printed.exit_code == 0, printed.output
    null = tmp_path / "null.json"
    null.write_text(printed.stdout)
    out = tmp_path / "page.html"
    result = invoke("report", run, "-o", out, "--no-replay", "--null", null)
    assert result.exit_code == 0, result.output
    page, found = out.read_text(encoding="utf-8"), json.loads(printed.stdout)
    assert 'id="chance"' in page
    for part in (measure, f"{found['below']} of 20", f"{found['value']:.4g}", f"--null {null}"):
        assert part in page, part
    assert 'id="chance"' not in plain(invoke, run, tmp_path)
    # A distribution that was made beside another run is not shown beside this one.
    null.write_text(json.dumps(found | {"value": math.nextafter(found["value"], math.inf)}))
    refused = invoke("report", run, "-o", out, "--overwrite", "--null", null)
    assert refused.exit_code == 2
    assert f"embevo null RUN --measure {measure}" in refused.output
    assert out.read_text(encoding="utf-8") == page


def plain(invoke: Any, run: Path, tmp_path: Path) -> str:
    out = tmp_path / "plain.html"
    assert invoke("report", run, "-o", out, "--no-replay").exit_code == 0
    return out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"measure": "a", "kind": "b", "seed": 0, "value": 1, "below": 0, "values": []}',
        '{"measure": "a", "kind": "b", "seed": 0, "value": 1, "below": 3, "values": [0, 2]}',
        '{"measure": "a", "kind": "b", "seed": 0, "value": "x", "below": 0, "values": [1]}',
    ],
)
def test_what_is_no_null_distribution_is_refused(invoke: Any, run: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "null.json").write_text(text)
    result = invoke("report", run, "-o", tmp_path / "page.html", "--null", tmp_path / "null.json")
    assert result.exit_code == 2
    assert "null.json" in result.output
    assert not (tmp_path / "page.html").exists()
