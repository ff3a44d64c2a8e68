"""What happened in a training, as lines for people: the notebook's summary, computed without its rounding."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embevo.experiment.outcome import DeadTokens, Outcome


def outcome_lines(outcome: "Outcome", dtype: str) -> list[str]:
    """Lines about a model whose parameters have a dtype."""
    first, last = outcome.steps
    changes = {
        "smallest token norm": outcome.norm_least,
        "mean token norm": outcome.norm_mean,
        "largest token norm": outcome.norm_most,
        "centroid norm": outcome.centroid_norm,
    }
    rows = [("", f"step {first:,}", f"step {last:,}")]
    rows += [(name, f"{of.first:.6f}", f"{of.last:.6f}") for name, of in changes.items()]
    rows.append(("distinct vectors", f"{outcome.distinct[0]:,}", f"{outcome.distinct[1]:,}"))
    if outcome.loss is not None:
        rows.append(("loss, first and last", f"{outcome.loss.first:.4f}", f"{outcome.loss.last:.4f}"))
    lines = [f"{name:<22}{before:>12}{after:>14}".rstrip() for name, before, after in rows]
    lines.append(f"The centroid moved by {outcome.centroid_moved:.6f}.")
    if outcome.dead is not None:
        lines += _dead(outcome.dead, outcome.tokens)
    frozen = {name: of.frozen_in_bfloat16 for name, of in changes.items()}
    stuck = [f"{name} {value:.6f}" for name, value in frozen.items() if value is not None]
    if dtype == "bfloat16" and stuck:
        lines.append(f"In bfloat16 arithmetic these would seem not to have moved: {', '.join(stuck)}.")
    return lines


def _dead(dead: "DeadTokens", tokens: int) -> list[str]:
    least, mean, most = dead.moved
    before, after = dead.distinct
    share = f"{dead.count:,} of {tokens:,} ({100 * dead.count / tokens:.1f} %)"
    norms = f"{dead.from_origin.first:.6f} to {dead.from_origin.last:.6f}"
    lines = [f"Dead tokens: {share}; {before:,} distinct at first, {after:,} at last."]
    lines.append(f"They moved by {mean:.6f} on average ({least:.6f} to {most:.6f}).")
    lines.append(f"The norm of their centroid went from {norms}.")
    if dead.from_live is not None:
        lines.append(f"Their centroid ended {dead.from_live:.6f} away from that of the live tokens.")
    return lines
