"""What messages advise exists: every command, option and argument that a string of the code names."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from embevo_cli.main import COMMANDS, embevo

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("embevo", "cli") for path in (ROOT / folder).rglob("*.py"))
# What sentences say of embevo. A word that is neither here nor a command is a command that does not exist.
VERBS = frozenset(
    [
        "can",
        "did",
        "does",
        "draws",
        "had",
        "has",
        "keeps",
        "knows",
        "made",
        "makes",
        "measures",
        "needs",
        "neither",
        "puts",
        "raises",
        "reads",
        "records",
        "runs",
        "takes",
        "writes",
    ]
)
# What messages name and what is not embevo's: arguments of torch, its DataLoader and xarray, the class of an
# optimizer as a setting, options of wsl and TensorBoard.
FOREIGN_ARGUMENTS = {"set_to_none", "chunks", "class", "multiprocessing_context", "timeout_min", "cluster"}
FOREIGN_OPTIONS = {"--install", "--logdir", "--nthreads"}
STAND_IN = "VALUE"


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string of a module but its docstrings, with a stand-in where values are put in."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else STAND_IN for part in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in docstrings | inside:
            yield node.value if isinstance(node.value, str) else ""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def options_of(name: str) -> set[str]:
    command = embevo.get_command(click.Context(embevo), name)
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else [])]
    parameters = [parameter for found in commands if found is not None for parameter in found.params]
    return {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}


@cache
def arguments() -> set[str]:
    """The names of all parameters in the package, and of the settings and commands' options."""
    found = set(FOREIGN_ARGUMENTS)
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                found |= {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def problems(text: str) -> Iterator[str]:
    """What a string advises that does not exist."""
    named = re.findall(r"\bembevo ([a-z][a-z-]*)((?: (?!embevo )[^\s;,]+)*)", text)
    for command, rest in named:
        if command not in COMMANDS:
            if command not in VERBS:
                yield f"embevo {command}"
            continue
        for option in re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])", rest.split(". ")[0]):
            if option not in options_of(command):
                yield f"embevo {command} {option}"
    everywhere = set().union(*map(options_of, COMMANDS)) | {"--help", "--version"} | FOREIGN_OPTIONS
    for option in re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])", text):
        if option not in everywhere:
            yield option


def messages(tree: ast.AST) -> Iterator[str]:
    """Strings of the errors that a module makes, and of its warnings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called.endswith(("Error", "Warning", "warn")):
                yield from strings(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_message_names_exists(path: Path) -> None:
    tree = parsed(path)
    found = [problem for text in strings(tree) for problem in problems(text)]
    for text in messages(tree):
        named = re.findall(r"(?<![\w.{])([a-z_]+)=(?=[\w\"'({\[.]|$)", text)
        found += [f"{name}=" for name in named if name not in arguments()]
    assert found == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("run embevo repair RUN", "embevo repair"),
        ("now: embevo recover --force RUN", "embevo recover --force"),
        ("pass --nothing", "--nothing"),
        ("embevo verify RUN --deep says more", None),
        ("embevo records float32", None),
    ],
)
def test_advice_that_cannot_be_followed_is_found(text: str, problem: str | None) -> None:
    assert problem is None or problem in list(problems(text))
    assert problem is not None or list(problems(text)) == []
