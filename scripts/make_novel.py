"""Makes the tables of "What the novel shows" in docs/analysis.md, and docs/novel.json, which they come from.

    python scripts/make_novel.py CORPUS [--runs DIRECTORY] [--seeds 5]

CORPUS is The Great Gatsby: the name ``great-gatsby``, or the path of its text. Every run is the experiment as
it is by default, 5,000 steps; a run that is in the directory already is taken, or continued. Each
runs on one core, as many at once as there are: two for each seed, and one as the notebook had it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embevo.analysis import Analysis, analyze
from embevo.analysis.comparison import Group, compare
from embevo.analysis.json_numbers import to_plain
from embevo.run.reading.reader import open_run

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- novel: begin -->", "<!-- novel: end -->"
SEED = 42
# What the notebook printed; it ran on another kind of device.
NOTEBOOK = {
    "token norms at step 0, min, max, mean": "8.187500, 8.187500, 8.187500",
    "centroid norm at step 0": "8.187500",
    "token norms at step 5,000, min, max, mean": "8.187500, 8.250000, 8.187500",
    "centroid norm at step 5,000": "8.187500",
    "centroid displacement": "0.365234",
    "mean loss of steps 1 to 100": "3.4545",
    "of steps 101 to 200": "3.0939",
    "of steps 901 to 1,000": "3.0749",
}


def main() -> None:
    """Train what is missing, measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--runs", type=Path, default=Path("runs/novel"))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    seeds = range(SEED, SEED + given.seeds)
    wanted = [(init, "next-token", seed) for seed in seeds for init in ("qwen", "normal")]
    wanted.insert(2, ("qwen", "seed", SEED))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = pool.map(lambda run: trained(given.runs, given.corpus, *run), wanted)
        runs = dict(zip(wanted, paths, strict=True))
    noted = runs.pop(("qwen", "seed", SEED))
    # The singular ones first.
    analyses = [analyze(runs[key]) for key in sorted(runs, key=lambda key: (key[0] == "normal", key[2]))]
    found = {
        "where": f"{platform.system()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"torch {version('torch')}, embevo {version('embevo')}",
        "seeds": list(seeds),
        "runs": {
            "singular (`qwen`)": numbers(analyses[0]),
            "normal": numbers(analyses[len(seeds)]),
        },
        "verdicts": [
            row for group in compare(analyses).groups for row in verdicts(group, analyses) if given.seeds > 1
        ],
        "notebook": as_the_notebook(noted),
    }
    (DOCS / "novel.json").write_text(json.dumps(to_plain(found), indent=1, ensure_ascii=False) + "\n")
    path = DOCS / "analysis.md"
    before, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{page(found)}\n{END}{rest.partition(END)[2]}")


def trained(runs: Path, corpus: str, init: str, objective: str, seed: int) -> Path:
    """The directory of a run, complete."""
    path = runs / f"{init}-{objective}-{seed}"
    if path.is_dir():
        arguments = ["--resume", str(path)]
        if open_run(path).steps[-1] == open_run(path).config["steps"]:
            return path
    else:
        arguments = ["--corpus", corpus, "--init", init, "--seed", str(seed), "--objective", objective]
        arguments += ["--store", "zarr", "--out", str(path)]
    program = "from embevo_cli.main import main; main()"
    # One core each: together that is faster, and the same bits on machines of more cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program, "train", *arguments], env=environment, check=True)
    return path


def numbers(analysis: Analysis) -> dict[str, str]:
    """A column of the first table."""
    series, summary = analysis.series, analysis.summary
    groups = summary["groups"]
    phases = [f"{summary['phases']['dead'][name]:,}" for name in ("flowing", "hopping", "moving")]
    dead = series["net_displacement"].to_numpy()[series["token_count"].to_numpy() == 0]
    coherence = float(series["dead_coherence"].sel(step=slice(1, 100)).mean())
    return {
        "RMS radius, live": change(groups["live"], "radius_rms"),
        "RMS radius, dead": change(groups["dead"], "radius_rms"),
        f"distinct rows, live (of {summary['live']})": change(groups["live"], "distinct_rows"),
        f"distinct rows, dead (of {summary['dead']})": change(groups["dead"], "distinct_rows"),
        "tokens in black holes": change(groups["all"], "black_hole_population"),
        "centroid norm": change(groups["all"], "centroid_norm"),
        "centroid displacement": f"{groups['all']['centroid_displacement']:.4g}",
        "net displacement of the dead, median": f"{np.median(dead):.4g}",
        "distance of live and dead centroids": (f"{summary['live_dead_distance']:.4g}"),
        "dead: last step above sqrt(dim) ULPs, above 1 ULP, last motion": "; ".join(phases),
        "dead: mean cosine of displacements, first 100 steps": f"{coherence:.4g}",
        "MSD exponent of the centroid": exponent(summary["exponents"]["centroid"]["all"]),
        "MSD exponent of live tokens": exponent(summary["exponents"]["tokens"]["live"]),
        "loss at the last step; of one that knows frequencies only": f"{summary['loss_last']:.3f}; "
        f"{summary['unigram_loss']:.3f}",
    }


