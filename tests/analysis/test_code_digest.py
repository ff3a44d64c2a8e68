"""What code made in a run is of no use to code that is other."""

import shutil
from pathlib import Path

import pytest

import embevo
from embevo.analysis import code_digest
from embevo.analysis.code_digest import measuring_digest

PACKAGE = Path(embevo.__file__).parent
MEASURING = code_digest._MEASURING


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the same files."""
    copied = tmp_path / "embevo"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__", "viewer"))
    return copied


def digest_of(package: Path) -> str:
    code_digest.code_digest.cache_clear()
    return code_digest.code_digest(*MEASURING, package=package)


@pytest.mark.parametrize(
    "name", ["measurement.py", "measures/growth_null.py", "measures/radius.py", "compiled/pairs.py"]
)
def test_any_change_of_what_measures_is_one(package: Path, name: str) -> None:
    assert digest_of(package) == measuring_digest()
    code = package / "analysis" / name
    code.write_text(code.read_text() + "\n")
    assert digest_of(package) != measuring_digest()


def test_what_measures_nothing_has_no_part_in_it(package: Path) -> None:
    (package / "analysis" / "report" / "page.py").write_text("other")
    (package / "recording" / "recorder.py").unlink()
    assert digest_of(package) == measuring_digest()


def test_without_source_the_version_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(tmp_path)
    monkeypatch.setattr(code_digest, "version", lambda _: "another")
    assert digest_of(tmp_path) != before
    code_digest.code_digest.cache_clear()


def test_an_upgrade_while_it_runs_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = measuring_digest()
    monkeypatch.setattr(code_digest, "_PACKAGE", tmp_path)
    monkeypatch.setattr(code_digest, "version", lambda _: "another")
    code_digest.code_digest.cache_clear()
    assert measuring_digest() == before
