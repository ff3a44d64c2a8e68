"""explain(): what each step asked of one token, and what its dtype kept of it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.auditing.settings import OptimizerSettings, settings_of
from embevo.analysis.explaining.explanation import Explanation, Floats
from embevo.analysis.explaining.parts import Parts, Recorded, half_gap, parts_of
from embevo.errors import AnalysisError
from embevo.run.paths import PathLike
from embevo.run.reading.reader import Run, open_run

_GRADIENT: Final = "grad"
# Of all arrays together in float64, worked on at a time.
_BLOCK_BYTES: Final = 64 << 20


def explain(
    run: Run | PathLike,
    token: int | str,
    *,
    array: str | None = None,
    optimizer: Mapping[str, Any] | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Take a token's updates apart: gradient, momentum, decay; attempted and realised; common and own.

    What was attempted is computed in float64 from the recorded weights, gradient, moments and learning rate;
    what was realised is the difference of the recorded weights. The rest was rounded away.

    Args:
        run: the run, or where it lies.
        token: its id or its text.
        array: the matrix ``(token, dim)``; by default the embeddings, or the run's first one.
        optimizer: settings in place of those that the run says, as for :func:`audit`.
        on_rows: called now and then with how many rows are done, of how many.

    Raises:
        AnalysisError: gradient, moments or the optimizer's settings are not recorded; the message says which
            line records them.
        ArgumentError: there is no such token, or a setting has a value that it cannot have.
        DamagedError: stored bytes are not what was written.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    name = opened.frame.main if array is None else array
    spec = opened.frame.by_name.get(name)
    if spec is None or len(spec.shape) != 2 or spec.dimensions[0] != "token":
        raise AnalysisError(f"{opened.path} has no matrix (token, dim) called {name}")
    settings = settings_of(opened, name, optimizer)
    _check_arrays(opened, name, settings)
    names = opened.token_names
    place = int(np.searchsorted(names.ids, names.id_of(token)))
    follows = np.diff(opened.steps, prepend=-2) == 1
    follows[:1] = False
    rates = opened["learning_rate"][:]
    rows = np.flatnonzero(follows & np.isfinite(rates))
    if not len(rows):
        raise AnalysisError(
            f"{opened.path} has no two successive steps with a learning rate, and an update leads from "
            "one to the next: record every step, steps=1"
        )
    found: dict[str, list[Floats]] = {}
    passed_over = 0
    longest = max(1, _BLOCK_BYTES // (8 * 10 * spec.shape[0] * spec.shape[1]))
    for start in range(1, len(opened.steps), longest):
        block = slice(start, min(start + longest, len(opened.steps)))
        native, parts, made = _block(opened, name, settings, block, passed_over)
        passed_over += int((~made).sum())
        kept = _of_token(native, parts, place) | _of_paths(opened, name, block, place)
        for key, values in kept.items():
            found.setdefault(key, []).append(values)
        if on_rows is not None:
            on_rows(block.stop, len(opened.steps))
    taken = {key: np.concatenate(values)[rows - 1] for key, values in found.items()}
    return Explanation(
        run_path=str(opened.path),
        array=name,
        token=int(names.ids[place]),
        label=names.labels[place],
        settings=settings,
        dtype=spec.dtype,
        steps=opened.steps[rows],
        **taken,
    )


def _check_arrays(run: Run, name: str, settings: OptimizerSettings) -> None:
    wanted = [name, *(f"{name}.{part}" for part in (_GRADIENT, *settings.moments))]
    missing = [one for one in wanted if one not in run.frame.by_name]
    if missing:
        what = ", ".join(f'"{one}"' for one in wanted)
        short = ",".join(("weights", _GRADIENT, *settings.moments))
        raise AnalysisError(
            f"{run.path} has no {' and no '.join(missing)}, without which updates cannot be taken apart. "
            f"embevo.record(model, optimizer, run_dir, what=[{what}]) records it, and so does embevo train "
            f"--record {short}"
        )


def _block(
    run: Run, name: str, settings: OptimizerSettings, rows: slice, passed_over: int
) -> tuple[NDArray[Any], Parts, NDArray[np.bool_]]:
    """For the updates that lead to some rows: native weights with those before, parts, and which were made.

    Args:
        run: the run.
        name: of the matrix.
        settings: of the optimizer.
        rows: which.
        passed_over: how many steps before them had no gradient, which an optimizer does not count.
    """
    both = slice(rows.start - 1, rows.stop)
    native = run[name].native[both]
    gradient = run[f"{name}.{_GRADIENT}"].native[rows].astype(np.float64)
    made = np.count_nonzero(~np.isnan(gradient), axis=(1, 2)) > 0
    moments = {moment: run[f"{name}.{moment}"].native[both].astype(np.float64) for moment in settings.moments}
    second = moments.get("max_exp_avg_sq", moments.get("exp_avg_sq"))
    counts = run.steps[rows] - settings.first_step + settings.steps_done - passed_over - np.cumsum(~made)
    parts = parts_of(
        settings,
        Recorded(
            weights=native[:-1].astype(np.float64),
            gradient=gradient,
            # NaN stands for moments that do not exist yet.
            before={moment: np.nan_to_num(values[:-1], nan=0.0) for moment, values in moments.items()},
            second=None if second is None else second[1:],
            counts=np.maximum(counts, 1),
            rates=run["learning_rate"][rows],
        ),
    )
    # Without a gradient an optimizer passes a parameter over, and asks for nothing.
    return native, Parts(*(np.where(made[:, np.newaxis, np.newaxis], part, 0.0) for part in parts)), made


def _of_paths(run: Run, name: str, rows: slice, place: int) -> dict[str, Floats]:
    """A token's gradients by the two uses of a tied matrix, where they are recorded."""
    arrays = {f"by_{path}": f"{name}.{_GRADIENT}.{path}" for path in ("input", "output")}
    return {
        key: run[array].native[rows, place].astype(np.float64)
        for key, array in arrays.items()
        if array in run.frame.by_name
    }


def _of_token(native: NDArray[Any], parts: Parts, place: int) -> dict[str, Floats]:
    """The arrays of an explanation."""
    attempted = parts.gradient + parts.momentum + parts.decay
    weights = native[:, place].astype(np.float64)
    return {
        "weights": weights[:-1],
        "gradient": parts.gradient[:, place],
        "momentum": parts.momentum[:, place],
        "decay": parts.decay[:, place],
        "realised": weights[1:] - weights[:-1],
        "half_gap": half_gap(native[:-1, place], attempted[:, place]),
        "common": attempted.mean(axis=1),
    }
