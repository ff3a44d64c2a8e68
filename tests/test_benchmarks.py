"""The pages of the benchmarks, and that each part runs."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import capture, growth, machine, pages  # noqa: E402
from benchmarks.__main__ import LONG, PARTS, main  # noqa: E402
from benchmarks.result import Ratio, Result, duration  # noqa: E402


def test_the_pages_are_those_of_the_json() -> None:
    """No number in them was typed by hand."""
    found = json.loads(pages.DATA.read_text())
    assert pages.page(found) == pages.PAGE.read_text()
    text = pages.README.read_text()
    assert pages.readme(text, found) == text
    assert pages.summary(found) in text


def test_they_can_be_made_again_from_the_condensed_json() -> None:
    found = json.loads(pages.DATA.read_text())
    assert pages.condensed(found) == found


def test_a_bar_that_is_not_reached_comes_with_the_reason_and_only_then() -> None:
    found = json.loads(pages.DATA.read_text())
    for reached in (False, True):
        for ratio in found["parts"]["reading"]["ratios"]:
            ratio["must_reached"] = reached
        assert ("costs the reader of everything a transposition" in pages.page(found)) is not reached


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "is not the JSON of a benchmark"),
        ('{"parts": {"growth": {}}}', "lacks capture: the pages need a whole run"),
    ],
)
def test_what_no_page_can_be_made_of_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    path = tmp_path / "found.json"
    # The first that is written.
    monkeypatch.setattr(pages, "DATA", tmp_path / "data.json")
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(sys, "argv", ["pages", str(path)])
    with pytest.raises(SystemExit, match=message):
        pages.main()
    assert not pages.DATA.exists()


@pytest.mark.parametrize("option", ["--json=absent/found.json", "--out=absent"])
def test_a_folder_that_is_not_there_is_noticed_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only=plan", option])
    with pytest.raises(SystemExit):
        main()
    assert "absent is no directory that can be written to" in capsys.readouterr().err


def test_parts_of_a_later_run_take_the_place_of_the_older_and_say_when_they_were_measured() -> None:
    whole = json.loads(pages.DATA.read_text())
    part = {**whole["parts"]["sources"], "about": "Anew."}
    machine_then = {**whole["machine"], "date": "2031-02-03", "load_at_start": 0.25}
    found = pages.merged(whole, {"machine": machine_then, "parts": {"sources": part}})
    assert list(found["parts"]) == list(whole["parts"])
    assert found["machine"] == whole["machine"]
    assert "Anew.\n\nMeasured by itself on 2031-02-03, with a load of 0.25 before." in pages.page(found)
    machine_then |= {"cores": 7, "processor": "Abacus"}
    found = pages.merged(whole, {"machine": machine_then, "parts": {"sources": part}})
    assert "on 2031-02-03, on 7 cores of Abacus, with a load of 0.25 before." in pages.page(found)
    assert whole["parts"]["sources"]["about"] != "Anew."


def test_the_json_is_of_a_whole_run() -> None:
    found = json.loads(pages.DATA.read_text())
    assert not found["quick"]
    assert [name for name in found["parts"] if name not in LONG] == list(PARTS)
    assert list(found["parts"]) == [name for name in pages.ORDER if name in found["parts"]]
    # What needs a device may be missing, an alternative may not.
    skipped = [what for part in found["parts"].values() for what in part["skipped"]]
    assert [what for what in skipped if "CUDA" not in what] == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.5, "1.50 s"), (0.0123, "12.3 ms"), (123e-6, "123 µs"), (7.4e-6, "7.40 µs")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("bound", "reached"), [("<= 2", True), ("<= 1.9", False), (">= 2", True), ("", None)]
)
def test_bounds(bound: str, reached: bool | None) -> None:
    assert Ratio("a over b", (1.0, 2.0, 9.0), bound).reaches(bound) is reached


@pytest.mark.slow
# From a thread of torch.distributed.checkpoint.
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_a_part_can_be_measured_and_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_TENTHS", 4)
    results: dict[str, Result] = {
        "capture": capture.measure(tmp_path, quick=True, rounds=1, steps=8),
        "growth": growth.measure(tmp_path, quick=True, steps=400),
    }
    described = machine.describe(tmp_path)
    parts = {name: result.to_json() for name, result in results.items()}
    found = pages.condensed(
        {"machine": described, "seconds": 1.0, "quick": True, "parts": json.loads(json.dumps(parts))}
    )
    assert "embevo, store both" in pages.page(found)
    pages.draw(found, tmp_path / "blocking.svg")
    assert "safetensors save_file" in (tmp_path / "blocking.svg").read_text()
    pages.draw_growth(found, tmp_path / "growth.svg")
    assert "newest row" in (tmp_path / "growth.svg").read_text()
