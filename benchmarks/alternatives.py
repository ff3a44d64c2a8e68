"""What a training loop can do with a matrix at every step, each behind the same three calls."""

import concurrent.futures
import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import zarr
from safetensors.torch import save_file
from torch import Tensor

from embevo import Recorder


class Alternative(Protocol):
    """One way to keep the matrix of every step."""

    def stir(self) -> None:
        """Have what goes on in the background go on now; not timed."""

    def capture(self, step: int) -> None:
        """What the loop has to wait for."""

    def settle(self) -> None:
        """Wait for what goes on in the background."""

    def close(self) -> None:
        """Finish."""


class Nothing:
    """The loop alone."""

    def stir(self) -> None:
        """Nothing."""

    def capture(self, step: int) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


# Rows that embevo's writer finds when it is made to look.
_BACKLOG = 8


class Embevo(Nothing):
    """embevo's recorder."""

    def __init__(self, path: Path, matrix: Tensor, steps: int, store: Any) -> None:
        del steps
        self.recorder = Recorder(path, {"embeddings": matrix}, store=store)
        self._calls = 0

    def capture(self, step: int) -> None:
        self.recorder.capture(step)

    def stir(self) -> None:
        # Left alone, the writer looks seldom, and most captures would find it asleep. So it always has a few
        # rows to write, which takes it about as long as the loop takes to capture them.
        self._calls += 1
        if self._calls % _BACKLOG == 0:
            self._wake()

    def _wake(self) -> None:
        self.recorder._writer.wake()  # noqa: SLF001

    def settle(self) -> None:
        while self.recorder.stats.pending:
            self._wake()
            time.sleep(0.0005)

    def close(self) -> None:
        self.recorder.close()


class RamCopy(Nothing):
    """A tensor in memory that holds every step; lost with the process."""

    def __init__(self, path: Path, matrix: Tensor, steps: int) -> None:
        del path
        self._matrix = matrix
        self._history = torch.empty((steps, *matrix.shape), dtype=matrix.dtype)

    def capture(self, step: int) -> None:
        self._history[step].copy_(self._matrix)


class SaveFile(Nothing):
    """The notebook's callback: one safetensors file a step, written in the loop."""

    def __init__(self, path: Path, matrix: Tensor, steps: int) -> None:
        del steps
        path.mkdir(parents=True)
        self._path, self._matrix = path, matrix

    def capture(self, step: int) -> None:
        save_file(
            {"embeddings": self._matrix.detach().clone().cpu()},
            self._path / f"step_{step:07d}.safetensors",
        )


class Hdf5Row(Nothing):
    """A growing HDF5 dataset, one row a step."""

    def __init__(self, path: Path, matrix: Tensor, steps: int) -> None:
        import h5py  # noqa: PLC0415 - optional

        del steps
        path.mkdir(parents=True)
        self._file = h5py.File(path / "run.h5", "w", libver="latest")
        shape = tuple(matrix.shape)
        self._rows = self._file.create_dataset(
            "embeddings", (0, *shape), "u2", maxshape=(None, *shape), chunks=(1, *shape)
        )
        self._matrix = matrix

    def capture(self, step: int) -> None:
        self._rows.resize(step + 1, 0)
        self._rows[step] = _bits(self._matrix)

    def close(self) -> None:
        self._file.close()


class ZarrRow(Nothing):
    """zarr-python, one chunk a step."""

    def __init__(self, path: Path, matrix: Tensor, steps: int) -> None:
        shape = tuple(matrix.shape)
        self._array = zarr.create_array(path, shape=(steps, *shape), chunks=(1, *shape), dtype="uint16")
        self._matrix = matrix

    def capture(self, step: int) -> None:
        self._array[step] = _bits(self._matrix)


