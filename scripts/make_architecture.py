"""Writes docs/rooms.svg and the lists of docs/architecture.md, from what the modules import and say.

python scripts/make_architecture.py
"""

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Final

from import_graph import ROOT, Graph, import_graph, modules

PAGE: Final = ROOT / "docs/architecture.md"
DRAWING: Final = ROOT / "docs/rooms.svg"
_PLACE: Final = re.compile(r"(<!-- made: ([\w ]+) -->\n).*?(<!-- made: end -->)", re.DOTALL)
# The modules that a step, or a run that was killed, passes through, in order.
WAYS: Final = {
    "recording": (
        "embevo.recording.recorder",
        "embevo.recording.sources",
        "embevo.recording.staging",
        "embevo.run.journal.ring",
        "embevo.recording.writer",
        "embevo.run.writing.sealing",
        "embevo.run.writing.local_sink",
        "embevo.run.format.layout",
        "embevo.run.manifest.manifest",
        "embevo.run.disk.atomic",
    ),
    "reading": (
        "embevo.run.reading.reader",
        "embevo.run.reading.step_array",
        "embevo.run.reading.sealed",
        "embevo.run.reading.chunk_reader",
        "embevo.run.reading.chunk_files",
        "embevo.run.format.decoding",
        "embevo.run.journal.ring",
    ),
    "recovering": (
        "embevo.run.repair.recovery",
        "embevo.run.writing.replacing",
        "embevo.run.repair.manifest_repair",
        "embevo.run.repair.journal_repair",
        "embevo.run.repair.rebuilding",
        "embevo.run.repair.tail",
        "embevo.run.repair.strangers",
    ),
}
_INSIDE: Final = "embevo.run"
_WIDTH, _HEIGHT, _GAP, _MARGIN = 720, 30, 26, 16
_SEEN: Final = {"embevo_cli": "cli", "embevo_data": "data"}

Box = tuple[float, float, float, float]


def room_of(module: str) -> str:
    """``embevo/run`` is shown room by room, the rest of the tree folder by folder."""
    names = 3 if module.startswith(f"{_INSIDE}.") else 2 if module.startswith("embevo.") else 1
    return ".".join(module.split(".")[:names])


def rooms(graph: Graph) -> Graph:
    """Which room imports from which; a room's own are left out."""
    found: Graph = {}
    for module, imported in graph.items():
        if module != _INSIDE:
            others = {room_of(other) for other in imported if other in graph}
            found.setdefault(room_of(module), set()).update(others - {room_of(module)})
    return found


def floors(graph: Graph) -> dict[str, int]:
    """Of each room: 0 if it imports from none, else one more than the highest that it imports from."""
    found: dict[str, int] = {}
    while len(found) < len(graph):
        ready = [room for room, below in graph.items() if room not in found and below <= found.keys()]
        if not ready:
            raise ValueError(f"these rooms import from each other: {sorted(graph.keys() - found.keys())}")
        found |= {room: 1 + max((found[other] for other in graph[room]), default=-1) for room in ready}
    return found


def without_detours(graph: Graph) -> Graph:
    """Only the imports from a room that cannot be reached through another one."""
    reached: Graph = {}
    for room in sorted(graph, key=floors(graph).__getitem__):
        reached[room] = graph[room].union(*(reached[other] for other in graph[room]))
    return {
        room: {other for other in below if not any(other in reached[between] for between in below)}
        for room, below in graph.items()
    }


def table(graph: Graph) -> str:
    """A row for each room, the highest first: what is in it, and the rooms that it imports from."""
    shown = rooms(graph)
    height = floors(shown)
    lines = ["| room | what is in it | imports from |", "| --- | --- | --- |"]
    for room in sorted(shown, key=lambda room: (-height[room], room)):
        below = sorted(shown[room] - {"embevo.errors"}, key=lambda other: (-height[other], other))
        lines.append(f"| `{_path(room)}` | {_what(room)} | {', '.join(map(_name, below)) or '-'} |")
    return "\n".join(lines) + "\n"


def way(name: str) -> str:
    """The modules of a way, numbered, with what each says of itself."""
    lines = [
        f"{place}. [{_path(module)}](../{_path(module)}): {_what(module)}"
        for place, module in enumerate(WAYS[name], 1)
    ]
    return "\n".join(lines) + "\n"


