"""The page without its server: as a folder of files, or as a single page that holds everything."""

import base64
import hashlib
import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

from embevo.errors import ArgumentError
from embevo.run.disk.atomic import write_file
from embevo.viewer.page_files import module_names, static_names, text_of
from embevo.viewer.site import VERSION, Site

# The views that are kept; the server makes any other on demand.
VIEWS: Final = ("final-0-1-2", "all-0-1-2", "sky-origin-0-1-2", "sky-centroid-0-1-2")
# Up to so many tokens, the way of each is kept too.
_MOST_WAYS: Final = 512
_IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+)\.js";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|class|const|let) (\w+))", re.MULTILINE)
_NAMED: Final = re.compile(r"^export (?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)


def export(site: Site, folder: Path, on_file: Callable[[int, int], None] | None = None) -> int:
    """Write the page and its data for any web server; returns how many bytes that are.

    What is left half done by an error is removed again.

    Args:
        site: of the runs.
        folder: that is made; it must not be there, or be empty.
        on_file: called after each file with how many are written, and how many there will be.

    Raises:
        ArgumentError: the folder is there and not empty.
        DamagedError: stored bytes are not what was written.
        OSError: a file cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError(f"{folder} is there already: name a folder that is to be made")
    addresses = [*static_names(), *data_addresses(site, VIEWS, ways=True)]
    total = 0
    with ExitStack() as unfinished:
        unfinished.callback(_remove, folder, whole=not folder.exists())
        for done, address in enumerate(addresses, 1):
            data = kept(site, address, VIEWS, ways=True)
            path = folder / address
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data, sync=False)
            total += len(data)
            if on_file:
                on_file(done, len(addresses))
        unfinished.pop_all()
    return total


def _remove(folder: Path, *, whole: bool) -> None:
    """Remove what is in a folder, and with ``whole`` also itself, as far as that can be done."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if whole:
        shutil.rmtree(folder, ignore_errors=True)


def single_page(site: Site, views: tuple[str, ...] = VIEWS[:1]) -> str:
    """The page and its data as one HTML text, which loads nothing and opens from the disk."""
    held = "".join(
        f'<script type="application/octet-stream" data-address="{html.escape(address)}">'
        f"{base64.b64encode(kept(site, address, views, ways=False)).decode()}</script>\n"
        for address in data_addresses(site, views, ways=False)
    )
    return _one_text("", held)


def notebook_page() -> str:
    """The page as one HTML text, which asks the notebook that has it in a frame for its data."""
    return _one_text('<meta name="embevo-source" content="notebook">\n', "")


def _one_text(head: str, held: str) -> str:
    """The page with its modules and its style in it, with more in its head and before its script."""
    script = bundle()
    style = text_of("style.css")
    page = text_of("index.html")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src blob: data:; base-uri 'none'; form-action 'none'"
    )
    replaced = {
        '<meta charset="utf-8">': '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n{head}',
        '<link rel="icon" href="icon.svg" type="image/svg+xml">\n': "",
        '<link rel="stylesheet" href="style.css">': f"<style>{style}</style>",
        '<script type="module" src="main.js"></script>\n': "",
        "</body>": f'{held}<script type="module">{script}</script>\n</body>',
    }
    for old, new in replaced.items():
        if page.count(old) != 1:
            raise AssertionError(f"index.html has {old} {page.count(old)} times")
        page = page.replace(old, new)
    return page


def data_addresses(site: Site, views: tuple[str, ...], *, ways: bool) -> Iterator[str]:
    """The addresses of all that is kept; with ``ways``, also of single tokens and of further charts."""
    yield "data/index.json"
    for number, subject in enumerate(site.subjects):
        run = f"data/{number}"
        rows, tokens, _ = subject.opened.shape
        yield f"{run}/run.json"
        yield f"{run}/charts.json"
        if ways:
            offered = subject.charts.measured()["offered"]
            yield from (f"{run}/charts/{chart['name']}.json" for chart in offered)
        pieces = range(-(-rows // subject.clouds.piece_rows))
        # Vectors of another length have no place along the components of the first run.
        alike = number and subject.opened.shape[2] == site.subjects[0].opened.shape[2]
        shared = [f"of-0-{view}" for view in views] if alike else []
        for view in (*views, *shared):
            yield f"{run}/view/{view}/view.json"
            yield from (f"{run}/view/{view}/piece-{piece}.bin" for piece in pieces)
        yield from (f"{run}/holes/piece-{piece}.bin" for piece in pieces)
        if ways and tokens <= _MOST_WAYS:
            for token in range(tokens):
                yield f"{run}/token/{token}/way.json"
                yield f"{run}/token/{token}/neighbours.json"


def kept(site: Site, address: str, views: tuple[str, ...], *, ways: bool) -> bytes:
    """The bytes of a file of the page that has no server; see :func:`data_addresses`."""
    if address == "data/index.json":
        index = json.loads(site.get(address).data)
        return json.dumps({**index, "version": VERSION, "served": False, "views": views}).encode()
    if address.endswith("/charts.json"):
        charts = site.subjects[int(address.split("/")[1])].charts.measured()
        if not ways:
            charts = {**charts, "offered": []}
        return json.dumps(charts, allow_nan=False, separators=(",", ":")).encode()
    return site.get(address).data


def bundle() -> str:
    """All modules of the page as one text: each in a function of its own, in the order of their imports."""
    sources = {name.removesuffix(".js"): text_of(name) for name in module_names()}
    order = TopologicalSorter(
        {name: {module for _, module in _IMPORT.findall(source)} for name, source in sources.items()}
    )
    parts = []
    for name in order.static_order():
        source = _IMPORT.sub(
            lambda found: f"const {{ {found[1].strip()} }} = module_{found[2].replace('-', '_')};",
            sources[name],
        )
        exported = ", ".join(_NAMED.findall(source))
        body = _EXPORT.sub("", source)
        parts.append(
            f"const module_{name.replace('-', '_')} = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();"
        )
    return "\n".join(parts)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
