"""Writes the tables of the docs and the README from a benchmark's JSON, so that no number is typed by hand.

    python -m benchmarks --json FILE
    python -m benchmarks.pages FILE

Of a run of some parts (--only), these replace what docs/benchmarks.json has of them, and say when they were
measured. It replaces docs/benchmarks.json (FILE without the samples of single captures), docs/benchmarks.md,
docs/blocking.svg, docs/growth.svg and the table in README.md.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.result import percentile

ROOT: Final = Path(__file__).parent.parent
DATA: Final = ROOT / "docs" / "benchmarks.json"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
BLOCKING: Final = ROOT / "docs" / "blocking.svg"
GROWTH: Final = ROOT / "docs" / "growth.svg"
README: Final = ROOT / "README.md"
_BEGIN, _END = "<!-- benchmarks: begin -->\n", "<!-- benchmarks: end -->\n"

# In which the parts stand on the page.
ORDER: Final = (
    "capture", "overhead", "reading", "size", "codecs", "frames", "sources", "four-tensors", "costs", "plan",
    "cuda", "training", "growth", "viewer", "viewer-long",
)  # fmt: skip
# Points up or down for two curves that lie on each other.
_LABEL_OFFSETS: Final = {"newest row": 6, "last 1,000 rows": -6}
_PICTURES: Final = {
    "capture": "![Blocking time of one step, log scale](blocking.svg)",
    "growth": "![Cost of a step and of a read against the length of the run](growth.svg)",
}
# Why a bar that is not reached is not.
_REASONS: Final = {
    "capture": (
        "Where a copy into RAM itself is less than 20 times as fast as save_file, no recorder that copies "
        "can be: calls a minute apart measured 14 and 44 times, the second after many files were deleted."
    ),
    "overhead": (
        "A model that takes a millisecond a step on all cores leaves none to the writer. Each step costs it "
        "the CPU time of the capture table, to compress and, with store both, to create a file; and a "
        "parallel region of PyTorch waits for the thread whose core the writer has. For such a model, store "
        "zarr. Where the least and the most of a ratio lie far apart, the machine changed its speed, and the "
        "median may be off by as much as the bound; what recording takes, measured by itself, is not."
    ),
    "reading": (
        "Blocks are stored time last, which makes those of bfloat16 half as large or less (see the codecs), "
        "and costs the reader of everything a transposition beside the decompression. One step through zarr "
        "decodes the block that it lies in, whatever the codec, so that no bar can hold it to the file of "
        "the step; `open_run` reads that file, where there is one. Bars against all files were once set for "
        "plain zarr (8 for everything, 50 for a token) where opening a file took twice as long as here, and "
        "were a measure of the machine: they are of `open_run` now, which is what reads a run."
    ),
    "four-tensors": (
        "With both cores full, whatever the writer does is taken from the training. It goes down to storing "
        "bytes as they are by itself, and still lays out blocks, takes checksums, and writes some forty "
        "files for five steps, where h5py writes into one."
    ),
    "sources": (
        "Four tensors are four times the bytes, and of a capture the copy and the checksum are the most: the "
        "memory sets the bound, and only what a capture costs beside them, which one tensor pays as four do, "
        "makes this ratio less than four. Tried beside what there is: the checksum in the writer (faster, "
        "one tensor by more than four, so that the ratio is higher; and a small row would not be proven on "
        "another machine from the moment when it is captured); rings of as many bytes for one as for four "
        "(higher); rings that the caches hold (lower, and too short for the writer); copying by numpy, torch "
        "and memmove (slower than by a memoryview)."
    ),
}
_INTRODUCTION = """# Benchmarks

`make bench` runs them all in about ten minutes on two idle cores, `make bench ARGS=--quick` in about one.
Everything is compared side by side in one run, in interleaved rounds, as ratios of each round; the tables
show medians. This page is made by `python -m benchmarks.pages` from [benchmarks.json](benchmarks.json); a
test compares the two.

Some parts take minutes each, and are measured when they are named: `ARGS='--only four-tensors,costs'`,
`ARGS='--only viewer'`, which needs playwright and Chromium, and `ARGS='--only viewer-long'`, which also needs
16 GB of disk.

What is not installed is skipped by name: `pip install 'embevo[bench]'` installs every alternative.
"""


def condensed(found: dict[str, Any]) -> dict[str, Any]:
    """A benchmark's JSON with percentiles in the place of the samples of single captures."""
    parts = dict(found["parts"])
    if "capture" in parts:
        samples = {
            what: {
                # docs/benchmarks.json is condensed already.
                name: rounds if isinstance(rounds, dict) else _percentiles(rounds)
                for name, rounds in by_name.items()
            }
            for what, by_name in parts["capture"]["samples"].items()
            if what.startswith("blocking")
        }
        parts["capture"] = {**parts["capture"], "samples": samples}
    return {**found, "parts": parts}


def merged(whole: dict[str, Any], some: dict[str, Any]) -> dict[str, Any]:
    """A whole run with parts of a later one in the place of its own, in the usual order."""
    measured = {key: some["machine"][key] for key in ("date", "load_at_start", "cores", "processor")}
    later = {name: {**part, "measured": measured} for name, part in some["parts"].items()}
    parts = {**whole["parts"], **later}
    return {**whole, "parts": {name: parts[name] for name in ORDER if name in parts}}


def _percentiles(rounds: list[list[float]]) -> dict[str, float]:
    every = [sample for samples in rounds for sample in samples]
    return {f"p{percent}": percentile(every, percent) for percent in (1, 50, 99, 100)}


