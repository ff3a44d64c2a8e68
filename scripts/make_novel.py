"""Makes "What the novel shows" in docs/analysis.md, and docs/novel.json, which it comes from.

    python scripts/make_novel.py CORPUS [--runs DIRECTORY] [--seeds 5] [--first 101] [--threads 1 2]
    python scripts/make_novel.py great-gatsby --runs DIRECTORY --take

CORPUS is The Great Gatsby: the name ``great-gatsby``, or the path of its text. Every run is the experiment as
it is by default, 5,000 steps, of each seed, initialisation and number of threads; a run that is in the
directory already is taken, or continued. With ``--take`` nothing is trained: the runs of that corpus that are
complete in the directory are taken, of whatever seeds, lengths and threads, and the page says how many.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embevo.analysis import analyze
from embevo.analysis.comparison import FEWEST_SEEDS
from embevo.analysis.json_numbers import to_plain
from embevo.analysis.survival import families
from embevo.analysis.verdicts.verdict import counted
from embevo.errors import EmbevoError
from embevo.run.reading.reader import open_run
from novel_words import KINDS, NUMBERS, STEPS, Subject, of, over_seeds, seeds_of, spread, words

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- novel: begin -->", "<!-- novel: end -->"
SEED = 101


def main() -> None:
    """Train what is missing, measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--runs", type=Path, default=Path("runs/novel"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=SEED)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--take", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep analyses in the runs, for another call")
    given = parser.parse_args()
    if not given.take:
        for seed in range(given.first, given.first + given.seeds):
            for init in KINDS.values():
                for threads in given.threads:
                    trained(given.runs, given.corpus, init, seed, threads)
    subjects = sorted(
        taken(given.runs, given.corpus, keep=given.keep),
        key=lambda of: (of.kind, of.steps, of.seed, of.threads),
    )
    if not subjects:
        sys.exit(f"{given.runs} holds no complete run of {given.corpus}")
    found = {
        "where": f"{platform.system()}, {os.cpu_count()} processors, "
        f"{subjects[0].analysis.attributes.get('environment', {}).get('processor', platform.machine())}, "
        f"Python {platform.python_version()}, torch {version('torch')}, embevo {version('embevo')}",
        "corpus": Path(given.corpus).stem,
        "runs": [[of.kind, of.steps, of.seed, of.threads] for of in subjects],
        "numbers": numbers(subjects),
        "verdicts": verdicts(subjects),
        "survivals": survivals(subjects),
        "survive": survive(subjects),
        "lengths": lengths(subjects),
        "words": words(subjects),
    }
    (DOCS / "novel.json").write_text(json.dumps(to_plain(found), indent=1, ensure_ascii=False) + "\n")
    path = DOCS / "analysis.md"
    before, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{page(found)}\n{END}{rest.partition(END)[2]}")


def taken(runs: Path, corpus: str, *, keep: bool) -> Iterable[Subject]:
    """The complete runs of a corpus in a directory."""
    kinds = {init: kind for kind, init in KINDS.items()}
    name = Path(corpus).stem
    for path in sorted(runs.iterdir()):
        try:
            run = open_run(path)
        except EmbevoError:
            continue
        config = run.config
        whole = len(run.steps) > 0 and run.steps[-1] == config.get("steps")
        called = {Path(str(of)).stem for of in (config.get("corpus"), run.corpus.get("name"))}
        if whole and name in called and config.get("init") in kinds:
            threads = int(run.attributes.get("environment", {}).get("threads", 0))
            found = analyze(path, measures="core", keep=keep)
            yield Subject(kinds[config["init"]], config["seed"], threads, config["steps"], found)


def trained(runs: Path, corpus: str, init: str, seed: int, threads: int) -> None:
    """Train a run, or what is missing of it."""
    path = runs / f"{init}-{seed}-{threads}"
    if path.is_dir():
        arguments = ["--resume", str(path)]
        if open_run(path).steps[-1] == open_run(path).config["steps"]:
            return
    else:
        arguments = ["--corpus", corpus, "--init", init, "--seed", str(seed)]
        arguments += ["--store", "zarr", "--out", str(path)]
    program = "from embevo_cli.main import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-c", program, "train", *arguments], env=environment, check=True)


def threads_of(subjects: Sequence[Subject]) -> list[int]:
    """The numbers of threads that there are."""
    return sorted({one.threads for one in subjects if one.steps == STEPS})


def numbers(subjects: Sequence[Subject]) -> dict[str, Any]:
    """The first table."""
    columns = [(kind, threads) for kind in KINDS for threads in threads_of(subjects)]
    head = [
        f"{kind}, {threads} thread{'s' * (threads > 1)} ({len(of(subjects, kind, threads))} runs)"
        for kind, threads in columns
    ]
    rows = [
        [
            label,
            *(
                spread([value(one) for one in of(subjects, *column)], seeds_of(subjects, *column))
                for column in columns
            ),
        ]
        for label, value in NUMBERS.items()
    ]
    return {"head": ["median over seeds (range)", *head], "rows": rows}


def together(outcomes: Sequence[str], seeds: int) -> str:
    """What all runs decide, of five seeds or more."""
    return outcomes[0] if outcomes and len(set(outcomes)) == 1 and seeds >= FEWEST_SEEDS else "undecided"


