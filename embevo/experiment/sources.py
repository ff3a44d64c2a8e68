"""What is recorded of a training loop, as sources for the recorder."""

from collections.abc import Mapping
from dataclasses import dataclass

from embevo.experiment.arrays import ARRAYS, WEIGHTS, parse_record
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.loop import TrainingLoop
from embevo.recording.model_arrays import ModelArrays, find_arrays
from embevo.recording.sources import Source


@dataclass(frozen=True, eq=False)
class LoopSources:
    """The sources of a loop.

    Attributes:
        taken: by name of the array.
        dimensions: names of their axes; None where they are what a recorder names them by itself.
        found: what has hooks on the model; None if nothing has.
    """

    taken: Mapping[str, Source]
    dimensions: Mapping[str, tuple[str, ...]] | None = None
    found: ModelArrays | None = None

    def expect(self, *, recorded: bool) -> None:
        """Say whether the step that begins is recorded; where it is not, hooks cost next to nothing."""
        if self.found is not None:
            for output in self.found.outputs:
                output.wanted = recorded

    def close(self) -> None:
        """Remove every hook from the model."""
        if self.found is not None:
            self.found.close()


def sources_of_loop(loop: TrainingLoop, config: ExperimentConfig) -> LoopSources:
    """The sources that the setting ``record`` names. Close them to remove their hooks.

    The hooks are on the module that gives the logits, which is not compiled with the rest of the model.
    """
    record = parse_record(config.record)
    if record == (WEIGHTS,):
        return LoopSources({ARRAYS[WEIGHTS]: loop.embedding})
    found = find_arrays(loop.model, [loop.optimizer], [ARRAYS[name] for name in record])
    return LoopSources(found.sources, found.dimensions, found)
