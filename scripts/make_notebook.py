"""Makes docs/analysis.ipynb: runs its cells here, in order, and keeps what they print and plot.

    python scripts/make_notebook.py [FILE]

Jupyter is not needed to make it. The run that it records is deleted afterwards.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

CELLS = [
    (
        "markdown",
        """# From a recorded run to verdicts

A toy in two seconds: 40 tokens in 8 dimensions, all starting at one point; the embedding is the output layer
too. Tokens 30 to 39 never occur. [analysis.md](analysis.md) defines every number.""",
    ),
    (
        "code",
        """import numpy as np
import torch

from embevo import Recorder

torch.manual_seed(0)
torch.set_num_threads(1)
counts = np.r_[np.arange(30, 0, -1), np.zeros(10, np.int64)]
text = torch.multinomial(torch.tensor(counts / counts.sum()), 4000, replacement=True)
embedding = torch.nn.Parameter(torch.randn(8).repeat(40, 1))
mixing = torch.nn.Linear(8, 8)
optimizer = torch.optim.AdamW([embedding, *mixing.parameters()], lr=0.01)

with Recorder("toy", {"embeddings": embedding}, token_count=counts, overwrite=True) as recorder:
    recorder.capture(0)
    for step in range(1, 401):
        at = torch.randint(3999, (64,))
        logits = mixing(embedding[text[at]]) @ embedding.T
        loss = torch.nn.functional.cross_entropy(logits, text[at + 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.capture(step, loss=loss)""",
    ),
    ("markdown", "Three lines measure it. `series` is an `xarray.Dataset`; each variable says what it is."),
    (
        "code",
        """from embevo.analysis import analyze

analysis = analyze("toy")
radius = analysis.series["radius_rms"]
print(radius.attrs)
print(radius.sel(step=[0, 1, 10, 100, 400]).to_pandas().round(3))""",
    ),
    ("code", 'radius.plot.line(x="step", hue="group", xscale="symlog", figsize=(6, 3));'),
    (
        "markdown",
        """Every prediction becomes a test, with a threshold and the reason for it. They were made for runs of
`embevo train`; others are judged by them if that is asked for.""",
    ),
    (
        "code",
        """analysis = analyze("toy", judge=True)
print(analysis.applies.statement)
for verdict in analysis.verdicts:
    print(f"{verdict.id} {verdict.prediction}: {verdict.outcome}")
    print(f"   {verdict.statistic} is {verdict.value:.3g}; predicted {verdict.threshold}")""",
    ),
    ("markdown", "The dead are one black hole as long as all of them get the same gradient."),
    (
        "code",
        """holes = analysis.series[["distinct_rows", "black_holes", "black_hole_largest"]].sel(group="all")
print(holes.sel(step=[0, 1, 2, 400]).to_pandas().drop(columns="group"))
print(analysis.events[0]["step"], analysis.events[0]["kind"], analysis.events[0]["after"])""",
    ),
    ("markdown", "A threshold can be changed; what was measured is not measured again."),
    (
        "code",
        """generous = analyze("toy", {"separation_low": 0.1, "separation_high": 5}, judge=True)
print(generous.verdicts[-1].explanation)""",
    ),
]


def run_cells(cells: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Run the code cells in the working directory; returns notebook cells with their outputs."""
    mpl.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    made: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(cells):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell["source"] = source.splitlines(keepends=True)
        if kind == "code":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(ast.parse(source), f"cell {number}", "exec"), names)  # noqa: S102 - our own cells
            cell |= {"execution_count": 1 + sum(other["cell_type"] == "code" for other in made)}
            cell["outputs"] = _outputs(printed.getvalue())
        made.append(cell)
    return made


def _outputs(printed: str) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.splitlines(keepends=True)})
    for figure in map(plt.figure, plt.get_fignums()):
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
        data = {"image/png": base64.b64encode(image.getvalue()).decode(), "text/plain": ["<Figure>"]}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    plt.close("all")
    return outputs


def main() -> None:
    """Make the notebook."""
    target = Path(
        sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs/analysis.ipynb"
    ).absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        cells = run_cells(CELLS)
        os.chdir(target.parent)
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    target.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
