"""Writes how often the nulls' bands hold what they should into docs/analysis.md.

python scripts/make_coverage.py [--cases 200]

Random walks, and walks that are none, of steps of even length and of steps that die down as those of runs do,
are compared with their null; clouds and bodies likewise. It takes some minutes.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.measures.bands import Band
from embevo.analysis.measures.drift import bodies, drifts
from embevo.analysis.measures.interval import median_interval
from embevo.analysis.measures.pieces import pieces_of
from embevo.analysis.measures.random_directions import Directions, walks
from embevo.analysis.measures.walk_null import against_random_walks

PAGE = Path(__file__).parents[1] / "docs/analysis.md"
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
ROWS = 1001
MEMORY = 0.9
DIMENSIONS = 12
LENGTHS = {
    "even steps": np.ones(ROWS - 1),
    "steps that die down": np.exp(-np.arange(ROWS - 1) / 30) + 0.02 * np.linspace(1, 0.01, ROWS - 1),
}


def walk(kind: str, lengths: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """``(row, 1, dim)`` places."""
    rng = np.random.default_rng(seed)
    if kind == "confined to a place":
        return rng.normal(size=(ROWS, 1, DIMENSIONS)) * np.concatenate([[0.0], lengths])[:, None, None]
    share = 0.0 if kind == "random, without memory" else 0.8
    (moved,) = walks(lengths, Directions(DIMENSIONS, MEMORY, share), 1, rng)
    place = np.concatenate([np.zeros((1, DIMENSIONS)), np.cumsum(moved[0], axis=0, dtype=np.float64)])
    if kind == "directed, half of every step":
        place[1:, 0] += np.cumsum(lengths)
    return place[:, None]


def held(found: dict[str, dict[str, Band]]) -> bool:
    """Whether all statistics of all pieces lie in their bands."""
    each = [band for of in found.values() for band in of.values() if not math.isnan(band.value)]
    return all(band.low <= band.value <= band.high for band in each)


def rows(cases: int) -> list[str]:
    """Lines of the table."""
    pieces = pieces_of(np.arange(ROWS))
    lines = []
    for kind in (
        "random, without memory",
        "random, with the optimizer's memory",
        "directed, half of every step",
        "confined to a place",
    ):
        shares = [
            np.mean(
                [
                    held(against_random_walks(walk(kind, of, seed), MEMORY, pieces, seed))
                    for seed in range(cases)
                ]
            )
            for of in LENGTHS.values()
        ]
        lines.append(f"| walk, {kind} | {' | '.join(f'{100 * share:.0f} %' for share in shares)} |")
    rng = np.random.default_rng(0)
    live, dead = np.arange(77), np.arange(77, 128)
    inside = []
    for _ in range(cases):
        moved = rng.normal(size=(128, DIMENSIONS))
        moved[dead] = rng.normal(size=DIMENSIONS)
        (band,) = drifts([bodies(moved, live, dead)])
        inside.append(band.low <= band.value <= band.high)
    lines.append(f"| 77 independent bodies, and 51 dead in lockstep | {100 * np.mean(inside):.0f} % | |")
    for seeds in (5, 10):
        draws = rng.exponential(size=(20 * cases, seeds))
        found = [median_interval(sample) for sample in draws]
        hits = np.mean([low <= math.log(2) <= high for low, high, _ in found])
        lines.append(f"| interval of a median over {seeds} seeds, skewed numbers | {100 * hits:.0f} % | |")
    return lines


def main() -> None:
    """Simulate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    cases = parser.parse_args().cases
    head = [
        (
            f"Made by `python scripts/make_coverage.py`: how many of {cases} cases, of {ROWS - 1:,} "
            f"steps in {DIMENSIONS} dimensions, lie in their band with all statistics of all pieces."
        ),
        "",
        f"| simulated | {' | '.join(LENGTHS)} |",
        "| --- | --- | --- |",
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    made = "\n".join([*head, *rows(cases)])
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