class TensorStoreRow(Nothing):
    """tensorstore, one chunk a step, written by its threads."""

    def __init__(self, path: Path, matrix: Tensor, steps: int) -> None:
        import tensorstore  # noqa: PLC0415 - optional

        shape = tuple(matrix.shape)
        self._array = tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}},
            create=True,
            dtype=tensorstore.uint16,
            shape=[steps, *shape],
            chunk_layout=tensorstore.ChunkLayout(chunk_shape=[1, *shape]),
        ).result()
        self._matrix = matrix
        self._pending: list[Any] = []

    def capture(self, step: int) -> None:
        # write() may look at its source until it is done, and the loop goes on changing the matrix.
        self._pending.append(self._array[step].write(_bits(self._matrix).copy()))

    def settle(self) -> None:
        for future in self._pending:
            future.result()
        self._pending.clear()

    def close(self) -> None:
        self.settle()


class AcquireZarrRow(Nothing):
    """acquire-zarr's stream writer."""

    def __init__(self, path: Path, matrix: Tensor, steps: int) -> None:
        import acquire_zarr as aqz  # noqa: PLC0415 - optional

        del steps
        tokens, dim = matrix.shape
        axes = [
            ("t", aqz.DimensionType.TIME, 0, 64),
            ("y", aqz.DimensionType.SPACE, tokens, tokens),
            ("x", aqz.DimensionType.SPACE, dim, dim),
        ]
        dimensions = [
            aqz.Dimension(name=name, kind=kind, array_size_px=size, chunk_size_px=chunk, shard_size_chunks=1)
            for name, kind, size, chunk in axes
        ]
        array = aqz.ArraySettings(dimensions=dimensions, data_type=aqz.DataType.UINT16)
        self._stream = aqz.ZarrStream(aqz.StreamSettings(store_path=str(path), arrays=[array]))
        self._matrix = matrix

    def capture(self, step: int) -> None:
        del step
        self._stream.append(_bits(self._matrix))

    def close(self) -> None:
        self._stream.close()


class DistributedCheckpoint(Nothing):
    """torch.distributed.checkpoint.async_save, one checkpoint a step."""

    def __init__(self, path: Path, matrix: Tensor, steps: int) -> None:
        del steps
        path.mkdir(parents=True)
        self._path, self._matrix = path, matrix
        self._pending: concurrent.futures.Future[Any] | None = None

    def capture(self, step: int) -> None:
        from torch.distributed.checkpoint.state_dict_saver import async_save  # noqa: PLC0415 - slow to import

        # One at a time: that is what it is made for.
        self.settle()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            response = async_save(
                {"embeddings": self._matrix.detach()},
                checkpoint_id=self._path / f"step_{step:07d}",
                no_dist=True,
            )
        self._pending = response if isinstance(response, concurrent.futures.Future) else None

    def settle(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        self.settle()


Maker = Callable[[Path, Tensor, int], Alternative]


def _embevo(store: str) -> Maker:
    return lambda path, matrix, steps: Embevo(path, matrix, steps, store)


#: By the name that tables show: what makes it, and the package that it needs beyond embevo's own.
ALTERNATIVES: dict[str, tuple[Maker, str]] = {
    "embevo, store both": (_embevo("both"), ""),
    "embevo, store zarr": (_embevo("zarr"), ""),
    "copy into RAM, lost at a crash": (RamCopy, ""),
    "tensorstore, async row": (TensorStoreRow, "tensorstore"),
    "acquire-zarr, append": (AcquireZarrRow, "acquire_zarr"),
    "h5py, row": (Hdf5Row, "h5py"),
    "safetensors save_file": (SaveFile, ""),
    "zarr-python, row": (ZarrRow, ""),
    "torch DCP async_save": (DistributedCheckpoint, ""),
}


def installed() -> tuple[dict[str, Maker], list[str]]:
    """The alternatives that can be made here, and what is said of the others."""
    found, skipped = {}, []
    for name, (maker, package) in ALTERNATIVES.items():
        if package and importlib.util.find_spec(package) is None:
            skipped.append(f"{name}: {package} is not installed")
        else:
            found[name] = maker
    return found, skipped


def _bits(matrix: Tensor) -> "np.ndarray[Any, np.dtype[np.uint16]]":
    """A view ``(token, dim)`` of a bfloat16 matrix as uint16: none of these stores knows the type."""
    return matrix.detach().view(torch.uint16).numpy()
