"""What one step records, and its image: the bytes of that step's safetensors file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import FrameMismatchError
from embevo.run.format.dtypes import NUMPY_DTYPES, SAFETENSORS_CODES
from embevo.run.format.safetensors_header import pack_header

RESERVED_NAMES: Final = frozenset({"step", "token", "dim", "token_count"})
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class FrameSpec:
    """The names, shape and dtypes of the matrices of one step, and the names of its scalars.

    Attributes:
        matrices: name to dtype name (``float64``, ``float32``, ``bfloat16`` or ``float16``), in the order
            in which safetensors stores them.
        shape: ``(token, dim)``, the same for every matrix.
        scalars: names of the float64 scalars recorded beside the matrices.
    """

    matrices: tuple[tuple[str, str], ...]
    shape: tuple[int, int]
    scalars: tuple[str, ...]

    @classmethod
    def of(
        cls, matrices: Mapping[str, tuple[str, tuple[int, ...]]], scalars: tuple[str, ...] = ()
    ) -> "FrameSpec":
        """Check the given ``{name: (dtype name, shape)}`` and put it in the order of the image.

        Raises:
            FrameMismatchError: on an unusable name, a dtype that is not recorded, or shapes that are not
                all the same ``(token, dim)``.
        """
        if not matrices:
            raise FrameMismatchError("nothing to record: pass at least one matrix, {'embeddings': parameter}")
        for name in (*matrices, *scalars):
            if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
                raise FrameMismatchError(
                    f"{name!r} cannot name an array: use letters, digits and underscores, starting with a "
                    f"letter, and none of {', '.join(sorted(RESERVED_NAMES))}"
                )
        names = [*matrices, *scalars]
        if len(set(names)) != len(names):
            raise FrameMismatchError(f"each matrix and scalar needs a name of its own; got {names}")
        shapes = {shape for _, shape in matrices.values()}
        shape = next(iter(shapes))
        if len(shapes) != 1 or len(shape) != 2 or min(shape) < 1:
            raise FrameMismatchError(
                f"matrices of one run share one non-empty shape (token, dim); got "
                f"{ {name: shape for name, (_, shape) in matrices.items()} }. "
                "Record matrices of other shapes in runs of their own."
            )
        for name, (dtype, _) in matrices.items():
            if dtype not in NUMPY_DTYPES:
                raise FrameMismatchError(
                    f"{name} is {dtype}; embevo records {', '.join(NUMPY_DTYPES)}. Cast it before recording."
                )
        ranks = list(SAFETENSORS_CODES)
        ordered = sorted(
            ((name, dtype) for name, (dtype, _) in matrices.items()),
            key=lambda item: (ranks.index(item[1]), item[0]),
        )
        return cls(tuple(ordered), (shape[0], shape[1]), tuple(scalars))

    def nbytes(self, name: str) -> int:
        """Bytes of one matrix."""
        return self.shape[0] * self.shape[1] * self.dtype(name).itemsize

    def dtype(self, name: str) -> np.dtype[Any]:
        """The numpy dtype of a matrix; bfloat16 is that of ml_dtypes."""
        return NUMPY_DTYPES[dict(self.matrices)[name]]

    @cached_property
    def header(self) -> bytes:
        """The safetensors header: length, JSON and padding; the same for every step of a run."""
        return pack_header(
            {name: (SAFETENSORS_CODES[dtype], self.shape, self.nbytes(name)) for name, dtype in self.matrices}
        )

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where each matrix starts in the image, in bytes."""
        offsets = {}
        position = len(self.header)
        for name, _ in self.matrices:
            offsets[name] = position
            position += self.nbytes(name)
        return offsets

    @cached_property
    def image_bytes(self) -> int:
        """Length of the image: of the safetensors file of one step."""
        return len(self.header) + sum(self.nbytes(name) for name, _ in self.matrices)

    def matrix(self, image: NDArray[np.uint8], name: str) -> NDArray[Any]:
        """A view ``(token, dim)`` of one matrix inside an image."""
        start = self.offsets[name]
        return image[start : start + self.nbytes(name)].view(self.dtype(name)).reshape(self.shape)

    def image(self, matrices: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """The image of the given matrices, each ``(token, dim)`` in the recorded dtype."""
        image = np.empty(self.image_bytes, np.uint8)
        image[: len(self.header)] = np.frombuffer(self.header, np.uint8)
        for name, _ in self.matrices:
            self.matrix(image, name).view(np.uint8)[:] = np.ascontiguousarray(matrices[name]).view(np.uint8)
        return image

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "matrices": dict(self.matrices),
            "shape": list(self.shape),
            "scalars": list(self.scalars),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FrameSpec":
        """The inverse of :meth:`to_json`."""
        shape = tuple(int(size) for size in data["shape"])
        return cls.of(
            {str(name): (str(dtype), shape) for name, dtype in data["matrices"].items()},
            tuple(str(name) for name in data["scalars"]),
        )
