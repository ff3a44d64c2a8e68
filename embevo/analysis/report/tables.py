"""The tables of a report: key numbers, settings, thresholds, and what several runs say together."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from embevo.analysis import Analysis
from embevo.analysis.comparison import Comparison
from embevo.analysis.json_numbers import number_of
from embevo.analysis.measures.groups import GROUPS
from embevo.analysis.measures.measure import Variable
from embevo.analysis.measures.registry import SECTIONS, label_of, last_of, told_by_group
from embevo.analysis.report.markup import Markup, joined, table, tag
from embevo.analysis.verdicts.thresholds import Thresholds

OVERVIEW: Final = "At a glance"
_NONE = "-"


def numbers_of(analysis: Analysis) -> dict[str, str]:
    """Label to number, in words: the same labels for every run, but for groups of the user's own."""
    return {label: text for of in numbers_by_section(analysis).values() for label, text in of.items()}


def numbers_by_section(analysis: Analysis) -> dict[str, dict[str, str]]:
    """The same under headings: what one looks at first, and then the sections of the measures."""
    summary = analysis.summary
    groups: Mapping[str, Mapping[str, Any]] = summary["groups"]
    changes = summary["rows"] > 1
    distance = _number(summary["live_dead_distance"])
    exponents = summary["exponents"]
    events = ", ".join(
        f"{count:,} {kind}{'s' * (count > 1)}" for kind, count in summary["events"].items() if count
    )
    found = {
        OVERVIEW: {
            "matrix": summary["matrix"],
            "initialisation": summary["initialisation"] or _NONE,
            "stored type": summary["dtype"],
            "steps": _steps(summary),
            "tokens": f"{summary['tokens']:,}" + _of_both(summary),
            label_of("loss"): _arrow(summary["loss_first"], summary["loss_last"], changes=changes),
            f"{label_of('unigram_entropy')} (nats)": _number(summary["unigram_entropy"]),
            f"{label_of('unigram_loss')} (nats)": _number(summary["unigram_loss"]),
            label_of("live_dead_distance"): distance,
            label_of("events"): events or "none",
            label_of("dead_coherence"): _number(summary["dead_coherence"]),
            f"{label_of('phases.moving')} of a dead token (step)": _number(
                summary["phases"]["dead"]["moving"]
            ),
            f"{label_of('exponents.centroid')} (1: random walk, 2: straight)": _fit(
                exponents["centroid"]["all"]
            ),
            f"{label_of('exponents.tokens')}, live tokens": _fit(exponents["tokens"]["live"]),
        }
    }
    for label, variable, group in told_by_group(groups):
        found.setdefault(SECTIONS[variable.name], {})[label] = _told(groups[group], variable, changes=changes)
    own = {
        f"{label}, {name} tokens": text
        for name, of in groups.items()
        if name not in GROUPS
        for label, text in _of_own_group(of, exponents["tokens"][name], changes=changes)
    }
    return {**found, "Groups of one's own": own} if own else found


def _of_own_group(
    values: Mapping[str, Any], exponent: Mapping[str, Any], *, changes: bool
) -> Iterator[tuple[str, str]]:
    """Lines of a group of the user's own: its size, what tables tell of all tokens, and how it spreads."""
    yield "number", f"{values['tokens']:,}"
    for _, variable, group in told_by_group({"": values}):
        if group == "all":
            yield variable.label, _told(values, variable, changes=changes)
    yield label_of("exponents.tokens"), _fit(exponent)


def settings_of(columns: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each setting that any run has; where they differ, in bold."""
    rows = []
    for name in dict.fromkeys(name for column in columns for name in column):
        cells = [_plain(column[name]) if name in column else _NONE for column in columns]
        differ = len(set(cells)) > 1
        rows.append([tag("b", cell) if differ else cell for cell in (name.replace("_", " "), *cells)])
    return rows


def thresholds_table(thresholds: Thresholds) -> Markup:
    """Every threshold with its value and the reason for the default; a value that was changed says so."""
    defaults, reasons = Thresholds().to_json(), Thresholds.reasons()
    rows = []
    for name, value in thresholds.to_json().items():
        changed = f" (changed from {defaults[name]:g})" if value != defaults[name] else ""
        rows.append([tag("code", name), f"{value:g}{changed}", reasons[name]])
    return table(("Threshold", "Value", "Why"), rows, class_="thresholds")


def effects_table(comparison: Comparison) -> Markup:
    """Medians of each group, with intervals, and Cohen's d of each pair of groups."""
    pairs = list(dict.fromkeys((effect.one, effect.other) for effect in comparison.effects))
    head = ["Median over runs", *(f"{group.label} ({len(group.runs)} runs)" for group in comparison.groups)]
    head += [f"Cohen's d, {one} against {other}" for one, other in pairs]
    rows = []
    for index, first in enumerate(comparison.groups[0].quantities):
        row = [first.name]
        for group in comparison.groups:
            of = group.quantities[index]
            interval = f" ({_number(of.low)} to {_number(of.high)})" if len(of.values) > 1 else ""
            row.append(_number(of.median) + interval)
        for effect in comparison.effects:
            if effect.quantity == first.name:
                interval = (
                    "" if math.isnan(effect.low) else f" ({_number(effect.low)} to {_number(effect.high)})"
                )
                row.append(_number(effect.d) + interval)
        rows.append(row)
    return joined(table(head, rows, class_="numbers"))


def _of_both(summary: Mapping[str, Any]) -> str:
    if summary["live"] is None:
        return "; which are dead is not known"
    return f": {summary['live']:,} live, {summary['dead']:,} dead"


def _steps(summary: Mapping[str, Any]) -> str:
    first, last, rows = (summary[name] for name in ("first_step", "last_step", "rows"))
    return f"{first:,} to {last:,}, {rows:,} recorded" if rows > 1 else f"{last:,}, the only one recorded"


def _told(group: Mapping[str, Any], variable: Variable, *, changes: bool) -> str:
    last = last_of(group, variable)
    if variable.told is None or not variable.told.change:
        return _number(last)
    return _arrow(group.get(f"{variable.name}_first"), last, changes=changes)


def _arrow(first: float | str | None, last: float | str | None, *, changes: bool) -> str:
    """From the first to the last; of a run of one row, what it is."""
    if first is None and last is None:
        return _NONE
    return f"{_number(first)} → {_number(last)}" if changes else _number(last)


def _fit(fit: Mapping[str, Any]) -> str:
    if fit["value"] is None:
        return _NONE
    interval = "" if fit["low"] is None else f" ({_number(fit['low'])} to {_number(fit['high'])})"
    halves = ", ".join(
        f"{_number(fit[half])} at the {words} lags"
        for half, words in (("short", "shorter"), ("long", "longer"))
        if fit[half] is not None
    )
    return f"{_number(fit['value'])}{interval}; {halves}" if halves else _number(fit["value"]) + interval


def _number(value: float | str | None) -> str:
    number = number_of(value)
    if math.isnan(number):
        return _NONE
    return f"{number:,.0f}" if number.is_integer() else f"{number:#.3g}".rstrip(".")


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
