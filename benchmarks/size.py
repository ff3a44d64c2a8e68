"""How large recorded runs are, and what other layouts and codecs would make of them."""

import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray

from benchmarks.result import Ratio, Result
from embevo.run.format.steps import count, to_ranges

_BOUNDS = {
    "normal, bfloat16": (">= 12", ">= 20"),
    "qwen, bfloat16": (">= 45", ">= 65"),
    "normal, float32": (">= 1.8", ">= 2.6"),
}
_STEPS = 1000
_TOKENS = 16


class Codec(Protocol):
    """What numcodecs and pcodec have in common."""

    def encode(self, buf: Any) -> Any:
        """To bytes."""

    def decode(self, buf: Any) -> Any:
        """And back."""


def tree_bytes(path: Path) -> int:
    """Of all files below a directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def measure(runs: dict[str, Path]) -> Result:
    """Against the bytes of the safetensors files of the same steps."""
    result = Result(
        "Size",
        "The whole trajectory.zarr of a recorded run, metadata, steps and losses included, against the "
        "safetensors files of the same steps.",
        ("run", "steps", "safetensors", "trajectory.zarr", "times smaller"),
    )
    for name, path in runs.items():
        steps = count(to_ranges(range(len(list((path / "snapshots").iterdir())))))
        files, stored = tree_bytes(path / "snapshots"), tree_bytes(path / "trajectory.zarr")
        result.rows.append(
            (name, f"{steps:,}", f"{files / 1e6:.1f} MB", f"{stored / 1e6:.2f} MB", f"{files / stored:.1f}")
        )
        must, aim = _BOUNDS[name]
        result.ratios.append(Ratio(f"{name}: files over Zarr", (files / stored,), must, aim))
        result.samples[name] = {"steps": steps, "safetensors": files, "zarr": stored}
    return result


def candidates() -> tuple[list[tuple[str, tuple[int, ...], Codec, str]], list[str]]:
    """Name, order of the axes in a chunk, codec, and who can read it; and what is not installed."""
    late, early = (1, 2, 0), (0, 1, 2)
    anyone = "zarr, zarrita"

    def blosc(name: str, level: int, shuffle: int, block: int = 4 << 20) -> Codec:
        codec: Codec = Blosc(name, level, shuffle, block)
        return codec

    found: list[tuple[str, tuple[int, ...], Codec, str]] = [
        ("time last, zstd 3, shuffle, one piece (the default)", late, blosc("zstd", 3, 1), anyone),
        ("time last, zstd 5, shuffle, Blosc's own blocks", late, blosc("zstd", 5, 1, 0), anyone),
        ("time last, zstd 1, shuffle, one piece", late, blosc("zstd", 1, 1), anyone),
        ("time last, zstd 7, shuffle, one piece", late, blosc("zstd", 7, 1), anyone),
        ("time last, zstd 3, bitshuffle, one piece", late, blosc("zstd", 3, 2), anyone),
        ("time last, lz4, shuffle, one piece", late, blosc("lz4", 5, 1), anyone),
        ("time first, zstd 3, shuffle, one piece", early, blosc("zstd", 3, 1), anyone),
        ("time first, zstd 5, shuffle, Blosc's own blocks", early, blosc("zstd", 5, 1, 0), anyone),
    ]
    skipped = []
    try:
        from numcodecs.pcodec import PCodec  # noqa: PLC0415 - optional

        found.append(("time last, pcodec 8", late, PCodec(), "zarr with pcodec"))
    except ImportError:
        skipped.append("pcodec is not installed")
    return found, skipped


def measure_codecs(runs: dict[str, Path]) -> Result:
    """On one core: what a chunk of 1,000 steps, 16 tokens and all dims becomes, and how fast."""
    found, skipped = candidates()
    result = Result(
        "Codecs",
        f"Chunks of {_STEPS} steps x {_TOKENS} tokens of the same runs, on one core. MB are those of the "
        "float32 values that a reader gets; the ratio is to the safetensors bytes of the matrix.",
        ("", *(f"{name}: times smaller" for name in runs), "encode", "decode", "read by"),
        skipped=skipped,
    )
    for name, order, codec, reader in found:
        cells, spent = [], [0.0, 0.0]
        megabytes = 0.0
        for kind, path in runs.items():
            array = zarr.open_group(path / "trajectory.zarr", mode="r")["embeddings"]
            assert isinstance(array, zarr.Array)
            values = np.asarray(array[:])
            stored, encoding, decoding = _compress(values, order, codec)
            recorded = values.nbytes // (2 if "bfloat16" in kind else 1)
            cells.append(f"{recorded / stored:.2f}")
            spent = [spent[0] + encoding, spent[1] + decoding]
            megabytes += values.nbytes / 1e6
            result.samples[f"{name}; {kind}"] = {
                "bytes": stored,
                "encode_seconds": encoding,
                "decode_seconds": decoding,
            }
        speeds = [f"{megabytes / taken:,.0f} MB/s" for taken in spent]
        result.rows.append((name, *cells, *speeds, reader))
    return result


def _compress(values: NDArray[Any], order: tuple[int, ...], codec: Codec) -> tuple[int, float, float]:
    """Bytes, and CPU seconds of encoding and of decoding, of a trajectory ``(step, token, dim)``."""
    stored, spent = 0, [0.0, 0.0]
    for step in range(0, len(values), _STEPS):
        for token in range(0, values.shape[1], _TOKENS):
            part = values[step : step + _STEPS, token : token + _TOKENS].transpose(order)
            chunk = np.ascontiguousarray(part)
            start = time.thread_time()
            encoded = codec.encode(chunk)
            middle = time.thread_time()
            codec.decode(encoded)
            spent = [spent[0] + middle - start, spent[1] + time.thread_time() - middle]
            stored += len(encoded)
    return stored, spent[0], spent[1]
