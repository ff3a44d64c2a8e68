"""What recovering a run has done, and what it could not do."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from embevo.run.format.steps import describe

# What to do with rows that nothing on this machine proves.
Unproven = Literal["wait", "accept", "discard"]


@dataclass
class Recovery:
    """What :func:`recover` has done.

    Attributes:
        path: the run.
        sealed: steps that were in the journal only, and now are in the run.
        removed: unfinished files, and those of steps that a rewind has dropped, which were removed.
        rebuilt: damaged files that were written again with the bytes they had, below the run directory.
        lost: what is damaged and could not be rebuilt, and why.
        unproven: what had no checksum left that could be compared, and was taken as it was found.
        waiting: steps that are still in the journal, from the first on that nothing on this machine proves.
        origin: the machine, and its boot, that can prove them; empty if the journal does not say.
        ahead: of a run of several processes, what some of them had captured and others had not, a line for
            each; it stays in their runs, and is recorded anew when the run is resumed.
        elsewhere: where the ring is that cannot be had here, and may hold steps; empty if none can be
            missing.
    """

    path: Path
    sealed: list[int] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    origin: str = ""
    ahead: list[str] = field(default_factory=list)
    elsewhere: str = ""

    @property
    def ok(self) -> bool:
        """Whether the run is in order now: nothing is lost, unproven, or waits for another machine."""
        return not (self.lost or self.unproven or self.waiting or self.elsewhere)

    @property
    def how_to_go_on(self) -> str:
        """What can be done about the steps that wait, for a message; empty if none does."""
        here = f"embevo recover {shlex.quote(str(self.path))}"
        if self.elsewhere:
            # Of a file that is damaged, the error itself says what can be done.
            give_up = f"{here} --discard-unproven gives them up, with their files in snapshots"
            return (
                self.elsewhere if "--discard-unproven" in self.elsewhere else f"{self.elsewhere}; {give_up}."
            )
        if not self.waiting:
            return ""
        text = f"{len(self.waiting):,} captured steps ({describe(self.waiting)}) wait in the journal: "
        if self.origin:
            text += (
                f"that they are whole is known only on {self.origin}: there, {here} seals them. If that "
                "machine was started anew since, nothing can prove them any more; then "
            )
        else:
            text += "they have no checksum, and the journal does not say any more where they were captured; "
        return f"{text}{here} --accept-unproven takes them as they are, --discard-unproven gives them up."