def change(group: dict[str, Any], name: str) -> str:
    """From the first row to the last."""
    return f"{group[f'{name}_first']:.4g} to {group[f'{name}_last']:.4g}"


def exponent(fit: dict[str, Any]) -> str:
    """With its interval, and those of the halves."""
    interval = "" if fit["low"] is None else f" ({fit['low']:.2f} to {fit['high']:.2f})"
    return f"{fit['value']:.2f}{interval}; short lags {fit['short']:.2f}, long {fit['long']:.2f}"


def verdicts(group: Group, analyses: list[Analysis]) -> list[list[str]]:
    """Rows of the second table: each check of each prediction, of the first run and of all together."""
    first = next(analysis for analysis in analyses if analysis.run_path == group.runs[0])
    rows = []
    for one, together in zip(first.verdicts, group.verdicts, strict=True):
        outcomes = group.outcomes[one.id]
        count = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        for check, all_of in zip(one.checks, together.checks, strict=True):
            interval = f" ({check.low:.3g} to {check.high:.3g})" if check.uncertainty else ""
            over = f"{all_of.value:.3g} ({all_of.low:.3g} to {all_of.high:.3g})"
            new = check is one.checks[0]
            rows.append(
                [
                    f"{one.id} {one.prediction}" if new else "",
                    check.statistic,
                    check.threshold.replace("<=", "≤").replace(">=", "≥"),
                    f"{check.value:.3g}{interval}",
                    over,
                    f"{one.outcome}; **{together.outcome}** ({count})" if new else "",
                ]
            )
    return rows


def as_the_notebook(path: Path) -> dict[str, str]:
    """What the notebook prints, computed as the notebook does: in bfloat16."""
    run = open_run(path)
    first, last = (torch.from_numpy(run["embeddings"][row]).bfloat16() for row in (0, -1))
    loss = np.asarray(run["loss"][:])

    def norms(matrix: torch.Tensor) -> str:
        found = torch.linalg.vector_norm(matrix, dim=1)
        return ", ".join(f"{number.item():.6f}" for number in (found.min(), found.max(), found.mean()))

    rough = [matrix.mean(dim=0) for matrix in (first, last)]
    exact = [matrix.double().mean(dim=0) for matrix in (first, last)]
    moved = [(after - before).norm().item() for before, after in (rough, exact)]
    return dict(
        zip(
            NOTEBOOK,
            (
                norms(first),
                f"{rough[0].norm().item():.6f}",
                norms(last),
                f"{rough[1].norm().item():.6f}",
                f"{moved[0]:.6f}; in float64 {moved[1]:.6f}",
                *(f"{loss[start:stop].mean():.4f}" for start, stop in ((1, 101), (101, 201), (901, 1001))),
            ),
            strict=True,
        )
    )


def page(found: dict[str, Any]) -> str:
    """The tables as Markdown."""
    seeds = len(found["seeds"])
    made = (
        f"Made by `python scripts/make_novel.py great-gatsby` ({found['where']}). Two runs of 5,000 steps on "
        f"*The Great Gatsby*, seed {SEED}, bfloat16, next-token objective:"
    )
    columns = found["runs"]
    head = ["", *columns]
    rows = [[label, *(column[label] for column in columns.values())] for label in columns["normal"]]
    lines = [made, "", *table(head, rows)]
    if found["verdicts"]:
        said = (
            f"The verdicts, for seed {SEED} and for {seeds} seeds together, with the medians over runs, "
            "their whole range, and how often single runs are judged how:"
        )
        head = ["prediction", "statistic", "region", f"seed {SEED}", f"median of {seeds} seeds"]
        head.append(f"seed {SEED}; **all seeds** (run by run)")
        lines += ["", said, "", *table(head, found["verdicts"])]
    said = (
        "Beside the notebook, whose label shift `--objective seed` repeats. It ran on another device, with "
        "other random batches, and computed in bfloat16:"
    )
    rows = [[label, NOTEBOOK[label], found["notebook"][label]] for label in NOTEBOOK]
    lines += ["", said, "", *table(["", "the notebook printed", "recorded here, computed likewise"], rows)]
    return "\n".join(lines)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    main()
