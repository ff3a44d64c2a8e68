"""Which module of the tree imports which. Read from the syntax trees: nothing is imported to find out."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
# Folder of a package in the tree, to the name that it is imported by.
PACKAGES: Final = {"embevo": "embevo", "cli": "embevo_cli", "data": "embevo_data"}

Graph = dict[str, set[str]]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The file of every module of the packages; a package's own is its ``__init__.py``."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = [package, *path.relative_to(root / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(root: Path = ROOT, *, for_types: bool = True) -> Graph:
    """What every module imports, wherever in the file it does: modules of the tree, and names of others.

    Without ``for_types``, what is imported for a type checker only is left out. The face of the package,
    ``embevo/__init__.py``, hands out names of every room and is left out always.
    """
    files = modules(root)
    return {
        module: {_module_of(name, files) for name in _imported(module, path, for_types=for_types)}
        for module, path in files.items()
        if module != "embevo"
    }


def _imported(module: str, path: Path, *, for_types: bool) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not for_types:
        tree = _WithoutTypes().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            yield from (".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names)


class _WithoutTypes(ast.NodeTransformer):
    """Drops what stands below ``if TYPE_CHECKING``."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


def _module_of(name: str, files: dict[str, Path]) -> str:
    """The module of the tree that holds an imported name; for other packages, what was imported."""
    while name not in files and name.rpartition(".")[0] in files:
        name = name.rpartition(".")[0]
    return name
