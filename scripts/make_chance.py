"""Writes how often chance alone decides the predictions into docs/analysis.md, and docs/chance.json.

    python scripts/make_chance.py CORPUS [--runs DIRECTORY] [--count 200] [--kinds brownian adamw-noise ...]

Surrogates of two small runs, of each initialisation one, are judged as a run is. The runs are trained on
CORPUS (the name ``great-gatsby``, or the path of a text) unless they are in the directory. Kinds that are not
named keep what docs/chance.json says of them, so that it can be made piece by piece; all take about half an
hour of one core.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from embevo.analysis import judged_surrogates

DOCS = Path(__file__).parents[1] / "docs"
PAGE, KEPT = DOCS / "analysis.md", DOCS / "chance.json"
BEGIN, END = "<!-- chance: begin -->", "<!-- chance: end -->"
KINDS = ("brownian", "shuffled-steps", "adamw-noise")
INITS = ("normal", "qwen")
STEPS, DIM = 500, 16
OUTCOMES = ("supported", "refuted", "undecided")


def main() -> None:
    """Train what is missing, judge surrogates, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--runs", type=Path, default=Path("runs/chance"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=KINDS)
    parser.add_argument("--inits", choices=INITS, nargs="+", default=INITS)
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    for init in given.inits:
        run = trained(given.runs, given.corpus, init)
        for kind in given.kinds:
            found[f"{init} {kind}"] = judged_surrogates(run, kind, given.count).to_json()
            KEPT.write_text(json.dumps(found, indent=1) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{page(found)}\n{END}{rest.partition(END)[2]}")


def trained(runs: Path, corpus: str, init: str) -> Path:
    """A run that is there, or is trained now."""
    path = runs / init
    if not path.is_dir():
        arguments = ["--corpus", corpus, "--init", init, "--steps", str(STEPS), "--dim", str(DIM)]
        program = "from embevo_cli.main import main; main()"
        command = [sys.executable, "-c", program, "train", *arguments, "--store", "zarr", "--out", str(path)]
        subprocess.run(command, env=dict(os.environ), check=True)
    return path


def page(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    kinds = [kind for kind in KINDS if any(f"{init} {kind}" in found for init in INITS)]
    words = {"normal": "at random places (N1 to N4)", "qwen": "at one point (S1 to S5)"}
    begins = ", or ".join(words[init] for init in INITS if any(name.startswith(init) for name in found))
    counted = " to ".join(map(str, sorted({of["count"] for of in found.values()})))
    lines = [
        (
            f"Made by `python scripts/make_chance.py great-gatsby`: {counted} surrogates "
            f"of each kind, of a run of {STEPS} steps x 128 tokens x {DIM} dimensions that begins {begins}. "
            f"How many of them are {', '.join(OUTCOMES)}:"
        ),
        "",
        f"| | {' | '.join(kinds)} |",
        f"|{' --- |' * (len(kinds) + 1)}",
    ]
    for init in INITS:
        of = {kind: found[f"{init} {kind}"] for kind in kinds if f"{init} {kind}" in found}
        for name, prediction in next(iter(of.values()))["predictions"].items() if of else ():
            cells = [shares(of[kind], name) if kind in of else "-" for kind in kinds]
            lines.append(f"| {name} {prediction} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shares(of: dict[str, Any], name: str) -> str:
    """Percentages of the three outcomes."""
    counted = of["outcomes"][name]
    return ", ".join(f"{100 * counted.get(outcome, 0) / of['count']:.0f} %" for outcome in OUTCOMES)


if __name__ == "__main__":
    main()
