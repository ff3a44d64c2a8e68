"""Chunks of an array decoded on all cores, straight into where their values are wanted."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embevo.errors import DamagedError
from embevo.run.disk.malformed import MALFORMED
from embevo.run.format.decoding import ChunkDecoder
from embevo.run.format.dtypes import NUMPY_DTYPES
from embevo.run.format.widening import narrow, widen
from embevo.run.limits import threads_worth_having
from embevo.run.manifest.entry import Block, Created
from embevo.run.reading.chunk_files import ChunkFiles, Contents
from embevo.run.reading.pieces import Along, Piece, pieces, put, taken
from embevo.run.reading.step_array import length_of

_BFLOAT16: Final = NUMPY_DTYPES["bfloat16"]
# Threads take longer to start than so many bytes take to decode.
_BYTES_FOR_THREADS: Final = 1 << 20

Locate = Callable[[tuple[int, ...]], tuple[Created | Block, str]]


class ChunkReader:
    """Reads one array of a run. Several threads may do so at once."""

    def __init__(self, decoder: ChunkDecoder, files: ChunkFiles, locate: Locate) -> None:
        """Of an array.

        Args:
            decoder: of its chunks.
            files: of the run.
            locate: the entry of the manifest that names a file, and the file's key, from its position in the
                grid of files.
        """
        self._decoder = decoder
        self._files = files
        self._locate = locate

    def read(self, selection: Sequence[Along], target: NDArray[Any]) -> None:
        """Decode an orthogonal selection into an array of its shape.

        Args:
            selection: along each axis; within the array.
            target: in the dtype of the array, or in that which it was widened from or is to be widened to.

        Raises:
            DamagedError: a file is missing, or not what was written.
        """
        opened: dict[tuple[int, ...], _File] = {}
        jobs: list[tuple[_File, Piece]] = []
        grid = self._decoder.grid
        for piece in pieces(selection, self._decoder.chunk_shape):
            place = tuple(chunk // many for chunk, many in zip(piece.chunk, grid, strict=True))
            if place not in opened:
                opened[place] = _File(self._decoder, self._files, *self._locate(place))
            opened[place].left += 1
            jobs.append((opened[place], piece))
        many = math.prod(grid)
        for file in opened.values():
            # Of a shard that is wanted whole, one look at the disk is enough.
            file.parts = self._decoder.sharded and file.left < many
        try:
            self._work(jobs, target)
        finally:
            for file in opened.values():
                file.close()

    def _work(self, jobs: Sequence[tuple["_File", Piece]], target: NDArray[Any]) -> None:
        scratch: list[NDArray[np.uint8]] = []
        numbers = count()
        failed = False

        def work() -> None:
            nonlocal failed
            # Each thread takes what is next, so that few files are open at a time.
            while (number := next(numbers)) < len(jobs) and not failed:
                try:
                    self._decode(*jobs[number], target, scratch)
                except BaseException:
                    failed = True
                    raise

        threads = 1
        if len(jobs) > 1 and len(jobs) * self._decoder.chunk_bytes > _BYTES_FOR_THREADS:
            threads = min(len(jobs), threads_worth_having())
        if threads == 1:
            work()
            return
        with ThreadPoolExecutor(threads) as pool:
            try:
                working = [pool.submit(work) for _ in range(threads)]
            except RuntimeError:
                # The interpreter is ending, and no pool takes anything any more.
                work()
                return
            try:
                for one in working:
                    one.result()
            finally:
                failed = True

    def _decode(
        self, file: "_File", piece: Piece, target: NDArray[Any], scratch: list[NDArray[np.uint8]]
    ) -> None:
        decoder = self._decoder
        data, proven = file.chunk(piece.chunk)
        try:
            straight = self._straight(piece, target)
            if straight is not None:
                decoder.decode(data, straight.reshape(-1).view(np.uint8), proven=proven)
            else:
                buffer = scratch.pop() if scratch else np.empty(decoder.chunk_bytes, np.uint8)
                decoder.decode(data, buffer, proven=proven)
                stored = buffer.view(decoder.dtype).reshape(decoder.stored_shape)
                _place(stored, decoder.order, piece, target)
                scratch.append(buffer)
        except (*MALFORMED, RuntimeError, MemoryError) as error:
            raise file.damaged(error) from error
        file.done()

    def _straight(self, piece: Piece, target: NDArray[Any]) -> NDArray[Any] | None:
        """Where a whole chunk goes, if it lies there as it does in its bytes."""
        whole = all(
            isinstance(part, slice) and length_of(part) == size
            for part, size in zip(piece.inside, self._decoder.chunk_shape, strict=True)
        )
        if not whole or target.dtype != self._decoder.dtype:
            return None
        if not all(isinstance(part, slice) for part in piece.outside):
            return None
        there = target[piece.outside].transpose(self._decoder.order)
        return there if there.flags.c_contiguous else None


class _File:
    """A file while chunks of it are decoded: read when the first is wanted, let go of with the last."""

    def __init__(self, decoder: ChunkDecoder, files: ChunkFiles, entry: Created | Block, key: str) -> None:
        self.left = 0
        self.parts = False
        self._decoder = decoder
        self._files = files
        self._entry, self._key = entry, key
        self._lock = Lock()
        self._contents: Contents | None = None
        self._places: NDArray[np.int64] | None = None

    def chunk(self, chunk: tuple[int, ...]) -> tuple[memoryview, bool]:
        """The bytes of a chunk by its position in the array, and whether they are proven."""
        with self._lock:
            if self._contents is None:
                self._contents = self._files.contents(self._entry, self._key, parts=self.parts)
            contents, decoder = self._contents, self._decoder
            if not decoder.sharded:
                return contents.read(0, contents.length), contents.proven
            if self._places is None:
                size = decoder.index_bytes
                try:
                    index = contents.read(max(0, contents.length - size), size)
                    self._places = decoder.places(index, contents.length)
                except (*MALFORMED, MemoryError) as error:
                    raise self.damaged(error) from error
        inside = [place % many for place, many in zip(chunk, decoder.grid, strict=True)]
        start, length = self._places[np.ravel_multi_index(inside, decoder.grid)].tolist()
        return contents.read(start, length), contents.proven

    def damaged(self, error: Exception) -> DamagedError:
        """What to raise where a chunk cannot be decoded."""
        return self._files.damaged(
            self._entry, self._key, f"cannot be decoded: {error or type(error).__name__}"
        )

    def done(self) -> None:
        """One chunk of it is decoded."""
        with self._lock:
            self.left -= 1
        if not self.left:
            self.close()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            contents, self._contents = self._contents, None
        if contents is not None:
            contents.close()


def _place(stored: NDArray[Any], order: tuple[int, ...], piece: Piece, target: NDArray[Any]) -> None:
    """Put what is wanted of a decoded chunk, in its stored order, into the target."""
    back = np.argsort(order)
    if stored.dtype == target.dtype:
        # Bits are copied, not numbers: no conversion may touch the payload of a NaN.
        bits = f"u{target.dtype.itemsize}"
        put(target.view(bits), piece.outside, taken(stored.view(bits).transpose(back), piece.inside))
    elif target.dtype == _BFLOAT16 and stored.dtype == np.float32:
        # What was widened is the upper half of each float32.
        halves = stored.view(np.uint16)[..., 1::2].transpose(back)
        put(target.view(np.uint16), piece.outside, taken(halves, piece.inside))
    else:
        values = np.ascontiguousarray(taken(stored.transpose(back), piece.inside))
        wide = target.dtype == np.float32
        put(target, piece.outside, widen(values) if wide else narrow(values, target.dtype))
