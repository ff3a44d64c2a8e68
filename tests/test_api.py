"""What is public: what embevo exports is what docs/api.md describes, and importing it is cheap."""

import re
import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

import embevo
import make_api
from embevo import analysis, errors
from import_graph import modules

TEXT = (Path(__file__).parent.parent / "docs/api.md").read_text()


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def documented(section: str) -> set[str]:
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert text
    headings = re.findall(r"^### (\w+)$", text[1], re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \|", text[1], re.MULTILINE)
    return {*headings, *rows, *re.findall(r"^`(__version__)`", text[1], re.MULTILINE)} - {"Errors"}


@pytest.mark.parametrize("module", [embevo, analysis], ids=["embevo", "analysis"])
def test_what_is_exported_is_what_is_documented(module: object) -> None:
    assert documented(module.__name__) == set(module.__all__)


def test_the_page_is_what_its_script_writes() -> None:
    assert make_api.page() == TEXT, "run: python scripts/make_api.py"


def test_every_error_is_public() -> None:
    every = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert every <= set(embevo.__all__)
    assert all(getattr(embevo, name) is getattr(errors, name) for name in every)


def test_every_name_is_there() -> None:
    missing = [name for name in embevo.__all__ if not hasattr(embevo, name)]
    assert missing == []
    assert set(embevo.__all__) <= set(dir(embevo))
    with pytest.raises(AttributeError, match="has no attribute 'record_all'"):
        _ = embevo.record_all


def test_what_messages_and_docstrings_advise_is_public() -> None:
    rooms = {name.partition(".")[2].partition(".")[0] for name in modules()}
    advised = {
        name: path.name
        for path in [*modules().values(), *(Path(make_api.PAGE).parent).glob("*.md")]
        for name in re.findall(r"\bembevo\.([a-zA-Z]\w+)\b(?!\.)", path.read_text())
    }
    public = rooms | set(embevo.__all__)
    assert {name: path for name, path in advised.items() if name not in public} == {}


def test_importing_it_loads_nothing_that_is_heavy() -> None:
    heavy = "{'torch', 'transformers', 'zarr', 'numpy'} & set(sys.modules)"
    assert python(f"import sys, embevo; print({heavy})") == "set()"
    # What only reads needs no torch.
    assert (
        python("import sys; from embevo import open_run, recover, verify; print('torch' in sys.modules)")
        == "False"
    )


WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize(
    ("library", "names"),
    [
        ("transformers", ["RecordEmbeddings"]),
        ("torch", ["RecordEmbeddings", "Recorder", "capture_every_step", "gradient", "record"]),
    ],
)
def test_without_a_library_all_can_be_imported_and_what_needs_it_says_so(
    library: str, names: list[str]
) -> None:
    printed = python(
        WITHOUT.format(library=library)
        + f"""
from embevo import *
for made in ({", ".join(names)},):
    try:
        made("runs/mine")
    except MissingLibraryError as error:
        print(error)
"""
    )
    assert printed.splitlines() == [f"{name} needs {library}: pip install {library}" for name in names]


def test_what_is_missing_otherwise_is_said_at_once() -> None:
    """Only what a part of embevo needs can be done without."""
    printed = python(
        WITHOUT.format(library="google_crc32c")
        + """
try:
    from embevo import open_run
except ModuleNotFoundError as error:
    print(error)
"""
    )
    assert printed == "No module named 'google_crc32c'"


@pytest.mark.parametrize("name", ["run", "recording", "analysis", "experiment"])
def test_rooms_say_that_they_are_free_to_change(name: str) -> None:
    assert "free to change with any version" in str(import_module(f"embevo.{name}").__doc__)


def test_every_option_of_the_recorder_is_on_its_page_with_its_default() -> None:
    page = (Path(__file__).parent.parent / "docs/recording.md").read_text()
    table = page.partition("## Your own loop")[2].partition("\n\n`stats`")[0]
    said = {}
    for names, defaults in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE):
        found = [name.strip("`") for name in names.split(", ")]
        values = [value.strip("`") for value in defaults.split(", ")]
        said |= dict(zip(found, values if len(values) == len(found) else values * len(found), strict=True))
    options = [
        each for each in signature(embevo.Recorder).parameters.values() if each.kind == each.KEYWORD_ONLY
    ]
    assert said.keys() == {option.name for option in options}
    for option in options:
        # None is said in words.
        default = said[option.name].replace('"', "'")
        assert option.default is None or default == repr(option.default), option.name