def page(found: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        _INTRODUCTION,
        (
            f"Measured on {machine['date']}: {machine['cores']} cores of {machine['processor']}, "
            f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}, {machine['file_system']}, "
            f"Python {machine['python']}, {versions}. The load was {machine['load_at_start']:.2f} when it "
            f"began; it took {found['seconds']:.0f} seconds."
        ),
    ]
    for name, part in found["parts"].items():
        lines += ["", f"## {part['title']}", "", part["about"], ""]
        if "measured" in part:
            later = part["measured"]
            when, load = later["date"], later["load_at_start"]
            elsewhere = [later.get(key, machine[key]) for key in ("cores", "processor")]
            where = ", on {} cores of {}".format(*elsewhere)
            other = elsewhere != [machine["cores"], machine["processor"]]
            lines += [
                f"Measured by itself on {when}{where if other else ''}, with a load of {load:.2f} before.",
                "",
            ]
        if name in _PICTURES:
            lines += [_PICTURES[name], ""]
        if part["rows"]:
            lines += _table(part["columns"], part["rows"])
        if part["ratios"]:
            rows = [_ratio(ratio) for ratio in part["ratios"]]
            lines += ["", *_table(("ratio", "median", "least to most", "has to be", "hoped for"), rows)]
        if name in _REASONS and not all(ratio["must_reached"] for ratio in part["ratios"] if ratio["must"]):
            lines += ["", _REASONS[name]]
        lines += [f"\nSkipped: {what}." for what in part["skipped"]]
    return "\n".join(lines) + "\n"


def summary(found: dict[str, Any]) -> str:
    """The README's table: what one step costs, by what keeps it."""
    part = found["parts"]["capture"]
    machine = found["machine"]
    where = f"{machine['cores']} cores of {machine['processor']}"
    rows = [row[:4] for row in part["rows"]]
    columns = ("one step of 128 x 64 bfloat16", "the loop waits, p50", "p99", "longest")
    return "\n".join([*_table(columns, rows), "", f"On {where}; [all of them](docs/benchmarks.md).", ""])


def _ratio(ratio: dict[str, Any]) -> tuple[str, ...]:
    said = {True: "reached", False: "**not reached**"}
    bounds = [
        f"{ratio[kind].replace('<=', 'at most').replace('>=', 'at least')}, {said[ratio[f'{kind}_reached']]}"
        if ratio[kind]
        else ""
        for kind in ("must", "aim")
    ]
    return (ratio["what"], f"{ratio['median']:.3g}", f"{ratio['min']:.3g} to {ratio['max']:.3g}", *bounds)


def _table(columns: Any, rows: Any) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def readme(text: str, found: dict[str, Any]) -> str:
    """The README with its table replaced."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{summary(found)}{_END}{after}"


def draw(found: dict[str, Any], path: Path) -> None:
    """docs/blocking.svg: how long the loop waits for one step, log scale, shortest above."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    blocking = found["parts"]["capture"]["samples"]["blocking"]
    names = sorted(blocking, key=lambda name: -float(blocking[name]["p50"]))
    figure = Figure(figsize=(8, 0.42 * len(names) + 1.1), layout="constrained")
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        low, middle, high, most = (1e6 * blocking[name][key] for key in ("p1", "p50", "p99", "p100"))
        colour = "#0072B2" if name.startswith("embevo") else "#777777"
        axes.plot([high, most], [place, place], color=colour, linewidth=1, alpha=0.5)
        axes.plot([low, high], [place, place], color=colour, linewidth=4, alpha=0.45, solid_capstyle="butt")
        axes.plot(middle, place, "o", color=colour, markersize=7)
        label = f"{middle:.0f} µs" if middle < 1000 else f"{middle / 1000:.1f} ms"
        axes.annotate(
            label, (middle, place), (0, 7), textcoords="offset points", ha="center", fontsize=8, color=colour
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.set_xscale("log")
    axes.set_xlabel(
        "the training loop waits, µs a step\n(dot: median; bar: 1st to 99th percentile; line: longest)"
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    _save(figure, path)


def draw_growth(found: dict[str, Any], path: Path) -> None:
    """docs/growth.svg: what a step and a read cost, against how many steps the run has."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only for the picture

    samples = dict(found["parts"]["growth"]["samples"])
    steps = samples.pop("steps")
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for (name, seconds), colour in zip(
        samples.items(), ("#0072B2", "#56B4E9", "#D55E00", "#CC79A7"), strict=True
    ):
        microseconds = [1e6 * value for value in seconds]
        axes.plot(steps, microseconds, "o-", color=colour, markersize=4)
        axes.annotate(
            name,
            (steps[-1], microseconds[-1]),
            (8, _LABEL_OFFSETS.get(name, 0)),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    axes.set_yscale("log")
    axes.set_ylim(1)
    axes.set_xlim(0, steps[-1] * 1.28)
    axes.set_xticks([0, *steps[1::2]], [f"{step:,}" for step in (0, *steps[1::2])])
    axes.set_xlabel("steps recorded so far")
    axes.set_ylabel("µs")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only for the pictures

    with mpl.rc_context({"svg.hashsalt": "embevo", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Write all of them."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    path = Path(sys.argv[1])
    make = f"Make it with: python -m benchmarks --json {path}"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} is not the JSON of a benchmark: {error}. {make}") from error
    if missing := {"capture", "growth"} - set(found.get("parts", ())):
        if not DATA.exists() or found.get("quick"):
            raise SystemExit(f"{path} lacks {', '.join(sorted(missing))}: the pages need a whole run. {make}")
        found = merged(json.loads(DATA.read_text()), found)
    found = condensed(found)
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))
    README.write_text(readme(README.read_text(), found))
    draw(found, BLOCKING)
    draw_growth(found, GROWTH)


if __name__ == "__main__":
    main()
