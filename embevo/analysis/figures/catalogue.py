"""All figures there are: what they are called, what they show, how to read them, and who draws them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from embevo.analysis import Analysis
from embevo.analysis.figures import (
    centroid,
    cloud,
    diffusion,
    displacement,
    distinct,
    form,
    frequency,
    lattice,
    life,
    loss,
    pinned,
    radius,
)
from embevo.analysis.figures.drawing import Drawing
from embevo.analysis.figures.rendering import Format


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: of its file.
        title: what it shows, as a heading.
        guide: one sentence on how to read it.
        draw: makes it; raises NothingToDrawError where the run does not hold what it shows.
        group: of figures that it stands with.
        form: in which a page shows it: PNG where a drawing would be larger, or blurred at other sizes.
    """

    name: str
    title: str
    guide: str
    draw: Callable[[Analysis], Drawing]
    group: str
    form: Format = "svg"


FIGURES: Final = (
    Figure(
        "loss",
        "Training loss",
        "Grey is the loss of each batch, black its median over neighbouring steps; a model that has "
        "learnt only how frequent each token is stays at the dashed line, and one that has learnt what "
        "follows what goes below it.",
        loss.draw,
        "Training",
    ),
    Figure(
        "cloud",
        "The cloud at the last step",
        "Each mark is a token's embedding, seen along the two directions in which the cloud is widest; "
        "tokens that lie together here may still differ in other directions; the most frequent and outermost "
        "ones are named. Of a group of more than 2,000 a place is the darker the more of them are there.",
        cloud.draw,
        "The cloud",
    ),
    Figure(
        "radius",
        "Size of the cloud",
        "Thick lines are the root-mean-square distance of tokens from the centre of their own group, thin "
        "ones that of the outermost token; a straight line is growth by a power of the step, a flat one "
        "a cloud that keeps its size, though its tokens may still move.",
        radius.draw,
        "The cloud",
    ),
    Figure(
        "distinct_rows",
        "Distinct vectors and black holes",
        "Above, how many different vectors there are; below, how many tokens share theirs in every bit "
        "with another token, which is called a black hole.",
        distinct.draw,
        "The cloud",
    ),
    Figure(
        "centroid",
        "Path of the centroid",
        "The line is where the mean of all tokens has been, in the plane of the two directions in which the "
        "cloud is widest, from dark to bright as training goes on; a random walk crosses itself, a drift "
        "goes one way.",
        centroid.draw,
        "Motion",
    ),
    Figure(
        "displacement",
        "How far each token moves",
        "Each row is a token, the most frequent at the top of its group, each column a range of steps: "
        "bright is fast, dark is slow, and a row that turns white is a token that has stopped moving; of "
        "more than 300 tokens each column is sorted by itself, the fastest at the top, and the height of the "
        "white is the share of tokens at rest.",
        displacement.draw,
        "Motion",
        "png",
    ),
    Figure(
        "lattice",
        "Coming to rest on the lattice of numbers",
        "A ULP is the gap between neighbouring numbers of the stored type, so nothing moves by less than "
        "one; thick lines are medians over tokens and neighbouring steps, of the length (L2) and of the "
        "largest element (L∞) of a step, the thin line is the largest L2; a line near 2 billion ULPs in a "
        "float32 run, or 32 thousand in a bfloat16 one, thick or thin, is of tokens with elements that "
        "change sign and pass over all small numbers, and the vertical lines are the last steps with motion "
        "of each kind.",
        lattice.draw,
        "On the lattice of numbers",
    ),
    Figure(
        "pinned",
        "What can move at all",
        "An update of less than half of the gap between neighbouring numbers is rounded away: this is the "
        "share of elements whose gap is too large for the learning rate of the step, so that they stay where "
        "they are whatever the gradient is; it grows as the rate falls, until nothing can move.",
        pinned.draw,
        "On the lattice of numbers",
    ),
    Figure(
        "life",
        "What tokens do",
        "How many tokens flow (move by more than sqrt(dim) ULPs), hop (an element moves by more than one "
        "ULP), step (elements move by one) and rest: where the colours reach the top, everything is at rest.",
        life.draw,
        "On the lattice of numbers",
    ),
    Figure(
        "form",
        "Form of the cloud",
        "Above, how many dimensions the vectors use: the effective rank (thick) looks from the origin, the "
        "participation ratio (PR, thin) from the centre of the cloud; below, how alike the form is to the "
        "one at the end, turned or scaled as it may be: 1 is the same.",
        form.draw,
        "The cloud",
    ),
    Figure(
        "diffusion",
        "Mean squared displacement",
        "Above, how far tokens get within a number of steps, squared and averaged; below, the slope of "
        "these curves within half a decade of lags: 1 throughout for a random walk of equal steps, 2 for "
        "straight motion; no one exponent describes a curve whose slope changes, and where steps die down "
        "no slope says whether a way is a random walk: that is told by other statistics.",
        diffusion.draw,
        "Motion",
    ),
    Figure(
        "norm_frequency",
        "Length of each vector and frequency of its token",
        "Each mark is a token: to the right those that the corpus has often; upwards, above, those with a "
        "long vector, and below, those far from the mean of all tokens, which tells them apart where all are "
        "far from the origin and nearly as long as each other; the dead, which never occur, are at 0. Of "
        "more than 2,000 a place is the darker the more of them are there.",
        frequency.draw,
        "The cloud",
    ),
)
NAMES: Final = tuple(figure.name for figure in FIGURES)
