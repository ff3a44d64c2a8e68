"""From a recorded run to numbers, verdicts and figures. Imports from embevo.run only.

``__all__`` is public, see docs/api.md; all else is free to change with any version.
"""

from embevo.errors import MissingLibraryError

try:
    from embevo.analysis.analyze import Analysis, analyze
    from embevo.analysis.auditing.audit import audit
    from embevo.analysis.auditing.findings import Audit
    from embevo.analysis.comparison import Comparison, compare
    from embevo.analysis.explaining.explain import explain
    from embevo.analysis.explaining.explanation import Explanation
    from embevo.analysis.nulls.distribution import NullDistribution, null_distribution
    from embevo.analysis.nulls.judged import Chances, judged_surrogates
    from embevo.analysis.nulls.surrogate_run import write_surrogate
    from embevo.analysis.nulls.surrogates import surrogates
    from embevo.analysis.verdicts.thresholds import Thresholds
    from embevo.analysis.verdicts.verdict import Verdict
except ModuleNotFoundError as error:
    if error.name != "xarray":
        raise
    raise MissingLibraryError("The analysis needs xarray: pip install 'embevo[analysis]'.") from error

__all__ = [
    "Analysis",
    "Audit",
    "Chances",
    "Comparison",
    "Explanation",
    "NullDistribution",
    "Thresholds",
    "Verdict",
    "analyze",
    "audit",
    "compare",
    "explain",
    "judged_surrogates",
    "null_distribution",
    "surrogates",
    "write_surrogate",
]
