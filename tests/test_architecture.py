"""The order of imports: which room may know of which, floor by floor, read from the syntax trees."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from import_graph import Graph, import_graph

# What a room may import besides itself.
ROOMS = {
    "embevo.errors": set[str](),
    "embevo.run": {"embevo.errors"},
    "embevo.recording": {"embevo.errors", "embevo.run"},
    "embevo.analysis": {"embevo.errors", "embevo.run"},
    "embevo.viewer": {"embevo.errors", "embevo.run", "embevo.analysis"},
    "embevo.experiment": {"embevo.errors", "embevo.run", "embevo.recording", "embevo_data"},
    "embevo_cli": {
        "embevo.errors",
        "embevo.run",
        "embevo.recording",
        "embevo.analysis",
        "embevo.viewer",
        "embevo.experiment",
        "embevo_data",
    },
    "embevo_data": set[str](),
}
# Inside embevo/run, from the ground up: each floor may import from those below it, and from its own room.
FLOORS = (
    ("paths", "limits"),
    ("core_load",),
    ("disk",),
    ("format", "checkpoint_files"),
    ("journal", "rates"),
    ("manifest", "planning", "cloud"),
    ("reading", "fits"),
    ("writing",),
    ("repair", "exchange"),
    ("mirroring",),
)
FLOOR_OF = {f"embevo.run.{room}": floor for floor, names in enumerate(FLOORS) for room in names}
WITHOUT_TORCH = ("embevo.run", "embevo.analysis", "embevo.viewer")
OF_TORCH = {"torch", "transformers", "accelerate"}
# Imports torch where a tensor is asked for, and nowhere else.
MAKES_TENSORS = "embevo.run.reading.tensors"
# Computes with torch's own optimizers, where a run is audited, and is imported only then.
COMPUTES_STEPS = "embevo.analysis.auditing"
NEEDS_TORCH = re.compile(
    r"^(?:import|from) (?:torch|transformers|embevo\.recording)\b|^from embevo import .*\bRecorder\b"
    r"|^from support(?:\.(?:captures|slow_transport)| import .*\btensors)\b",
    re.MULTILINE,
)
OUTSIDE = {"tests", "support", "benchmarks", "scripts"}


def part_of(module: str, names: int) -> str:
    return ".".join(module.split(".")[:names])


def room_of(module: str) -> str:
    return part_of(module, 2 if module.startswith("embevo.") else 1)


def wrong(graph: Graph) -> Iterator[str]:
    """Every import that runs against the order, as ``a imports b``."""
    for module, imported in graph.items():
        for other in imported:
            if not _may(module, other):
                yield f"{module} imports {other}"


def _may(module: str, other: str) -> bool:
    room, others_room = room_of(module), room_of(other)
    if part_of(other, 1) in OUTSIDE:
        return False
    if part_of(other, 1) in OF_TORCH:
        allowed = (module, other) == (MAKES_TENSORS, "torch") or part_of(module, 3) == COMPUTES_STEPS
        return room not in WITHOUT_TORCH or allowed
    if other == "embevo":
        # The face imports from every room; a room that imported it would import them all.
        return False
    if others_room in ROOMS and others_room != room:
        return others_room in ROOMS[room]
    if room == others_room == "embevo.run":
        mine, its = part_of(module, 3), part_of(other, 3)
        return mine == its or FLOOR_OF[its] < FLOOR_OF[mine]
    if room == others_room == "embevo.recording":
        adapters = "embevo.recording.adapters"
        return part_of(module, 3) == adapters or part_of(other, 3) != adapters
    return True


GRAPH = import_graph()


def test_every_import_keeps_the_order() -> None:
    assert sorted(wrong(GRAPH)) == []


def test_every_module_has_its_place() -> None:
    assert {room_of(module) for module in GRAPH} == set(ROOMS)
    in_run = {part_of(module, 3) for module in GRAPH if module.startswith("embevo.run.")}
    assert in_run == set(FLOOR_OF)


def test_no_modules_import_each_other() -> None:
    try:
        list(TopologicalSorter(import_graph(for_types=False)).static_order())
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("embevo.run.disk.atomic", "embevo.run.format.steps"),
        ("embevo.run.journal.ring", "embevo.run.manifest.manifest"),
        ("embevo.run.reading.reader", "embevo.run.writing.sealing"),
        ("embevo.run.repair.recovery", "embevo.run.exchange.importing"),
        ("embevo.run.exchange.importing", "embevo.run.repair.recovery"),
        ("embevo.run.paths", "embevo.run.disk.atomic"),
        ("embevo.run.reading.reader", "torch.nn"),
        ("embevo.run.reading.reader", "embevo.recording.recorder"),
        ("embevo.analysis.analyze", "torch"),
        ("embevo.analysis.analyze", "embevo.recording.stats"),
        ("embevo.analysis.analyze", "embevo.experiment.loop"),
        ("embevo.recording.recorder", "embevo.recording.adapters.optimizer_hook"),
        ("embevo.recording.recorder", "embevo.experiment.loop"),
        ("embevo.experiment.loop", "embevo_cli.train"),
        ("embevo.errors", "embevo.run.paths"),
        ("embevo.recording.recorder", "embevo"),
        ("embevo_cli.train", "benchmarks.loop"),
        ("embevo.run.paths", "support.encoded"),
    ],
)
def test_an_import_against_the_order_is_noticed(module: str, other: str) -> None:
    assert list(wrong({module: {other}})) == [f"{module} imports {other}"]


def test_the_graph_has_imports_of_every_form() -> None:
    # Relative, inside a function, of a name in a module, and of a module in a package.
    assert "embevo_cli.output" in GRAPH["embevo_cli.main"]
    assert "embevo.run.repair.recovery" in GRAPH["embevo_cli.recover"]
    assert "embevo.errors" in GRAPH["embevo.run.paths"]
    assert "embevo.run.journal.ring" in GRAPH["embevo.recording.writer"]
    # For a type checker only.
    assert "embevo.experiment.record" in GRAPH["embevo_cli.train"]
    assert import_graph(for_types=False)["embevo_cli.info"] == GRAPH["embevo_cli.info"]
    assert sum(map(len, GRAPH.values())) > 500


def test_the_tests_of_run_need_no_torch() -> None:
    """They are what the newest Python is tried with, before there is a torch for it."""
    wrong_files = [
        path.name
        for path in sorted((Path(__file__).parent / "run").glob("*.py"))
        if NEEDS_TORCH.search(path.read_text(encoding="utf-8"))
    ]
    assert not wrong_files, "tests of recorders belong into tests/recording"
