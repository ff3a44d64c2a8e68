"""The list of all measures. Whoever adds one adds a line to it, and everything else follows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from embevo.analysis.measures.alpha_req import AlphaReq
from embevo.analysis.measures.axes import Axes
from embevo.analysis.measures.black_holes import BlackHoles
from embevo.analysis.measures.centroid import Centroid
from embevo.analysis.measures.cka import Cka
from embevo.analysis.measures.coherence import Coherence
from embevo.analysis.measures.common_drift import CommonDrift
from embevo.analysis.measures.convergence import Convergence
from embevo.analysis.measures.diffusion import Diffusion
from embevo.analysis.measures.direction import Direction
from embevo.analysis.measures.displacement import Displacement
from embevo.analysis.measures.events import Events
from embevo.analysis.measures.flow import Flow
from embevo.analysis.measures.groups import GroupName
from embevo.analysis.measures.isoscore import IsoScore
from embevo.analysis.measures.life_cycle import LifeCycle
from embevo.analysis.measures.logits import Logits
from embevo.analysis.measures.mean_cosine import MeanCosine
from embevo.analysis.measures.measure import Measure, Number, Variable
from embevo.analysis.measures.measured_steps import MeasuredSteps
from embevo.analysis.measures.neighbours import Neighbours
from embevo.analysis.measures.outline import Outline
from embevo.analysis.measures.participation import Participation
from embevo.analysis.measures.pinned import Pinned
from embevo.analysis.measures.principal_components import PrincipalComponents
from embevo.analysis.measures.procrustes import Procrustes
from embevo.analysis.measures.radius import Radius
from embevo.analysis.measures.rankme import RankMe
from embevo.analysis.measures.signed_ulps import SignedUlps
from embevo.analysis.measures.spectrum import Spectrum
from embevo.analysis.measures.stillness import Stillness
from embevo.analysis.measures.token_norm import TokenNorm
from embevo.analysis.measures.training import Training
from embevo.analysis.measures.travel import Travel
from embevo.analysis.measures.twonn import TwoNN
from embevo.analysis.measures.ulp_graph import UlpGraph
from embevo.analysis.measures.ulps import Ulps
from embevo.analysis.measures.undertrained import Undertrained
from embevo.analysis.measures.walk import Walk
from embevo.errors import ArgumentError

# All are in the order of the documentation and of the tables. One that needs arrays of another stands after
# it. What verdicts, figures and films are made of is always measured.
ALWAYS: Final[tuple[type[Measure], ...]] = (
    Axes,
    MeasuredSteps,
    Radius,
    TokenNorm,
    Centroid,
    Spectrum,
    PrincipalComponents,
    BlackHoles,
    Events,
    Displacement,
    Flow,
    Coherence,
    Diffusion,
    Walk,
    Travel,
    Ulps,
    Pinned,
    Training,
)
# Of these, what simulates chance itself, which takes longer than all others of a short run together.
SIMULATED: Final[tuple[type[Measure], ...]] = (Walk, Travel)
# Measured unless others are chosen.
USUAL: Final[tuple[type[Measure], ...]] = (
    RankMe,
    AlphaReq,
    Participation,
    IsoScore,
    MeanCosine,
    Cka,
    Procrustes,
    Direction,
    Convergence,
    CommonDrift,
    LifeCycle,
    Stillness,
    SignedUlps,
    Undertrained,
    Logits,
)
# Measured where they are asked for: they compare pairs of tokens.
COSTLY: Final[tuple[type[Measure], ...]] = (TwoNN, Neighbours, UlpGraph)
MEASURES: Final = (*ALWAYS, *USUAL, *COSTLY)
VARIABLES: Final[dict[str, Variable]] = {
    variable.name: variable for measure in MEASURES for variable in measure.variables
}
NUMBERS: Final[dict[str, Number]] = {
    number.name: number for measure in MEASURES for number in measure.numbers
}


# Heading in docs/analysis.md of each variable.
SECTIONS: Final[dict[str, str]] = {
    variable.name: measure.section for measure in MEASURES for variable in measure.variables
}


def label_of(name: str) -> str:
    """What tables call a number of the summary, or else a variable."""
    return (NUMBERS[name] if name in NUMBERS else VARIABLES[name]).label


def names_of(measures: Sequence[type[Measure]]) -> tuple[str, ...]:
    """By which measures are chosen."""
    return tuple(measure.called() for measure in measures)


def chosen(wanted: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the measures that are taken beside those that always are, in the order of the list.

    Args:
        wanted: names of measures, or ``default``, ``all`` or ``core`` (no others), in a sequence or with
            commas.

    Raises:
        ArgumentError: there is no such measure.
    """
    words = wanted.split(",") if isinstance(wanted, str) else wanted
    selectable = names_of((*USUAL, *COSTLY))
    sets = {"default": names_of(USUAL), "all": selectable, "core": ()}
    found: set[str] = set()
    for word in (word.strip() for word in words):
        if word not in sets and word not in names_of(MEASURES):
            raise ArgumentError(
                f"there is no measure {word!r}; choose among {', '.join((*sets, *selectable))} "
                f"({', '.join(names_of(ALWAYS))} are always measured)"
            )
        found.update(sets.get(word, (word,)))
    return tuple(name for name in selectable if name in found)


def measures_of(outline: Outline) -> tuple[type[Measure], ...]:
    """What is measured of a run: what always is and what is chosen, as far as it applies."""
    names = names_of(USUAL) if outline.measures is None else outline.measures
    return tuple(
        measure
        for measure in MEASURES
        if (measure in ALWAYS or measure.called() in names)
        and measure.called() not in outline.without
        and measure.applies(outline)
    )


def told(groups: Iterable[Mapping[str, Any]] | None = None) -> list[Variable]:
    """The variables over steps and groups that tables show, in the order of the list.

    Args:
        groups: summaries of the groups of a run: only what was measured of any; None for all there are.
    """
    known = None if groups is None else {name for group in groups for name in group}
    return [
        variable
        for variable in VARIABLES.values()
        if variable.told is not None and (known is None or _last_name(variable) in known)
    ]


def told_by_group(
    groups: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[tuple[str, Variable, GroupName]]:
    """The lines of a table that has no column for each group: a label, the variable, and the group.

    Args:
        groups: as for :func:`told`, by name.
    """
    return [
        (
            variable.label if variable.told.groups == ("all",) else f"{variable.label}, {group} tokens",
            variable,
            group,
        )
        for variable in told(None if groups is None else groups.values())
        if variable.told is not None
        for group in variable.told.groups
    ]


def last_of(group: Mapping[str, Any], variable: Variable) -> Any:
    """The last value of a told variable in the summary of a group; None for an empty group."""
    return group.get(_last_name(variable))


def _last_name(variable: Variable) -> str:
    """What its last value is called in the summary of a group."""
    changes = variable.told is not None and variable.told.change
    return f"{variable.name}_last" if changes else variable.name
