"""audit(): is every recorded step the one that the optimizer makes of the step before, to the last bit?"""

from collections.abc import Callable, Mapping
from typing import Any

from embevo.analysis.auditing.findings import Audit
from embevo.analysis.auditing.settings import settings_of
from embevo.errors import AnalysisError, MissingLibraryError
from embevo.run.paths import PathLike
from embevo.run.reading.reader import Run, open_run


def audit(
    run: Run | PathLike,
    *,
    array: str | None = None,
    optimizer: Mapping[str, Any] | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Audit:
    """Compute each recorded step of an optimizer again, and compare the bits with those recorded.

    Each W(t+1) follows from W(t), the gradient and the learning rate of step t+1 and the optimizer's moments
    by torch's own fused, foreach and plain AdamW, Adam or SGD, in the dtype of the training. Recorded moments
    are compared as well; without them they are carried on from the optimizer's first step. Where bits differ,
    causes are tried: a flipped bit, a missing step, moments kept in another dtype, a gradient recorded before
    clipping, a learning rate of the step before or after, another weight decay, another class.

    Args:
        run: the run, or where it lies.
        array: the parameter, by the name of its array; by default the embeddings, or the run's first array.
        optimizer: settings in place of those that the run says, such as ``{"weight_decay": 0.0}``: ``class``,
            ``implementation``, ``betas``, ``eps``, ``weight_decay``, ``momentum`` and others of torch's.
        on_rows: called now and then with how many steps are done, of how many.

    Raises:
        AnalysisError: it cannot be audited; the message says what is missing, and which line records it.
        ArgumentError: a setting has a value that it cannot have.
        DamagedError: stored bytes are not what was written.
        MissingLibraryError: torch is not installed.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    name = opened.frame.main if array is None else array
    if name not in opened.frame.by_name:
        raise AnalysisError(f"{opened.path} has no array {name}; it has {', '.join(opened.frame.by_name)}")
    settings = settings_of(opened, name, optimizer)
    try:
        # The arithmetic is torch's own; nothing else in the analysis needs it.
        from embevo.analysis.auditing.auditing import audited  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingLibraryError("An audit computes with torch itself: pip install torch") from error
    return audited(opened, name, settings, on_rows)
