"""What safetensors files of some tokens say of themselves: which tokens, and which tensors have them as rows.

It is one entry of the files' metadata, under the name ``embevo``; what is read is untrusted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from embevo.errors import FrameMismatchError
from embevo.run.disk.malformed import MALFORMED
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
    """

    tokens: TokenSubset | None = None
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: FrameSpec) -> "ChosenRows":
        """Those of the arrays of a frame."""
        return cls(frame.tokens, {name: spec.dimensions for name, spec in frame.arrays})

    @property
    def metadata(self) -> dict[str, str]:
        """The entry in a file's metadata; none where all tokens are there, as files of others have none."""
        if self.tokens is None:
            return {}
        dimensions = {name: list(axes) for name, axes in self.dimensions.items()}
        said = {"dimensions": dimensions, "tokens": self.tokens.to_json()}
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
            return cls(TokenSubset.from_json(said["tokens"]), dimensions)
        except (*MALFORMED, FrameMismatchError) as error:
            raise ValueError(f"what it says of its tokens is not what embevo writes: {error}") from error
