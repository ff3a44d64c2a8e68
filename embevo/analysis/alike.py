"""Which runs are alike: what each says of itself, without what makes it another sample of the same thing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from embevo.analysis.analyze import Analysis
from embevo.run.format.settings import EXPERIMENT, Meaning, setting_apart

# Attributes that say how a run was carried out, or that are compared by themselves.
_APART: Final = frozenset(("config", "corpus", "versions", "environment", "vocabulary", EXPERIMENT))
# Settings that say how long a run is.
LENGTHS: Final = frozenset(("steps", "max_steps"))
# A longer value of a setting is cut short in the label of a group.
_LONGEST_VALUE: Final = 40


def identity(analysis: Analysis, but: Collection[str] = ()) -> str:
    """A text that is equal for runs that differ in their seed alone, or in settings of these names, too."""
    settings = _settings(analysis, but)
    if analysis.is_experiment:
        # A switch that is off is as good as one that a run from before it does not have.
        settings = {name: value for name, value in settings.items() if value is not False}
    what = [analysis.summary[name] for name in ("initialisation", "dtype", "tokens", "dim", "matrix")]
    return repr((sorted(settings.items()), analysis.corpus.get("sha256"), what))


def seed_of(analysis: Analysis) -> str:
    """What makes a run another sample of the same thing, its seed; its directory, where it does not say."""
    flat, meanings = _said(analysis)
    samples = [str(value) for name, value in flat.items() if meanings[name] == "sample" and value is not None]
    return ", ".join(samples) or str(analysis.run_path)


def labels(firsts: Sequence[Analysis], but: Collection[str] = ()) -> list[str]:
    """What sets each group of runs, of which these are the first, apart from the others."""
    described = [
        _settings(first, but)
        | {"initialisation": first.summary["initialisation"], "matrix": first.summary["matrix"]}
        | {"corpus": first.corpus.get("name", first.config.get("corpus"))}
        for first in firsts
    ]
    names = dict.fromkeys(name for fields in described for name in fields)
    differing = [name for name in names if len({repr(fields.get(name)) for fields in described}) > 1]
    by_settings = [name for name in differing if name != "initialisation"]
    # What settings say already is not said twice.
    if len({_described(fields, by_settings) for fields in described}) == len(described):
        differing = by_settings
    found = [_described(fields, differing) for fields in described]
    # Groups that differ in something else, such as their shapes, are numbered.
    return [
        label if found.count(label) == 1 else f"{label} ({found[:index].count(label) + 1})"
        for index, label in enumerate(found)
    ]


def _settings(analysis: Analysis, but: Collection[str]) -> dict[str, Any]:
    """Those that decide what a run computes, and not how it is carried out or kept."""
    flat, meanings = _said(analysis)
    return setting_apart({name: value for name, value in flat.items() if name not in but}, meanings)


def _said(analysis: Analysis) -> tuple[dict[str, Any], dict[str, Meaning]]:
    """What attributes say, nested ones as ``outer.inner``, those of ``config`` as ``inner``; its meaning."""
    rest = {name: value for name, value in analysis.attributes.items() if name not in _APART}
    flat = dict(_flat(analysis.config))
    # A name that is in both places is two settings.
    flat |= {f"attributes.{name}" if name in flat else name: value for name, value in _flat(rest)}
    return flat, {name: analysis.meanings.get(name.rpartition(".")[2], "numbers") for name in flat}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _described(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(_setting(fields, name) for name in names) or "all"


def _setting(fields: Mapping[str, Any], name: str) -> str:
    if fields.get(name) is None:
        return f"no {name}"
    value = str(fields[name])
    return f"{name}={value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + '...'}"
