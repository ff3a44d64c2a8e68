"""Whether the predictions of the experiment are about a run at all, and which of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr

from embevo.errors import AnalysisError
from embevo.run.format.provenance import is_experiment, surrogate_of
from embevo.run.format.settings import Initialisation, initialisation_of

# The array that the predictions are about.
EMBEDDING: Final = "embeddings"


@dataclass(frozen=True)
class Applicability:
    """Whether a run is judged.

    Attributes:
        initialisation: whose predictions it is judged by; None if it is not judged.
        statement: what the reader must know: why it is not judged, or that it is judged because that was
            asked for, or that it is no training. Empty for a run of the experiment.
    """

    initialisation: Initialisation | None
    statement: str

    @property
    def judged(self) -> bool:
        """Whether there are verdicts on it."""
        return self.initialisation is not None


def check_judgeable(matrix: str, missing: int = 0) -> None:
    """Refuse to judge what the predictions are not about.

    Args:
        matrix: name of the array.
        missing: how many tokens of the vocabulary are not recorded.

    Raises:
        AnalysisError: the array is not the embeddings, or not of all tokens.
    """
    if matrix != EMBEDDING:
        raise AnalysisError(
            f"the predictions are about {EMBEDDING}, and {matrix} is another array: it cannot be judged. "
            f"Leave out --judge (in Python judge=True), or choose --matrix {EMBEDDING}."
        )
    if missing:
        raise AnalysisError(
            f"the predictions are about the whole vocabulary, and {missing:,} of its tokens are not "
            "recorded: the run cannot be judged. Leave out --judge (in Python judge=True)."
        )


def applicability(
    attributes: Mapping[str, Any], matrix: str, series: xr.Dataset, *, judge: bool, missing: int = 0
) -> Applicability:
    """Find out whether the predictions are about an array.

    Args:
        attributes: of the run's group, which say whether it is a run of the experiment.
        matrix: name of the array.
        series: what was measured of it.
        judge: judge the embeddings of a run that is not the experiment's, too.
        missing: how many tokens of the vocabulary are not recorded.
    """
    surrogate = surrogate_of(attributes)
    if surrogate and not judge:
        return Applicability(
            None,
            f"This is {surrogate}: it shows what chance makes of a measure. --judge judges it all the same.",
        )
    found = _of_training(attributes, matrix, series, judge=judge, missing=missing)
    if not surrogate or not found.judged:
        return found
    statement = (
        f"NOT A TRAINING: this is {surrogate}. It is judged because that was asked for: a prediction that is "
        "supported here is supported by chance."
    )
    return Applicability(found.initialisation, statement)


def _of_training(
    attributes: Mapping[str, Any], matrix: str, series: xr.Dataset, *, judge: bool, missing: int
) -> Applicability:
    """See :func:`applicability`, of a run that a training made."""
    if matrix != EMBEDDING:
        return Applicability(
            None,
            f"The predictions of embevo's experiment are about {EMBEDDING}, and {matrix} is another array.",
        )
    if missing:
        return Applicability(
            None,
            "The predictions of embevo's experiment are about the whole vocabulary, and "
            f"{missing:,} of its tokens are not recorded.",
        )
    if is_experiment(attributes):
        return Applicability(initialisation_of(attributes), "")
    if not judge:
        return Applicability(
            None,
            "The predictions of embevo's experiment are not about this run: its configuration is not that of "
            "embevo train. --judge judges it by them all the same.",
        )
    said = initialisation_of(attributes)
    if said is not None:
        return Applicability(said, _on_request(f"its attributes say that its initialisation is {said}"))
    one_point = int(series["distinct_rows"][0, 0]) == 1 and series.sizes["token"] > 1
    because = "all its tokens start at one point" if one_point else "its tokens do not all start at one point"
    return Applicability("singular" if one_point else "normal", _on_request(because))


def _on_request(because: str) -> str:
    return (
        "The predictions were made for embevo's experiment, a small GPT-2 on bytes, and not for this run; it "
        f"is judged by them because that was asked for. Which of them: {because}."
    )
