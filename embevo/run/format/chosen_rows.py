"""What safetensors files of some tokens say of themselves: which tokens, and which tensors have them as rows.

It is one entry of the files' metadata, under the name ``embevo``; what is read is untrusted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from embevo.errors import FrameMismatchError
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.array_spec import default_dimensions
from embevo.run.format.frame import FrameSpec
from embevo.run.format.token_subset import TokenSubset

# The key among the metadata of a safetensors file, whose values are texts.
METADATA_KEY: Final = "embevo"


@dataclass(frozen=True)
class ChosenRows:
    """Which tokens the rows of tensors are.

    Attributes:
        tokens: the tokens; None for all of the vocabulary.
        dimensions: by name of the tensor: the names of its axes.
        usual: whether what would be taken for rows of tokens, if nothing were said, are such.
    """

    tokens: TokenSubset | None = None
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    usual: bool = True

    @classmethod
    def of(cls, frame: FrameSpec) -> "ChosenRows":
        """Those of the arrays of a frame."""
        dimensions = {name: spec.dimensions for name, spec in frame.arrays}
        taken = default_dimensions({name: spec.shape for name, spec in frame.arrays})
        rows = [name for name, axes in taken.items() if axes[0] == "token"]
        usual = all(dimensions[name][0] == "token" for name in rows) and bool(rows) == bool(frame.token_count)
        return cls(frame.tokens, dimensions, usual)

    @property
    def metadata(self) -> dict[str, str]:
        """The entry in a file's metadata; none where all is as in files of others, which have none."""
        if self.tokens is None and self.usual:
            return {}
        dimensions = {name: list(axes) for name, axes in self.dimensions.items()}
        said = {"dimensions": dimensions, "tokens": None if self.tokens is None else self.tokens.to_json()}
        return {METADATA_KEY: json.dumps(said, separators=(",", ":"))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "ChosenRows | None":
        """The inverse of :attr:`metadata`; None where the file does not say it.

        Raises:
            ValueError: what it says is not what embevo writes.
        """
        text = metadata.get(METADATA_KEY)
        if text is None:
            return None
        try:
            said = json.loads(text)
            dimensions = {str(name): tuple(map(str, axes)) for name, axes in said["dimensions"].items()}
            tokens = None if said["tokens"] is None else TokenSubset.from_json(said["tokens"])
            return cls(tokens, dimensions, usual=False)
        except (*MALFORMED, FrameMismatchError) as error:
            raise ValueError(f"what it says of its tokens is not what embevo writes: {error}") from error
