"""Writes docs/api.md, from the names that the packages export and the docstrings that those have.

python scripts/make_api.py
"""

import ast
import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import embevo
import embevo.analysis
from embevo.analysis.differing.difference import ArrayDifference, Difference, FirstDifference
from embevo.recording.record import Recording
from embevo.run.repair.report import Recovery
from embevo.run.repair.verified import Problem, Verification

PAGE: Final = Path(__file__).parents[1] / "docs/api.md"
PUBLIC: Final = (embevo, embevo.analysis)
# What functions give back, and nobody makes.
_GIVEN: Final = (Recording, Recovery, Verification, Problem, Difference, ArrayDifference, FirstDifference)

_HEAD: Final = """# What is public

<!-- Written by scripts/make_api.py from the docstrings. -->

`from embevo import ...` gives the names of this page, and those of `embevo.analysis` stand at its end. What
they take and promise changes with a minor version before 1.0, and with a major one after it, and
[CHANGELOG.md](../CHANGELOG.md) says how. The same holds for the command line. [The files of a run](format.md)
have formats of their own, and every one that there was is read for ever. Every other module, class and
function is free to change with any version.

The docstrings say more: `help(embevo.Recorder)`. Importing `embevo` loads neither torch nor zarr. A name that
needs a library that is not installed can be imported, and raises `MissingLibraryError` when it is used.
"""


def sentence(of: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return _plain((inspect.getdoc(of) or "").partition("\n\n")[0].replace("\n", " "))


def _plain(text: str) -> str:
    """Markdown of what docstrings mark as code or as a reference."""
    return re.sub(r":\w+:`", "`", text).replace("``", "`")


def signature(name: str, of: Any) -> str:
    """As it stands in the source, on one line, without ``self``."""
    if dataclasses.is_dataclass(of):
        given = (
            field.name if field.default is dataclasses.MISSING else f"{field.name}={field.default!r}"
            for field in dataclasses.fields(of)
        )
        return f"{name}({', '.join(given)})"
    function = inspect.unwrap(of.__init__ if inspect.isclass(of) else of)
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    if not isinstance(node, ast.FunctionDef):
        raise TypeError(f"{name} is not made by a def")
    if node.args.args and node.args.args[0].arg in {"self", "cls"}:
        del node.args.args[0]
    result = "" if inspect.isclass(of) or node.returns is None else f" -> {ast.unparse(node.returns)}"
    return f"{name}({ast.unparse(node.args)}){result}".replace("'", '"')


def _fitted(line: str) -> str:
    """A signature on as many lines as it needs."""
    return textwrap.fill(line, 100, subsequent_indent="    ", break_long_words=False)


def members(of: type) -> list[str]:
    """A line for each method, property and attribute that a class describes itself."""
    lines = []
    for name, value in vars(of).items():
        # What begins with on_ is for a framework to call.
        if name.startswith(("_", "on_")) and name != "__getitem__":
            continue
        if isinstance(value, property):
            lines.append(f"- `{name}`: {sentence(value)}")
        elif inspect.isroutine(getattr(of, name)) and value.__doc__:
            lines.append(f"- `{signature(name, getattr(of, name))}`: {sentence(value)}")
    return attributes(of) + lines


def attributes(of: object) -> list[str]:
    """Those that the docstring lists."""
    text = inspect.getdoc(of) or ""
    block = textwrap.dedent(text.partition("Attributes:\n")[2].partition("\n\n")[0])
    lines: list[str] = []
    for line in block.splitlines():
        if line.startswith(" "):
            lines[-1] += f" {line.strip()}"
        else:
            name, _, what = line.partition(": ")
            lines.append(f"- `{name}`: {what}")
    return [_plain(line) for line in lines]


def entry(name: str, of: Any) -> list[str]:
    """A heading, the signature, the sentence, and the members of a class."""
    text = [f"### {name}", "", "```text", _fitted(signature(name, of)), "```", "", sentence(of)]
    listed = members(of) if inspect.isclass(of) else []
    return [*text, "", *listed, ""] if listed else [*text, ""]


def section(module: ModuleType) -> list[str]:
    """Every name that a module exports: what is no error one by one, the errors as a table."""
    names = [name for name in module.__all__ if name != "__version__"]
    values = {name: getattr(module, name) for name in names}
    errors = {name: of for name, of in values.items() if inspect.isclass(of) and issubclass(of, Exception)}
    lines = [f"## {module.__name__}", ""]
    if "__version__" in module.__all__:
        lines += ["`__version__` is the version, a string.", ""]
    for name, of in values.items():
        if name not in errors:
            lines += entry(name, of)
    if module is embevo:
        for of in _GIVEN:
            lines += [f"### {of.__name__} (given, never made)", "", sentence(of), "", *members(of), ""]
    if errors:
        lines += ["### Errors", "", "| error | is a | when |", "| --- | --- | --- |"]
        for name, of in errors.items():
            bases = ", ".join(f"`{base.__name__}`" for base in of.__bases__)
            lines.append(f"| `{name}` | {bases} | {sentence(of)} |")
        lines.append("")
    return lines


def page() -> str:
    """The whole page."""
    lines = [line for module in PUBLIC for line in section(module)]
    return f"{_HEAD}\n" + "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
