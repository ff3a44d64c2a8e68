"""The list of all measures. Whoever adds one adds a line to it, and everything else follows."""

from collections.abc import Mapping
from typing import Any, Final

from embevo.analysis.measures.axes import Axes
from embevo.analysis.measures.black_holes import BlackHoles
from embevo.analysis.measures.centroid import Centroid
from embevo.analysis.measures.coherence import Coherence
from embevo.analysis.measures.diffusion import Diffusion
from embevo.analysis.measures.displacement import Displacement
from embevo.analysis.measures.events import Events
from embevo.analysis.measures.flow import Flow
from embevo.analysis.measures.groups import GroupName
from embevo.analysis.measures.measure import Measure, Number, Variable
from embevo.analysis.measures.principal_components import PrincipalComponents
from embevo.analysis.measures.radius import Radius
from embevo.analysis.measures.spectrum import Spectrum
from embevo.analysis.measures.token_norm import TokenNorm
from embevo.analysis.measures.training import Training
from embevo.analysis.measures.ulps import Ulps
from embevo.run.disk.checksum import checksum

# In the order of the documentation and of the tables. One that needs arrays of another stands after it.
MEASURES: Final[tuple[type[Measure], ...]] = (
    Axes,
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
    Ulps,
    Training,
)
VARIABLES: Final[dict[str, Variable]] = {
    variable.name: variable for measure in MEASURES for variable in measure.variables
}
NUMBERS: Final[dict[str, Number]] = {
    number.name: number for measure in MEASURES for number in measure.numbers
}


def label_of(name: str) -> str:
    """What tables call a number of the summary, or else a variable."""
    return (NUMBERS[name] if name in NUMBERS else VARIABLES[name]).label


def told() -> list[Variable]:
    """The variables over ``(step, group)`` that tables show, in the order of the list."""
    return [variable for variable in VARIABLES.values() if variable.told is not None]


def told_by_group() -> list[tuple[str, Variable, GroupName]]:
    """The lines of a table that has no column for each group: a label, the variable, and the group."""
    return [
        (
            variable.label if variable.told.groups == ("all",) else f"{variable.label}, {group} tokens",
            variable,
            group,
        )
        for variable in told()
        if variable.told is not None
        for group in variable.told.groups
    ]


def last_of(group: Mapping[str, Any], variable: Variable) -> Any:
    """The last value of a told variable in the summary of a group; None for an empty group."""
    changes = variable.told is not None and variable.told.change
    return group.get(f"{variable.name}_last" if changes else variable.name)


def digest() -> str:
    """Changes with any declaration and with the version of any measure: what was kept before is of no use."""
    declared = [(of.__name__, of.version, of.variables, of.numbers) for of in MEASURES]
    return f"{checksum(repr(declared).encode()):016x}"
