"""A run for TensorBoard's projector: one tensor a step, the tokens' names, and the file that lists them.

The projector's own form, which needs neither TensorBoard nor TensorFlow here (tensorboard/plugins/projector:
``projector_config.pbtxt`` is a ProjectorConfig, ``tensor_path`` a file of values with tabs between).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from embevo.errors import ExportError
from embevo.run.disk.atomic import write_file
from embevo.viewer.exported import Exported

CONFIG: Final = "projector_config.pbtxt"
METADATA: Final = "metadata.tsv"


def export_projector(
    exported: Exported, folder: Path, on_step: Callable[[int], None] | None = None
) -> list[Path]:
    """Write a folder that ``tensorboard --logdir`` shows in its projector.

    Each step is one tensor, ``step_0000123.tsv``, ``(token, dim)``: the shortest decimal numbers that are the
    recorded ones in float32, or float64. ``metadata.tsv`` has the label, id, count and groups of each token.
    The configuration is written last.

    Args:
        exported: of the run.
        folder: that is made; it must not be there, or be empty.
        on_step: called with each step that was written.

    Returns:
        The files.

    Raises:
        ExportError: the folder is there and not empty.
        DamagedError: stored bytes are not what was written.
        OSError: a file cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExportError(f"{folder} is there already: name a folder that is to be made")
    folder.mkdir(parents=True, exist_ok=True)
    opened = exported.opened
    rows, tokens, dim = opened.shape
    files = [folder / METADATA]
    write_file(files[0], _metadata(exported).encode(), sync=False)
    entries = []
    for start, values in opened.blocks(0, rows):
        for row, vectors in enumerate(values, start):
            step = int(opened.steps[row])
            path = folder / f"step_{step:07d}.tsv"
            lines = ("\t".join(vector) for vector in vectors.astype(np.str_).tolist())
            write_file(path, ("\n".join(lines) + "\n").encode(), sync=False)
            files.append(path)
            entries.append(
                f"embeddings {{\n  tensor_name: {json.dumps(f'{opened.matrix} at step {step}')}\n"
                f'  tensor_path: "{path.name}"\n  tensor_shape: {tokens}\n  tensor_shape: {dim}\n'
                f'  metadata_path: "{METADATA}"\n}}\n'
            )
            if on_step is not None:
                on_step(step)
    files.append(folder / CONFIG)
    write_file(files[-1], "".join(entries).encode(), sync=False)
    return files


def _metadata(exported: Exported) -> str:
    """A line a token; several columns need a line of their names."""
    lines = ["token\tid\tcount\tgroup"]
    counts = [""] * len(exported.ids) if exported.counts is None else exported.counts.tolist()
    groups = [""] * len(exported.ids)
    for name, members in exported.groups.items():
        for token in members.tolist():
            groups[token] = f"{groups[token]}, {name}" if groups[token] else name
    for label, token, count, group in zip(
        exported.labels, exported.ids.tolist(), counts, groups, strict=True
    ):
        lines.append("\t".join(" ".join(str(part).split()) or "-" for part in (label, token, count, group)))
    return "\n".join(lines) + "\n"
