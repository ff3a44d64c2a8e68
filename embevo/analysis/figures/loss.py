"""Loss against step, with the loss of a model that knows only how often each token occurs."""

import numpy as np

from embevo.analysis import Analysis
from embevo.analysis.figures.binning import log_bins, medians_in
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.style import ALL, DEAD, quiet_grid, step_axis
from embevo.errors import NothingToDrawError


def draw(analysis: Analysis) -> Drawing:
    """Draw it; NothingToDrawError if the run recorded no loss."""
    series = analysis.series
    steps = series["step"].to_numpy()
    loss = series["loss"].to_numpy() if "loss" in series else np.full(len(steps), np.nan)
    known = np.flatnonzero(np.isfinite(loss))
    if not len(known):
        raise NothingToDrawError("the run recorded no loss")
    drawing = Drawing.of(analysis)
    axes = drawing.figure.add_subplot()
    axes.plot(steps, loss, color="#A8A8A8", linewidth=0.6, rasterized=len(steps) > 2000)
    bins = log_bins(steps, 16)
    median = medians_in(loss, bins)
    axes.plot(
        [np.exp(np.log(part).mean()) if part[0] > 0 else 0 for part in np.split(steps, bins[1:])],
        median,
        color=ALL,
    )
    final = median[np.isfinite(median)][-1]
    # The tables have the loss of the last batch; this is the median of the last ones.
    drawing.label_end(axes, f"median {final:.2f}", final, ALL)
    unit = " nats" if analysis.is_experiment else ""
    drawing.alt = (
        f"Training loss against step: {loss[known[0]]:.2f}{unit} at step {steps[known[0]]:,}, "
        f"{loss[known[-1]]:.2f} at step {steps[known[-1]]:,}; the median of the last steps is {final:.2f}."
    )
    baseline = analysis.summary["unigram_loss"]
    if baseline is not None:
        axes.axhline(baseline, color=DEAD, linewidth=1, linestyle=(0, (5, 2)))
        axes.annotate(
            f"frequencies\nonly: {baseline:.2f}",
            (0, baseline),
            xycoords=axes.get_yaxis_transform(),
            xytext=(5, -3),
            textcoords="offset points",
            va="top",
            color=DEAD,
        )
        # The text is below the line, also where the loss never goes there.
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, baseline - 0.25 * (high - baseline)), high)
        drawing.alt += f" A model that knows only how often tokens occur would have {baseline:.2f} nats."
        if baseline != analysis.summary["unigram_entropy"]:
            drawing.notes.append(
                f"The dashed line is the unigram entropy, {analysis.summary['unigram_entropy']:.2f} nats, "
                "scaled as the loss is, which is divided by all labels of an example, though at the last of "
                "them nothing is predicted."
            )
    else:
        drawing.notes.append(_no_baseline(analysis))
    step_axis(axes, steps)
    axes.set_ylabel("training loss (nats per token)" if analysis.is_experiment else "training loss")
    quiet_grid(axes)
    drawing.comparable.append(axes)
    return drawing


def _no_baseline(analysis: Analysis) -> str:
    """Why there is no line to compare the loss with."""
    entropy = analysis.summary["unigram_entropy"]
    if entropy is not None:
        return (
            f"The unigram entropy of the token counts is {entropy:.2f} nats; it is not drawn, because what "
            "the recorded loss is, and in which unit, is not known."
        )
    if analysis.summary["live"] is not None:
        return "The counts are those of some of the tokens only, so there is no line to compare with."
    return "How often each token occurs is not known, so there is no line to compare with."
