"""Surrogates are measured as they are made, in memory."""

import dataclasses

import numpy as np

from embevo.analysis.measurement import Measurement, Stretch
from embevo.analysis.measures.outline import Outline
from embevo.analysis.nulls.kinds import Surrogates
from embevo.analysis.nulls.trajectory import Trajectory
from embevo.run.format.widening import widen


def bare(outline: Outline) -> Outline:
    """Without what was recorded beside the matrix, which is no surrogate's, but for the learning rates."""
    scalars = {
        name: values if name == "learning_rate" else np.full_like(values, np.nan)
        for name, values in outline.scalars.items()
    }
    return dataclasses.replace(outline, scalars=scalars, logits=None)


def measured(outline: Outline, of: Trajectory, makes: Surrogates, drawn: np.random.Generator) -> Measurement:
    """One surrogate."""
    stretch = Stretch(outline)
    for block in makes.blocks(drawn):
        values = block[of.name]
        for start in range(0, len(values), of.rows_at_once):
            stretch.take(widen(values[start : start + of.rows_at_once]))
    return stretch.finish()
