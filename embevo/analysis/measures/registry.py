"""The list of all measures. Whoever adds one adds a line to it, and everything else follows."""

from typing import Final

from embevo.analysis.measures.axes import Axes
from embevo.analysis.measures.black_holes import BlackHoles
from embevo.analysis.measures.centroid import Centroid
from embevo.analysis.measures.coherence import Coherence
from embevo.analysis.measures.diffusion import Diffusion
from embevo.analysis.measures.displacement import Displacement
from embevo.analysis.measures.events import Events
from embevo.analysis.measures.flow import Flow
from embevo.analysis.measures.measure import Measure, Variable
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
_NUMBERS: Final = {number.name: number for measure in MEASURES for number in measure.numbers}


def label_of(name: str) -> str:
    """What tables call a number of the summary, or else a variable."""
    return (_NUMBERS[name] if name in _NUMBERS else VARIABLES[name]).label


def told() -> list[Variable]:
    """The variables over ``(step, group)`` that tables show, in the order of the list."""
    return [variable for variable in VARIABLES.values() if variable.told is not None]


def digest() -> str:
    """Changes with any declaration and with the version of any measure: what was kept before is of no use."""
    declared = [(of.__name__, of.version, of.variables, of.numbers) for of in MEASURES]
    return f"{checksum(repr(declared).encode()):016x}"
