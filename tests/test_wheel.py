"""The wheel as users get it: everything is in it, and it works where there is no source tree."""

import os
import subprocess
import sys
import sysconfig
from email import message_from_string
from importlib.metadata import metadata
from pathlib import Path
from shutil import copytree, ignore_patterns
from zipfile import ZipFile

import pytest

from import_graph import PACKAGES, ROOT

pytestmark = pytest.mark.slow

# Nothing of the machine's decides what is imported.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, without what earlier builds may have left in the tree."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in PACKAGES:
        copytree(ROOT / folder, source / folder, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", built, source, cwd=built)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a new environment that has the wheel, and shares what it needs with the running one."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=home,
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    # The .pth files that lie there are not followed: an editable installation of the tree is one.
    (site / "shared.pth").write_text(
        "".join(f"{sysconfig.get_path(name)}\n" for name in ("purelib", "platlib"))
    )
    return home / "bin"


def test_every_file_of_the_packages_is_in_it_and_nothing_else(wheel: Path) -> None:
    there = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == expected
    assert {
        "embevo/py.typed",
        "embevo/analysis/report/report.html",
        "embevo/viewer/static/index.html",
        "embevo_data/python-reference.txt",
    } < there


def test_it_says_which_pythons_it_is_for(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        described = message_from_string(archive.read(name).decode())
    assert described["Requires-Python"] == ">=3.11"
    assert described["Version"] == metadata("embevo")["Version"]
    named = [
        line.rpartition(".")[2] for line in described.get_all("Classifier", []) if "Python :: 3." in line
    ]
    # One after the other, from the first that is allowed; the one that runs this is among them.
    assert named == [str(minor) for minor in range(11, 11 + len(named))]
    assert str(sys.version_info.minor) in named


def test_it_works_without_the_source_tree(installed: Path, tmp_path: Path) -> None:
    found = run(
        installed / "python",
        "-c",
        "import embevo, embevo_cli, embevo_data as d;print(embevo.__file__, embevo_cli.__file__, d.__file__)",
        cwd=tmp_path,
    ).split()
    assert [Path(path).is_relative_to(installed.parent) for path in found] == [True] * 3
    train = (installed / "embevo", "train", "--steps", "20", "--zarr-dtype", "native", "--out", "run")
    assert "20" in run(*train, cwd=tmp_path)
    assert "bfloat16" in run(installed / "embevo", "info", "run", cwd=tmp_path)
    read = (
        "import sys, zarr; array = zarr.open('run/trajectory.zarr', mode='r')['embeddings'];"
        "print(array.shape, array[:].dtype, 'torch' in sys.modules)"
    )
    assert run(installed / "python", "-c", read, cwd=tmp_path) == "(21, 128, 64) bfloat16 False\n"
