"""``embevo analyze``: the numbers of a run, and what they say of the predictions."""

import json
import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .paths import PathOf
from .progress import analysing
from .selection import JUDGE_HELP, MATRIX_HELP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Client
    from rich.console import Console

    from embevo.analysis.analyze import Analysis
    from embevo.analysis.comparison import Comparison, Quantity
    from embevo.analysis.measures.effect import Effect
    from embevo.analysis.survival import Family
    from embevo.analysis.verdicts.thresholds import Thresholds
    from embevo.analysis.verdicts.verdict import Verdict

_COLOURS = {"supported": "green", "refuted": "red", "undecided": "yellow"}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PathOf(), metavar="RUN...")
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="NAME=VALUE",
    help="Decide by another threshold; repeatable.",
)
@click.option("--thresholds", "show", is_flag=True, help="Print every threshold with the reason for it.")
@click.option("--matrix", metavar="NAME", help=MATRIX_HELP)
@click.option("--judge", is_flag=True, help=JUDGE_HELP)
@click.option(
    "--basis", type=click.Choice(["final", "all"]), default="final", show_default=True,
    help="Fit the principal components to the last row, or to all rows.",
)  # fmt: skip
@click.option(
    "--measures", default="default", show_default=True, metavar="NAME,...|default|all|core",
    help="Which measures to take beside those of verdicts and figures; docs/analysis.md lists them.",
)  # fmt: skip
@click.option("--exact", is_flag=True, help="Compare all tokens in pairs, however many there are.")
@click.option("--keep/--no-keep", default=True, help="Keep analysis.zarr and analysis.json in the run.")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", show_default="all cores",
    help="Measure on N threads, or with --dask local on N processes.",
)  # fmt: skip
@click.option(
    "--dask", metavar="ADDRESS|local",
    help="Measure on the workers of a Dask scheduler, or on N processes of this machine.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything but the series as JSON.")
def analyze(
    runs: tuple[Path, ...],
    thresholds: tuple[str, ...],
    *,
    show: bool,
    matrix: str | None,
    judge: bool,
    basis: str,
    measures: str,
    exact: bool,
    keep: bool,
    jobs: int | None,
    dask: str | None,
    as_json: bool,
) -> None:
    """Measure each RUN, and judge runs of embevo train by the predictions for their initialisation.

    The series go to analysis.zarr and the rest to analysis.json in the run; a second call reads them. Several
    runs that differ only in their seed are judged together, and groups of different settings are compared.
    """
    from rich.console import Console  # noqa: PLC0415 - and numpy, zarr and xarray, when they are needed

    from embevo.analysis.analyze import analyze as analyze_run  # noqa: PLC0415
    from embevo.analysis.comparison import compare  # noqa: PLC0415
    from embevo.analysis.verdicts.thresholds import Thresholds  # noqa: PLC0415

    limits = Thresholds.parse(thresholds)
    found = []
    with _cluster(dask, jobs) as client:
        for run in runs:
            with analysing(run) as told:
                found.append(
                    analyze_run(
                        run,
                        limits,
                        matrix=matrix,
                        judge=judge,
                        basis="all" if basis == "all" else "final",
                        measures=measures,
                        exact=exact,
                        keep=keep,
                        jobs=None if dask else jobs,
                        client=client,
                        **told,
                    )
                )
    together = compare(found) if len(found) > 1 else None
    if as_json:
        comparison = None if together is None else together.to_json()
        output = {"runs": [analysis.to_json() for analysis in found], "comparison": comparison}
        click.echo(json.dumps(output, indent=2))
        return
    console = Console(highlight=False)
    for analysis in found:
        _print_run(console, analysis)
    if together is not None:
        _print_comparison(console, together)
    if show or any(analysis.applies.judged for analysis in found):
        _print_thresholds(console, limits, reasons=show)


