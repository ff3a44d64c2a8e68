"""What can go wrong with an analysis."""

from embevo.run.errors import EmbevoError


class AnalysisError(EmbevoError):
    """What was asked for cannot be computed from this run."""


class MissingLibraryError(EmbevoError, ImportError):
    """A library that only the analysis needs is not installed."""
