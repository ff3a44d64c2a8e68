"""What one step records, and its image: the bytes of that step's safetensors file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embevo.errors import FrameMismatchError
from embevo.run.format.array_spec import ArraySpec, check_name, default_dimensions, spec_of
from embevo.run.format.dtypes import FLOATS, SAFETENSORS_CODES
from embevo.run.format.safetensors_header import pack_header
from embevo.run.format.token_subset import TokenSubset

PLAIN: tuple[str, str] = ("token", "dim")


@dataclass(frozen=True)
class FrameSpec:
    """The arrays of one step, the names of its scalars, and which tokens it holds.

    Attributes:
        arrays: by name, in the order in which safetensors stores them.
        scalars: names of the float64 scalars recorded beside the arrays.
        tokens: the rows of the vocabulary that arrays along ``token`` hold; None for all of them.
    """

    arrays: tuple[tuple[str, ArraySpec], ...]
    scalars: tuple[str, ...]
    tokens: TokenSubset | None = None

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, tuple[str, tuple[int, ...]]],
        scalars: Sequence[str] = (),
        *,
        dimensions: Mapping[str, Sequence[str]] | None = None,
        tokens: TokenSubset | None = None,
    ) -> "FrameSpec":
        """Check the given ``{name: (dtype name, shape)}`` and put it in the order of the image.

        Args:
            arrays: by name: the name of the dtype, and the shape at one step.
            scalars: names of the scalars.
            dimensions: by name of the array: the names of its axes. Without them the first array of two axes
                is ``(token, dim)``, as is every other of its shape; other arrays have axes named after
                themselves.
            tokens: where arrays along ``token`` hold only some rows of the vocabulary.

        Raises:
            FrameMismatchError: on an unusable name, a dtype or shape that is not recorded, or axes of one
                name and two lengths.
        """
        if not arrays:
            raise FrameMismatchError("nothing to record: pass at least one array, {'embeddings': parameter}")
        for name in (*arrays, *scalars):
            check_name(name)
        names = [*arrays, *scalars]
        if len(set(names)) != len(names):
            raise FrameMismatchError(f"each array and scalar needs a name of its own; got {names}")
        given = dict(dimensions or {})
        unknown = given.keys() - arrays.keys()
        if unknown:
            raise FrameMismatchError(
                f"dimensions are given for {', '.join(sorted(unknown))}, which is not recorded"
            )
        named = default_dimensions({name: shape for name, (_, shape) in arrays.items()}) | given
        specs = [(name, spec_of(name, dtype, shape, named[name])) for name, (dtype, shape) in arrays.items()]
        ranks = list(SAFETENSORS_CODES)
        ordered = sorted(specs, key=lambda item: (ranks.index(item[1].dtype), item[0]))
        frame = cls(tuple(ordered), tuple(scalars), tokens)
        frame.check_lengths()
        if not frame.is_plain:
            frame.check_files()
        return frame

    def check_lengths(self) -> None:
        """Raise FrameMismatchError where axes of one name have two lengths, or tokens another number."""
        lengths: dict[str, tuple[int, str]] = {}
        if self.tokens is not None:
            lengths["token"] = (len(self.tokens), "the token ids given")
        for name, spec in self.arrays:
            for axis, size in zip(spec.dimensions, spec.shape, strict=True):
                known, first = lengths.setdefault(axis, (size, name))
                if known != size:
                    raise FrameMismatchError(
                        f"axis {axis} has length {size} in {name} and {known} in {first}: name the axes with "
                        "dimensions={...}, so that each name has one length"
                    )

    def check_files(self) -> None:
        """Raise FrameMismatchError where names differ in case alone: to some file systems they are one."""
        names = [name.lower() for name, _ in self.arrays] + [name.lower() for name in self.scalars]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FrameMismatchError(
                f"two arrays are called {twice[0]} but for upper and lower case: rename one"
            )

    @cached_property
    def is_plain(self) -> bool:
        """Whether this is what format 1 records: matrices ``(token, dim)`` of floats, all of one shape."""
        shape = self.arrays[0][1].shape
        return (
            self.tokens is None
            and all(
                spec.dimensions == PLAIN
                and spec.shape == shape
                and spec.dtype in FLOATS
                and _is_old_name(name)
                for name, spec in self.arrays
            )
            and all(_is_old_name(name) for name in self.scalars)
        )

    @cached_property
    def by_name(self) -> dict[str, ArraySpec]:
        """The arrays by name."""
        return dict(self.arrays)

    @property
    def matrices(self) -> tuple[tuple[str, str], ...]:
        """Names and dtype names of the arrays, in the order of the image."""
        return tuple((name, spec.dtype) for name, spec in self.arrays)

    @cached_property
    def main(self) -> str:
        """The array that the run is about: ``embeddings``, or the first along ``token``, or the first."""
        along = [name for name, spec in self.arrays if spec.dimensions == PLAIN]
        return "embeddings" if "embeddings" in self.by_name else (along or [self.arrays[0][0]])[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape at one step of the main array; of all of them in a plain frame, ``(token, dim)``."""
        return self.by_name[self.main].shape

    @cached_property
    def token_count(self) -> int:
        """Rows along ``token``; 0 where no array has that axis."""
        return next((spec.shape[0] for _, spec in self.arrays if spec.dimensions[0] == "token"), 0)

    @cached_property
    def token_ids(self) -> NDArray[np.int64]:
        """``(token,)`` which token each row along ``token`` is."""
        return np.arange(self.token_count, dtype=np.int64) if self.tokens is None else self.tokens.ids

    def nbytes(self, name: str) -> int:
        """Bytes of one array."""
        return self.by_name[name].nbytes

    def dtype(self, name: str) -> np.dtype[Any]:
        """The numpy dtype of an array; bfloat16 is that of ml_dtypes."""
        return self.by_name[name].numpy_dtype

    @cached_property
    def header(self) -> bytes:
        """The safetensors header: length, JSON and padding; the same for every step of a run."""
        return self.header_with({})

    def header_with(self, metadata: Mapping[str, str]) -> bytes:
        """The header of a file of the same tensors that says this of itself."""
        return pack_header(
            {name: (SAFETENSORS_CODES[spec.dtype], spec.shape, spec.nbytes) for name, spec in self.arrays},
            metadata,
        )

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where each array starts in the image, in bytes."""
        offsets = {}
        position = len(self.header)
        for name, spec in self.arrays:
            offsets[name] = position
            position += spec.nbytes
        return offsets

    @cached_property
    def image_bytes(self) -> int:
        """Length of the image: of the safetensors file of one step."""
        return len(self.header) + sum(spec.nbytes for _, spec in self.arrays)

    def matrix(self, image: NDArray[np.uint8], name: str) -> NDArray[Any]:
        """A view of one array inside an image, in its shape at one step."""
        start, spec = self.offsets[name], self.by_name[name]
        return image[start : start + spec.nbytes].view(spec.numpy_dtype).reshape(spec.shape)

    def image(self, matrices: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """The image of the given arrays, each in the recorded dtype and its shape at one step."""
        image = np.empty(self.image_bytes, np.uint8)
        image[: len(self.header)] = np.frombuffer(self.header, np.uint8)
        for name, spec in self.arrays:
            start = self.offsets[name]
            image[start : start + spec.nbytes] = (
                np.ascontiguousarray(matrices[name]).reshape(-1).view(np.uint8)
            )
        return image

    def to_json(self) -> dict[str, Any]:
        """The frame as plain JSON values: those of format 1 for a plain frame, of format 2 otherwise."""
        if self.is_plain:
            return {"matrices": dict(self.matrices), "shape": list(self.shape), "scalars": list(self.scalars)}
        arrays = {
            name: {"dtype": spec.dtype, "shape": list(spec.shape), "dimensions": list(spec.dimensions)}
            for name, spec in self.arrays
        }
        tokens = {} if self.tokens is None else {"tokens": self.tokens.to_json()}
        return {"arrays": arrays, "scalars": list(self.scalars), **tokens}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FrameSpec":
        """The inverse of :meth:`to_json`."""
        scalars = tuple(str(name) for name in data["scalars"])
        if "arrays" not in data:
            shape = _shape(data["shape"])
            matrices = {str(name): (str(dtype), shape) for name, dtype in data["matrices"].items()}
            return cls.of(matrices, scalars)
        return cls.of(
            {
                str(name): (str(array["dtype"]), _shape(array["shape"]))
                for name, array in data["arrays"].items()
            },
            scalars,
            dimensions={str(name): tuple(array["dimensions"]) for name, array in data["arrays"].items()},
            tokens=TokenSubset.from_json(data["tokens"]) if "tokens" in data else None,
        )


def _shape(sizes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(size) for size in sizes)


def _is_old_name(name: str) -> bool:
    """Whether format 1 allows it."""
    return len(name) <= 64 and not set(name) & set(".-")