def _path(module: str) -> str:
    path = modules()[module]
    return (path.parent if path.name == "__init__.py" else path).relative_to(ROOT).as_posix()


def _what(module: str) -> str:
    text = ast.get_docstring(ast.parse(modules()[module].read_text())) or ""
    return text.partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def _name(room: str) -> str:
    return _SEEN.get(room, room.rpartition(".")[2])


def drawing(graph: Graph) -> str:
    """The rooms as SVG, each above those that it imports from; an arrow for an import that is no detour."""
    shown = rooms(graph)
    inside = {room: below for room, below in shown.items() if room.startswith(f"{_INSIDE}.")}
    inside = {room: below & inside.keys() for room, below in inside.items()}
    outside: Graph = {_INSIDE: {"embevo.errors"}}
    for room in shown.keys() - inside.keys():
        outside[room] = {_INSIDE if other in inside else other for other in shown[room]}
    boxes: dict[str, Box] = {}
    top = float(_MARGIN)
    for rank in _ranks(outside):
        tall = _HEIGHT
        for place, room in enumerate(rank):
            wide = (_WIDTH - 2 * _MARGIN - (len(rank) - 1) * _GAP) / len(rank)
            if room == _INSIDE:
                tall = _HEIGHT * (1 + len(_ranks(inside))) + _GAP * (len(_ranks(inside)) - 1) + _MARGIN
            boxes[room] = (_MARGIN + place * (wide + _GAP), top, wide, tall)
        top += tall + _GAP
    below = boxes[_INSIDE][1] + _HEIGHT
    for rank in _ranks(inside):
        wide = (boxes[_INSIDE][2] - 2 * _MARGIN - (len(rank) - 1) * _GAP) / len(rank)
        for place, room in enumerate(rank):
            boxes[room] = (boxes[_INSIDE][0] + _MARGIN + place * (wide + _GAP), below, wide, _HEIGHT)
        below += _HEIGHT + _GAP
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top - _GAP + _MARGIN:.0f}" '
            'font-family="sans-serif" font-size="13">'
        ),
        (
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>'
        ),
        '<rect width="100%" height="100%" fill="white"/>',
        *_arrows(without_detours(outside), boxes),
        *_arrows(without_detours(inside), boxes),
        *(_box(room, box, filled=room != _INSIDE) for room, box in boxes.items()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _ranks(graph: Graph) -> list[list[str]]:
    """The rooms of each floor, the highest floor first."""
    height = floors(graph)
    return [
        sorted(room for room in graph if height[room] == floor)
        for floor in range(max(height.values()), -1, -1)
    ]


def _box(room: str, box: Box, *, filled: bool) -> str:
    left, top, wide, tall = box
    fill = "#eef3f8" if filled else "none"
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{wide:.0f}" height="{tall:.0f}" rx="4" fill="{fill}" '
        f'stroke="#456"/><text x="{left + wide / 2:.0f}" y="{top + 20:.0f}" text-anchor="middle">'
        f"{_name(room)}</text>"
    )


def _arrows(graph: Graph, boxes: Mapping[str, Box]) -> Iterable[str]:
    for room in sorted(graph):
        for other in sorted(graph[room]):
            left, top, wide, tall = boxes[room]
            other_left, other_top, other_wide, _ = boxes[other]
            # Straight down where one lies above the other, else as little to the side as can be.
            start = min(max(other_left + other_wide / 2, left + 12), left + wide - 12)
            end = min(max(start, other_left + 12), other_left + other_wide - 12)
            yield (
                f'<line x1="{start:.0f}" y1="{top + tall:.0f}" x2="{end:.0f}" y2="{other_top:.0f}" '
                'stroke="#666" marker-end="url(#tip)"/>'
            )


def page(text: str, graph: Graph) -> str:
    """The page with what is made between its marks."""
    made = {"rooms": table(graph)} | {name: way(name) for name in WAYS}
    return _PLACE.sub(lambda found: found[1] + made[found[2]] + found[3], text)


def main() -> None:
    """Write both."""
    graph = import_graph()
    DRAWING.write_text(drawing(graph))
    PAGE.write_text(page(PAGE.read_text(), graph))


if __name__ == "__main__":
    main()
