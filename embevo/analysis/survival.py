"""Whether a verdict survives: another seed, number of threads, machine and length, and pieces of the run."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from embevo.analysis.alike import LENGTHS, identity, labels, seed_of
from embevo.analysis.analyze import Analysis
from embevo.analysis.measures.pieces import FIRST, LATER, SECOND, WHOLE
from embevo.analysis.verdicts.verdict import Outcome, Verdict, counted, listed

_PIECES: Final = (LATER, FIRST, SECOND)
# More values than these are counted and not listed.
_MANY: Final = 5


@dataclass(frozen=True)
class Conditions:
    """What runs of one experiment may differ in.

    Attributes:
        seed: what makes a run another sample, in words.
        threads: on how many it was trained; empty where it does not say, as the next.
        machine: libraries, device and processor.
        length: the last recorded step.
    """

    seed: str
    threads: str
    machine: str
    length: str

    @classmethod
    def of(cls, analysis: Analysis) -> "Conditions":
        """Those of a run, as far as it says them."""
        given = analysis.attributes.get("environment")
        said = {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
        count = said.pop("threads", "")
        threads = f"{count} thread{'s' * (count != '1')}" if count else ""
        length = f"{analysis.summary['last_step']:,} steps"
        return cls(f"seed {seed_of(analysis)}", threads, ", ".join(said.values()), length)


_WORDS: Final = {
    "seed": "another seed",
    "threads": "another number of threads",
    "machine": "another machine",
    "length": "another length",
}


@dataclass(frozen=True)
class Trial:
    """What one run says of a prediction.

    Attributes:
        run: its directory.
        conditions: under which it was made.
        outcome: its verdict.
        whole: what the whole run alone would decide.
        pieces: what it would be for pieces of the run alone, by their names.
    """

    run: Path
    conditions: Conditions
    outcome: Outcome
    whole: Outcome
    pieces: dict[str, Outcome]

    @classmethod
    def of(cls, analysis: Analysis, verdict: Verdict) -> "Trial":
        """That of a run's verdict."""
        asked = {piece: verdict.outcome_of(piece) for piece in (WHOLE, *_PIECES)}
        found = {piece: outcome for piece, outcome in asked.items() if outcome is not None}
        whole = found.pop(WHOLE, verdict.outcome)
        return cls(analysis.run_path, Conditions.of(analysis), verdict.outcome, whole, found)


@dataclass(frozen=True)
class Tried:
    """What became of a verdict when one thing was changed and nothing else.

    Attributes:
        what: was changed, in words.
        among: which there were: the seeds, the numbers of threads.
        compared: how many sets of runs differ in nothing else, or how many runs have such a piece.
        differ: in how many of them the outcomes are not all the same.
        said: how often each outcome under which condition, in words; empty where none differ.
    """

    what: str
    among: str
    compared: int
    differ: int
    said: str = ""


@dataclass(frozen=True)
class Survival:
    """On one prediction, over runs that differ in their seed, threads, machine and length.

    Attributes:
        id: N1..N4 or S1..S5.
        prediction: what was foreseen, in short.
        trials: of each run.
        tried: what was changed, as far as the runs allow it.
        untried: what was not, in words.
    """

    id: str
    prediction: str
    trials: tuple[Trial, ...]
    tried: tuple[Tried, ...]
    untried: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        """What all runs decide; undecided where they do not agree."""
        found = {trial.outcome for trial in self.trials}
        return found.pop() if len(found) == 1 else "undecided"

    @property
    def survives(self) -> bool:
        """Whether something is decided, and all runs decide the same."""
        return self.outcome != "undecided"

    @property
    def sentence(self) -> str:
        """One line: what the runs decide, what that survives, what it hangs on, and what was not tried."""
        outcomes = [trial.outcome for trial in self.trials]
        count = len(outcomes)
        said = [f"{outcomes[0]} in all {count} runs" if len(set(outcomes)) == 1 else counted(outcomes)]
        stood = [f"{tried.what} ({tried.among})" for tried in self.tried if not tried.differ]
        if stood:
            said.append(f"the same for {listed(stood)}")
        said += [
            f"not the same for {tried.what}: {tried.said} ({tried.differ} of {tried.compared} comparisons)"
            for tried in self.tried
            if tried.differ
        ]
        if self.untried:
            said.append(f"not tried: {listed(self.untried)}")
        return "; ".join(said)


@dataclass(frozen=True)
class Family:
    """Runs that share everything but their seed, threads, machine and length.

    Attributes:
        label: what sets it apart from other families; ``all`` if it is alone.
        runs: their directories.
        survivals: of the verdict on each prediction.
    """

    label: str
    runs: tuple[Path, ...]
    survivals: tuple[Survival, ...]


def families(analyses: Sequence[Analysis]) -> tuple[Family, ...]:
    """Those of two judged runs or more, in the order of the runs."""
    members: dict[str, list[Analysis]] = {}
    for analysis in analyses:
        if analysis.verdicts:
            members.setdefault(identity(analysis, LENGTHS), []).append(analysis)
    called = labels([of[0] for of in members.values()], LENGTHS)
    return tuple(
        Family(
            label,
            tuple(analysis.run_path for analysis in of),
            tuple(_survival([(a, a.verdicts[at]) for a in of]) for at in range(len(of[0].verdicts))),
        )
        for label, of in zip(called, members.values(), strict=True)
        if len(of) > 1
    )


def _survival(verdicts: Sequence[tuple[Analysis, Verdict]]) -> Survival:
    trials = tuple(Trial.of(*pair) for pair in verdicts)
    first = verdicts[0][1]
    tried, untried = [], []
    for field in fields(Conditions):
        found = _between(trials, field.name)
        if found is None:
            untried.append(_WORDS[field.name])
        else:
            tried.append(found)
    tried += [_within(trials, piece) for piece in _PIECES if any(piece in trial.pieces for trial in trials)]
    return Survival(first.id, first.prediction, trials, tuple(tried), tuple(untried))


def _between(trials: Sequence[Trial], name: str) -> Tried | None:
    """Runs that differ in one thing alone; None where there are none."""
    alike: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        rest = tuple(getattr(trial.conditions, of.name) for of in fields(Conditions) if of.name != name)
        alike.setdefault(rest, []).append(trial)

    def value(trial: Trial) -> str:
        return str(getattr(trial.conditions, name))

    sets = [of for of in alike.values() if len(set(map(value, of))) > 1]
    if not sets:
        return None
    differ = sum(len({trial.outcome for trial in of}) > 1 for of in sets)
    known = [trial for of in sets for trial in of]
    values = list(dict.fromkeys(map(value, known)))
    among = listed(values) if len(values) <= _MANY else f"{len(values)} of them"
    return Tried(_WORDS[name], among, len(sets), differ, _by(known, value) if differ else "")


def _within(trials: Sequence[Trial], piece: str) -> Tried:
    """The piece of each run, beside the whole of it."""
    known = [trial for trial in trials if piece in trial.pieces]
    pairs = [(trial.whole, trial.pieces[piece]) for trial in known]
    changed = [f"{whole} as a whole and {of} there" for whole, of in pairs if whole != of]
    said = ", ".join(f"{text} in {number}" for text, number in sorted(Counter(changed).items()))
    return Tried(piece, f"{len(known)} runs", len(known), len(changed), said)


def _by(trials: Iterable[Trial], value: Callable[[Trial], str]) -> str:
    """How often each outcome under which condition."""
    found: dict[str, list[str]] = {}
    for trial in trials:
        found.setdefault(value(trial), []).append(trial.outcome)
    return ", ".join(f"{counted(outcomes)} with {name}" for name, outcomes in found.items())