@contextmanager
def _cluster(address: str | None, jobs: int | None) -> "Iterator[Client | None]":
    """A client of the cluster to measure on; None without one."""
    if address is None:
        yield None
        return
    if jobs is not None and address != "local":
        raise click.UsageError("--jobs is for this machine: a cluster has the workers that it has.")
    from embevo.analysis.distributed import cluster  # noqa: PLC0415

    with cluster(address, jobs) as client:
        yield client


def _print_run(console: "Console", analysis: "Analysis") -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from embevo.analysis.findings import findings  # noqa: PLC0415

    summary = analysis.summary
    console.print(Text(f"\n{analysis.run_path}", "bold"))
    groups = [name for name, of in summary["groups"].items() if of["tokens"]]
    one = summary["rows"] == 1
    rows = "1 row" if one else f"{summary['rows']:,} rows"
    shape = f"{rows} x {summary['tokens']:,} tokens x {summary['dim']:,} dimensions"
    steps = f"step {summary['last_step']:,}"
    if not one:
        steps = f"steps {summary['first_step']:,} to {summary['last_step']:,}"
    initialisation = f", {summary['initialisation']} initialisation" if analysis.applies.judged else ""
    console.print(Text(f"{summary['matrix']}{initialisation}, {summary['dtype']}, {shape}, {steps}"))
    for sentence in findings(analysis):
        console.print(Text(f"- {sentence}"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in groups:
        table.add_column(name, justify="right")
    for label, cells in _measures(summary, groups):
        table.add_row(label, *cells)
    console.print(table)
    for line in _facts(summary, nats=" nats" if analysis.is_experiment else ""):
        console.print(line)
    if analysis.applies.statement:
        console.print(Text(analysis.applies.statement, "yellow"))
    if analysis.applies.judged:
        _print_verdicts(console, analysis.verdicts)
    if analysis.note:
        console.print(Text(f"note: {analysis.note}", "yellow"))


def _measures(summary: "dict[str, Any]", groups: list[str]) -> "Iterable[tuple[str, list[str]]]":
    """Rows of the table: a label, and a cell for each group."""
    from embevo.analysis.measures.registry import label_of, last_of, told  # noqa: PLC0415

    by_group = [summary["groups"][name] for name in groups]
    yield "tokens", [f"{of['tokens']:,}" for of in by_group]
    for variable in told(by_group):
        if variable.told is not None and variable.told.change and summary["rows"] > 1:
            label = f"{variable.label}, first to last row"
            yield (
                label,
                [
                    f"{_number(of.get(f'{variable.name}_first'))} to {_number(last_of(of, variable))}"
                    for of in by_group
                ],
            )
        else:
            yield variable.label, [_number(last_of(of, variable)) for of in by_group]
    for what in ("centroid", "tokens"):
        fits = [summary["exponents"][what][name] for name in groups]
        yield (
            label_of(f"exponents.{what}"),
            [f"{_number(fit['value'])} ({_number(fit['low'])} to {_number(fit['high'])})" for fit in fits],
        )
    for name in ("flowing", "hopping", "moving"):
        yield label_of(f"phases.{name}"), [_step(summary["phases"][group][name]) for group in groups]


def _facts(summary: "dict[str, Any]", *, nats: str) -> "Iterable[str]":
    from embevo.analysis.measures.registry import label_of  # noqa: PLC0415

    def line(name: str, text: str) -> str:
        label = label_of(name)
        return f"{label[0].upper()}{label[1:]}: {text}."

    if summary["live_dead_distance"] is not None:
        yield line("live_dead_distance", _number(summary["live_dead_distance"]))
    for name in ("jaccard_largest", "jaccard_all"):
        if summary[name] is not None:
            yield line(name, _number(summary[name]))
    events = [f"{count:,} {kind}" for kind, count in summary["events"].items() if count]
    yield line("events", ", ".join(events) or "none")
    if summary["loss_last"] is not None:
        before = f"{_number(summary['loss_first'])} to " if summary["rows"] > 1 else ""
        yield line("loss", f"{before}{_number(summary['loss_last'])}{nats}")
        if summary["unigram_loss"] is not None:
            yield line("unigram_loss", f"{_number(summary['unigram_loss'])} nats")
    if summary["unigram_entropy"] is not None and summary["unigram_loss"] is None:
        yield line("unigram_entropy", f"{_number(summary['unigram_entropy'])} nats")


def _print_verdicts(console: "Console", verdicts: "Iterable[Verdict]") -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "prediction", "verdict", "because"):
        table.add_column(name)
    for verdict in verdicts:
        outcome = Text(verdict.outcome, _COLOURS[verdict.outcome])
        because = "; ".join(check.sentence for check in verdict.checks)
        table.add_row(verdict.id, verdict.prediction, outcome, because)
    console.print(table)


def _print_comparison(console: "Console", together: "Comparison") -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("median over runs")
    for group in together.groups:
        table.add_column(f"{group.label} ({_runs(len(group.runs))})", justify="right")
    for effect in together.effects[: len(together.effects) // max(1, len(together.groups[0].quantities))]:
        table.add_column(f"Cohen's d, {effect.one} and {effect.other}", justify="right")
    for index, first in enumerate(together.groups[0].quantities):
        cells = [_spread(group.quantities[index]) for group in together.groups]
        cells += [_effect(effect) for effect in together.effects if effect.quantity == first.name]
        table.add_row(first.name, *cells)
    console.print(Text("\nTogether", "bold"))
    console.print(table)
    for group in together.groups:
        if len(group.runs) > 1:
            coverage = 100 * max(of.coverage for of in group.quantities)
            console.print(Text(f"\n{_runs(len(group.runs))}, {group.label}", "bold"))
            console.print(f"An interval covers the median of all such seeds in {coverage:.0f} % of cases.")
            if group.verdicts:
                _print_verdicts(console, group.verdicts)
            for verdict in group.verdicts:
                each = ", ".join(f"{count} {name}" for name, count in group.outcomes[verdict.id].items())
                console.print(f"{verdict.id} run by run: {each}.")
    for family in together.families:
        _print_survival(console, family)


def _print_survival(console: "Console", family: "Family") -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console.print(Text(f"\nDo the verdicts survive? {_runs(len(family.runs))}, {family.label}", "bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", *(survival.id for survival in family.survivals)):
        table.add_column(name)
    for place, run in enumerate(family.runs):
        outcomes = [survival.trials[place].outcome for survival in family.survivals]
        table.add_row(str(run), *(Text(outcome, _COLOURS[outcome]) for outcome in outcomes))
    console.print(table)
    for survival in family.survivals:
        console.print(Text(f"{survival.id} {survival.sentence}."))


def _spread(of: "Quantity") -> str:
    if len(of.values) < 2:
        return _number(of.median)
    return f"{_number(of.median)} ({_number(of.low)} to {_number(of.high)})"


def _effect(of: "Effect") -> str:
    return (
        _number(of.d) if math.isnan(of.low) else f"{_number(of.d)} ({_number(of.low)} to {_number(of.high)})"
    )


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _print_thresholds(console: "Console", limits: "Thresholds", *, reasons: bool) -> None:
    from rich.table import Table  # noqa: PLC0415

    values = limits.to_json()
    if not reasons:
        console.print(
            "\nThresholds: " + ", ".join(f"{name} {value:g}" for name, value in values.items()) + "."
        )
        console.print("--thresholds says why, --threshold NAME=VALUE changes one.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("threshold", "value", "why the default is what it is"):
        table.add_column(name)
    why = limits.reasons()
    for name, value in values.items():
        table.add_row(name, f"{value:g}", why[name])
    console.print(table)


def _number(value: float | str | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None or math.isnan(float(value)) else f"{float(value):.4g}"


def _step(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