def survivals(subjects: Sequence[Subject]) -> list[str]:
    """What single parts say of pieces of the run, where they do not say one thing of all of it."""
    found = []
    for kind in KINDS:
        analyses = of(subjects, kind)
        said = Counter(
            (verdict.id, check.statistic, check.survival)
            for analysis in analyses
            for verdict in analysis.verdicts
            for check in verdict.checks
            if check.survival
        )
        order = {key: at for at, key in enumerate(said)}
        found += [
            f"{name}, {statistic}: {text} ({count} of {len(analyses)} runs)"
            for (name, statistic, text), count in sorted(
                said.items(), key=lambda item: (item[0][0], order[item[0]])
            )
        ]
    return found


def verdicts(subjects: Sequence[Subject]) -> list[list[str]]:
    """The second table: every part of every prediction, over all runs of the usual length."""
    rows = []
    for kind in KINDS:
        analyses = of(subjects, kind)
        seeds = seeds_of(subjects, kind)
        for at in range(len(analyses[0].verdicts) if analyses else 0):
            alike = [analysis.verdicts[at] for analysis in analyses]
            whole = [verdict.outcome for verdict in alike]
            parts = list(zip(*(verdict.checks for verdict in alike), strict=True))
            for number, checks in enumerate(parts):
                first = checks[0]
                null = "-"
                if first.null:
                    lows, highs = (
                        [getattr(check, end) for check in checks] for end in ("null_low", "null_high")
                    )
                    null = f"{over_seeds(lows, seeds):.3g} to {over_seeds(highs, seeds):.3g}"
                rows.append(
                    [
                        f"{alike[0].id} {alike[0].prediction}" if not number else "",
                        first.statistic,
                        first.threshold.replace("<=", "≤").replace(">=", "≥"),
                        spread([check.value for check in checks], seeds),
                        null,
                        counted(check.outcome for check in checks),
                        f"**{together(whole, len(set(seeds)))}** ({counted(whole)})" if not number else "",
                    ]
                )
    return rows


def survive(subjects: Sequence[Subject]) -> list[str]:
    """Whether each verdict survives what the runs differ in, the lengths included."""
    analyses = [one.analysis for kind in KINDS for one in subjects if one.kind == kind]
    return [f"{of.id}: {of.sentence}" for family in families(analyses) for of in family.survivals]


def lengths(subjects: Sequence[Subject]) -> list[list[str]]:
    """The third table: outcomes by threads and by length."""
    columns = sorted({(one.steps, one.threads) for one in subjects})
    rows = [["", *(f"{steps:,} steps, {threads} thr." for steps, threads in columns)]]
    for kind in KINDS:
        names = next(([v.id for v in one.analysis.verdicts] for one in subjects if one.kind == kind), [])
        for at, name in enumerate(names):
            cells = [
                counted(one.verdicts[at].outcome for one in of(subjects, kind, threads, steps)) or "-"
                for steps, threads in columns
            ]
            rows.append([name, *cells])
    return rows


def page(found: dict[str, Any]) -> str:
    """The tables and sentences as Markdown."""
    runs = [tuple(run) for run in found["runs"]]
    usual = [run for run in runs if run[1] == STEPS]
    seeds = sorted({run[2] for run in usual})
    made = (
        f"Made by `python scripts/make_novel.py great-gatsby` ({found['where']}), of {len(usual)} runs of "
        f"{STEPS:,} steps on *{found['corpus']}*, bfloat16, next-token objective, and "
        f"{len(runs) - len(usual)} of other lengths: "
        f"{'; '.join(taken_of(runs, kind) for kind in KINDS)}. Numbers are those of this machine; "
        "another processor or number of threads gives other bits. "
    )
    made += (
        "They are fewer than the five seeds that decide together: over all of them nothing is decided."
        if len(seeds) < FEWEST_SEEDS
        else "Over all runs something is decided where every one of them decides the same."
    )
    lines = [made, "", *table(found["numbers"]["head"], found["numbers"]["rows"]), ""]
    lines += [
        (
            "The verdicts. A value is the median over seeds, each with the mean over its runs, and the range "
            "over runs, beside the band of the null, in the median likewise. A range is no interval. The "
            "last columns count runs, and all of them, of five seeds at least, decide together:"
        ),
        "",
    ]
    head = ["prediction", "statistic", "region", "runs", "null", "part, run by run"]
    lines += table([*head, "**all runs** (run by run)"], found["verdicts"])
    if found["survivals"]:
        lines += ["", "Of what a part holds and of what not, where that is not the same:", ""]
        lines += [f"- {sentence}" for sentence in found["survivals"]]
    lines += ["", "Whether the verdicts survive, as `embevo analyze` says it of these runs:", ""]
    lines += [f"- {sentence}." for sentence in found["survive"]]
    lines += ["", "The verdicts of single runs by length and by number of threads:", ""]
    lines += table(found["lengths"][0], found["lengths"][1:])
    return "\n".join([*lines, "", "In words:", "", *(f"- {sentence}" for sentence in found["words"])])


def taken_of(runs: Sequence[Sequence[Any]], kind: str) -> str:
    """Which runs of a kind there are, in words."""
    seeds: dict[tuple[int, int], list[int]] = {}
    for _, steps, seed, threads in sorted((tuple(run) for run in runs if run[0] == kind), key=str):
        seeds.setdefault((steps, threads), []).append(seed)
    return f"{kind} ones of " + ", ".join(
        f"seed{'s' * (len(of) > 1)} {' '.join(map(str, sorted(of)))} "
        f"with {threads} thread{'s' * (threads > 1)}" + f" and {steps:,} steps" * (steps != STEPS)
        for (steps, threads), of in sorted(seeds.items(), key=lambda item: (item[0][0] != STEPS, *item[0]))
    )


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    main()
