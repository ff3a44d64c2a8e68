"""findings(): what was found of a run, in plain words with the numbers, the most telling first."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

    from embevo.analysis.analyze import Analysis

_SAME_FORM: Final = 0.95


def findings(analysis: "Analysis") -> list[str]:
    """Sentences on what applies to a run; nothing is said of what was not measured or does not apply."""
    found: list[str] = []
    for of in (
        _places,
        _holes,
        _growth,
        _motion,
        _rest,
        _kicks,
        _common,
        _form,
        _time,
        _frequency,
        _unused,
        _loss,
    ):
        found.extend(of(_Told(analysis)))
    return found


class _Told:
    """An analysis, asked for numbers of groups.

    Attributes:
        series: of it.
        summary: of it.
        steps: ``(step,)`` global steps.
        last: the last of them.
        changes: whether there are two of them, between which something can change.
    """

    def __init__(self, analysis: "Analysis") -> None:
        self.series: xr.Dataset = analysis.series
        self.summary = analysis.summary
        self.steps: NDArray[np.int64] = analysis.series["step"].to_numpy()
        self.last = int(self.steps[-1])
        self.changes = len(self.steps) > 1

    @property
    def apart(self) -> list[str]:
        """Live and dead where both are there, else all."""
        return ["live", "dead"] if self.summary["live"] and self.summary["dead"] else ["all"]

    def has(self, name: str) -> bool:
        """Whether it was measured."""
        return name in self.series

    def of(self, name: str, group: str = "all") -> NDArray[Any]:
        """A variable of a group, along its other axes."""
        return np.asarray(self.series[name].sel(group=group).to_numpy())

    def ends(self, name: str, group: str) -> tuple[float, float]:
        """Its first and last value."""
        values = self.of(name, group)
        return float(values[0]), float(values[-1])

    def size(self, group: str) -> int:
        """How many tokens it has."""
        return int(self.summary["groups"][group]["tokens"])


def _places(told: _Told) -> Iterator[str]:
    total = told.size("all")
    first, last = told.ends("distinct_rows", "all")
    if total > 1 and (first < total or last < total):
        before = f"at step {_number(told.steps[0])} and " if told.changes else ""
        if first != last:
            before = f"{before}{_different(last)} "
        yield f"{_tokens(total)} have {_different(first)} {before}at step {_number(told.last)}."


def _holes(told: _Told) -> Iterator[str]:
    _, inside = told.ends("black_hole_population", "all")
    _, holes = told.ends("black_holes", "all")
    if not inside:
        return
    largest = told.ends("black_hole_largest", "all")[1]
    many = (
        "one black hole"
        if holes == 1
        else f"{_number(holes)} black holes, of which the largest has {_number(largest)}"
    )
    share = told.summary["jaccard_all"]
    same = ""
    if share is not None and told.summary["dead"]:
        same = (
            ": exactly the dead"
            if share == 1
            else f"; their overlap with the dead (Jaccard) is {_number(share)}"
        )
    become = "end as" if told.changes else "are"
    yield f"{_tokens(inside)} {become} {many}, the same in every bit{same}."


def _growth(told: _Told) -> Iterator[str]:
    parts = []
    for group in told.apart:
        first, last = told.ends("radius_rms", group)
        if math.isfinite(first) and math.isfinite(last) and (first or last):
            parts.append(f"of the {_called(group)}s {_goes(first, last, changes=told.changes)}")
    if parts:
        yield f"The RMS radius {', that '.join(parts)}."


def _motion(told: _Told) -> Iterator[str]:
    for group in told.apart:
        phases = told.summary["phases"][group]
        if phases["moving"] is not None and phases["frozen"]:
            way, moving, flowing = "", _number(phases["moving"]), phases["flowing"]
            if flowing is not None:
                way = f"; its last step of more than sqrt(dim) ULPs is {_number(flowing)}"
            yield f"No {_called(group)} moves after step {moving} of {_number(told.last)}{way}."


def _rest(told: _Told) -> Iterator[str]:
    if not told.has("population") or len(told.steps) < 2:
        return
    flowing, resting = (
        told.series["population"].sel(state=state).to_numpy() for state in ("flowing", "at rest")
    )
    groups = told.series["group"].to_numpy().tolist()
    for group in told.apart:
        place, size = groups.index(group), told.size(group)
        if told.summary["phases"][group]["frozen"] or not size:
            continue
        yield (
            f"In the last interval {_number(resting[-1, place])} of {_number(size)} {_called(group)}s are at "
            f"rest and {_number(flowing[-1, place])} move by more than sqrt(dim) ULPs."
        )


def _kicks(told: _Told) -> Iterator[str]:
    kicks = told.summary.get("kicks")
    if kicks and kicks["all"]:
        times = "once" if kicks["all"] == 1 else f"{_number(kicks['all'])} times"
        yield f"A rest of ten intervals or more ends with a kick {times}: a token moves again."


def _common(told: _Told) -> Iterator[str]:
    if not told.has("common_motion") or len(told.steps) < 2:
        return
    for group in told.apart:
        most = told.of("common_motion", group)[1:] > 0.5
        if told.size(group) > 1 and most.any():
            ahead = int(np.argmin(most))
            share = f"{_number(most.sum())} of {_number(len(most))} intervals"
            if most.all():
                share = f"all {_number(len(most))} intervals"
            elif ahead > 1:
                share += f", the first {_number(ahead)} without a break,"
            yield f"In {share} more than half of the motion of the {_called(group)}s is common to them."


def _form(told: _Told) -> Iterator[str]:
    group = "live" if told.summary["live"] else "all"
    parts = []
    for name, words in (("rankme", "effective rank"), ("participation", "participation ratio")):
        if told.has(name):
            first, last = told.ends(name, group)
            if math.isfinite(last):
                begin = f"from {_number(first)} to " if told.changes and math.isfinite(first) else ""
                parts.append(f"{words} {begin}{_number(last)}")
    if parts:
        dim = told.summary["dim"]
        yield f"How many of the {_number(dim)} dimensions the {_called(group)}s use: {', '.join(parts)}."
    if told.has("mean_cosine") and told.has("common_place"):
        cosine, place = told.ends("mean_cosine", group)[1], told.ends("common_place", group)[1]
        if min(cosine, place) > 0.5:
            ends = "ends at" if told.changes else "is"
            yield (
                f"The mean cosine between {_called(group)}s {ends} {_number(cosine)} because the cloud lies "
                f"off the origin: {_percent(place)} of the second moment is its centre's. It says nothing of "
                f"its form."
            )


def _time(told: _Told) -> Iterator[str]:
    group = "live" if told.summary["live"] else "all"
    if told.has("cka_last"):
        values, steps = told.of("cka_last", group), told.series["measured_step"].to_numpy()
        far = np.flatnonzero(~(values >= _SAME_FORM))
        if len(far) and far[-1] + 1 < len(steps) - 1:
            yield (
                f"From step {_number(steps[far[-1] + 1])} on the {_called(group)}s have their final form: "
                f"the linear CKA with the last row stays above {_SAME_FORM}."
            )


def _frequency(told: _Told) -> Iterator[str]:
    rare, frequent = (told.summary.get(f"way_made_{end}") for end in ("rare", "frequent"))
    # Where no tenth is near its end before the last step, that is no finding.
    if rare is not None and frequent is not None and 0 <= min(rare, frequent) < told.last:
        yield (
            f"The most frequent tenth of the tokens has a tenth of its way left from step "
            f"{_number(frequent)} on, the rarest from step {_number(rare)} on."
        )


def _unused(told: _Told) -> Iterator[str]:
    count = told.summary.get("undertrained")
    if count:
        verb = "looks" if count == 1 else "look"
        yield f"{_tokens(count)} that occur in the corpus {verb} as unused as half of the dead do."


def _loss(told: _Told) -> Iterator[str]:
    first, last, baseline = (told.summary[name] for name in ("loss_first", "loss_last", "unigram_loss"))
    if first is not None and last is not None:
        beside = ""
        if baseline is not None:
            side = "below" if last < baseline else "not below"
            beside = f", {side} the {_number(baseline)} of a model that knows frequencies only"
        changes = np.isfinite(told.series["loss"].to_numpy()).sum() > 1
        yield f"The loss {_goes(first, last, changes=bool(changes))}{beside}."
    if told.has("logit_entropy"):
        entropy = told.series["logit_entropy"].to_numpy()
        # There is none of a step before the first forward pass.
        known = entropy[np.isfinite(entropy)]
        if len(known):
            goes = _goes(known[0], known[-1], changes=len(known) > 1)
            yield (
                f"The entropy of the mean logits' softmax {goes} nats; "
                f"{_number(math.log(told.size('all')))} is the most there can be."
            )


def _goes(first: float, last: float, *, changes: bool) -> str:
    """What a number does from the first step that has it to the last; of one step, what it is."""
    if not changes:
        return f"is {_number(last)}"
    return f"stays at {_number(last)}" if first == last else f"goes from {_number(first)} to {_number(last)}"


def _called(group: str) -> str:
    return "token" if group == "all" else f"{group} token"


def _tokens(count: float) -> str:
    return f"{_number(count)} token" if count == 1 else f"{_number(count)} tokens"


def _different(count: float) -> str:
    return "one and the same vector" if count == 1 else f"{_number(count)} different vectors"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _number(value: Any) -> str:
    number = float(value)
    return f"{number:,.0f}" if number.is_integer() else f"{number:.3g}"
