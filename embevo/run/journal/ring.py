"""The ring of frames in one preallocated, memory-mapped file: queue and journal at once.

The file is a header page and K slots; row r of the trajectory lives in slot r modulo K. A slot is

    word 0   commit: r + 1 once the row is complete, 0 while it is being written
    word 1   seal: checksum of words 2 and up, seeded with r + 1; 0 while there is none
    word 2   step
    word 3   checksum of the image
    word 4.. scalars, float64
    image    the bytes of the step's safetensors file, header included

Words are 64 bits. A row is written by clearing the commit word, filling the slot, sealing it, and storing the
commit word last. The pages belong to the kernel, so whatever was stored survives the death of the process.
The seal is what says that the bytes are the right ones: after a power cut, which may keep any subset of the
pages, and after a bit flip.
"""

import contextlib
import errno
import mmap
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from embevo.errors import CreationError, DamagedError, UnprovenError, UnsupportedError
from embevo.run.disk.atomic import flushes_drives, sync_file
from embevo.run.disk.checksum import checksum
from embevo.run.disk.process import boot_id
from embevo.run.disk.regular_file import open_regular
from embevo.run.disk.reserve import reserve
from embevo.run.format.frame import FrameSpec
from embevo.run.journal.header import HEAD_WORDS, PAGE, align, head_bytes, header_of, parse_header, slot_bytes
from embevo.run.journal.populate import populate

# Up to this image size the training thread seals the slot itself (about 1 us per 14 kB); above it the writer
# thread does, so that capture stays one memory copy.
SEALED_AT_CAPTURE_BYTES: Final = 1 << 20
# What mmap says of a file system without shared mappings.
NO_MAPPING: Final = frozenset({errno.ENODEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


@dataclass(frozen=True)
class Frame:
    """One captured step.

    Attributes:
        row: row of the trajectory.
        step: global training step.
        scalars: ``(scalar,)`` float64, in the order of the frame's specification.
        image: ``(byte,)`` uint8, the step's safetensors file.
        image_checksum: of the image.
    """

    row: int
    step: int
    scalars: NDArray[np.float64]
    image: NDArray[np.uint8]
    image_checksum: int


class Journal:
    """The mapped ring. One process writes it, any number read it.

    Attributes:
        path: the file.
        frame: what a slot records.
        slots: K, the number of slots.
        run: names the run that it belongs to; empty if the journal does not say.
        size: of the file, in bytes.
        seals_at_capture: whether frames are small enough to be sealed by the training thread.
        same_boot: whether this machine made the journal and has been up since, so that its pages are what the
            writer stored even where no seal says so.
        origin: the machine and boot for which that holds; empty if the header does not say.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Map an existing journal.

        Raises:
            NotARunError: the file is no journal, or of a newer format.
            DamagedError: its header is not what was written, or it is cut short.
            UnsupportedError: the file system cannot map it.
        """
        self.path = path
        descriptor = open_regular(path, writable=writable)
        try:
            size = os.fstat(descriptor).st_size
            head = os.pread(descriptor, 1 << 20, 0)
            header = parse_header(path, head)
            self.frame, self.slots, self.run, self.origin = (
                header.frame,
                header.slots,
                header.run,
                header.origin,
            )
            self._lay_out(header.bytes)
            if self.slots < 1 or size != header.bytes + self.slots * self._slot_bytes:
                raise DamagedError(
                    f"{path} is {size:,} bytes long; its header says {self.slots} slots of "
                    f"{self._slot_bytes:,} bytes. It was cut short or is not from embevo."
                )
            self.size = size
            self.same_boot = bool(header.boot) and header.boot == boot_id()
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            try:
                self._map = mmap.mmap(descriptor, size, mmap.MAP_SHARED, protection)
            except OSError as error:
                if error.errno in NO_MAPPING:
                    raise UnsupportedError(
                        f"{path} cannot be mapped into memory: {error.strerror}. The file system there "
                        "has no shared mappings, and recording needs them: keep the ring on a local disk "
                        "with journal_dir or EMBEVO_JOURNAL_DIR, or record there. A run that is there can be "
                        "read and recovered when it is copied to one."
                    ) from error
                raise DamagedError(f"{path}: its {size:,} bytes cannot be mapped: {error}") from error
            except OverflowError as error:
                raise DamagedError(f"{path}: its {size:,} bytes cannot be mapped: {error}") from error
        finally:
            os.close(descriptor)
        self._memory = memoryview(self._map)
        self._words = self._memory.cast("Q")
        self._steps = self._memory.cast("q")
        self._doubles = self._memory.cast("d")
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        # Where the commit words of the slots are.
        self._slot_words = range(self._header_bytes >> 3, size >> 3, self._slot_bytes >> 3)
        # What the training thread checksums in every capture, made once: a slice costs as much as a call.
        self._sealed_views: list[tuple[memoryview, memoryview]] = []
        if writable and self.seals_at_capture:
            self._sealed_views = [self._views(slot) for slot in range(self.slots)]

    @classmethod
    def create(cls, path: Path, frame: FrameSpec, slots: int, *, run: str = "") -> Self:
        """Reserve, initialise and map a new journal; the file appears under its name when it is complete.

        ``run`` names the run that it belongs to, if that is known.

        Raises:
            CreationError: the disk has no room for it; nothing is left behind.
            UnsupportedError: the file system cannot map it; likewise.
        """
        prefix = header_of(frame, slots, run=run, boot=boot_id(), host=socket.gethostname())
        header_bytes = align(len(prefix), PAGE)
        stride = slot_bytes(frame)
        size = header_bytes + slots * stride
        partial = path.with_name(path.name + ".partial")
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                reserve(descriptor, size)
                image_start = head_bytes(frame)
                for slot in range(slots):
                    os.pwrite(descriptor, frame.header, header_bytes + slot * stride + image_start)
                os.pwrite(descriptor, prefix, 0)
            finally:
                os.close(descriptor)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise CreationError(
                f"cannot reserve {size:,} bytes for the ring {path} ({slots} slots): {error.strerror}. "
                "Free that much space, choose another directory, or use fewer steps per block."
            ) from error
        try:
            journal = cls(path, writable=True)
        except UnsupportedError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        journal.ready(0, slots)
        return journal

    def _lay_out(self, header_bytes: int) -> None:
        self._header_bytes = header_bytes
        self._slot_bytes = slot_bytes(self.frame)
        self._image_start = head_bytes(self.frame)
        self._head_end = 8 * (HEAD_WORDS + len(self.frame.scalars))
        self.seals_at_capture = self.frame.image_bytes <= SEALED_AT_CAPTURE_BYTES

    def _start(self, row: int) -> int:
        return self._header_bytes + row % self.slots * self._slot_bytes

    def _views(self, row: int) -> tuple[memoryview, memoryview]:
        """The image in the slot of a row, and the part of the slot's head that its seal covers."""
        start = self._start(row)
        image = start + self._image_start
        return (
            self._memory[image : image + self.frame.image_bytes],
            self._memory[start + 16 : start + self._head_end],
        )

    # Writing

    def image(self, row: int) -> NDArray[np.uint8]:
        """The image in the slot of a row, a view ``(byte,)`` into the mapping."""
        start = self._start(row) + self._image_start
        return self._bytes[start : start + self.frame.image_bytes]

    def payload(self, row: int, name: str) -> memoryview:
        """The bytes of one matrix in the slot of a row, as a view into the mapping."""
        start = self._start(row) + self._image_start + self.frame.offsets[name]
        return self._memory[start : start + self.frame.nbytes(name)]

    @property
    def images_place(self) -> tuple[int, int, int, int]:
        """In bytes: where slot 0 begins, from slot to slot, where in one the image begins, its length."""
        return self._header_bytes, self._slot_bytes, self._image_start, self.frame.image_bytes

    def ready(self, row: int, rows: int) -> None:
        """Have the slots of coming rows ready to be stored into; no more than there are slots.

        Whenever the kernel has written a page to the disk, the next store into it waits until the file system
        has taken note: some microseconds a page, and longer where the disk is busy. This waits in its place.
        """
        first = row % self.slots
        for start, stop in ((first, min(first + rows, self.slots)), (0, first + rows - self.slots)):
            if start < stop:
                begin = (self._header_bytes + start * self._slot_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
                end = min(self._header_bytes + stop * self._slot_bytes, self.size)
                populate(self._bytes.ctypes.data + begin, end - begin)

    def begin(self, row: int) -> None:
        """Clear the commit word and the seal: from here until :meth:`commit` the slot holds no row."""
        words = self._words
        word = self._slot_words[row % self.slots]
        words[word] = 0
        words[word + 1] = 0

    def commit(self, row: int, step: int, scalars: tuple[float, ...], *, seal: bool) -> None:
        """Complete the row whose image has been filled in; its commit word is the last thing stored."""
        words = self._words
        slot = row % self.slots
        word = self._slot_words[slot]
        self._steps[word + 2] = step
        for index, value in enumerate(scalars, word + HEAD_WORDS):
            self._doubles[index] = value
        if seal:
            image, head = self._sealed_views[slot] if self._sealed_views else self._views(row)
            words[word + 3] = checksum(image)
            words[word + 1] = checksum(head, row + 1)
        words[word] = row + 1

    def put(self, frame: Frame, *, seal: bool = True) -> None:
        """Store a row that was captured before; sealed, unless nothing proves it."""
        self.begin(frame.row)
        self.image(frame.row)[:] = frame.image
        self.commit(frame.row, frame.step, tuple(frame.scalars.tolist()), seal=seal)

    def seal(self, row: int) -> None:
        """Checksum a committed row that was committed without."""
        word = self._start(row) >> 3
        if self._words[word + 1] == 0:
            image, head = self._views(row)
            self._words[word + 3] = checksum(image)
            self._words[word + 1] = checksum(head, row + 1)

    def sync(self) -> None:
        """Have the kernel write every page to the disk, and wait for it (msync)."""
        self._map.flush()
        if flushes_drives():
            # There, msync does not reach through to the drive.
            sync_file(self.path)

    # Reading

    def read(self, row: int, *, unproven: bool = False) -> Frame | None:
        """Copy a row out; None when it is not, or no longer, in the ring.

        With ``unproven``, a row comes also where nothing proves it: the caller has a checksum of its own, or
        wants it as it is.

        Raises:
            DamagedError: the slot was committed, but its bytes are not the ones that were captured.
            UnprovenError: whether they are cannot be told on this machine.
        """
        start = self._start(row)
        word = start >> 3
        before = (self._words[word], self._words[word + 1])
        head = bytes(self._memory[start + 16 : start + self._head_end])
        sealed = before[1] != 0 and before[1] == checksum(head, row + 1)
        # A valid seal proves the row even where the commit word does not: the process died between the two
        # stores, or the word was hit by a flip.
        if before[0] != row + 1 and not sealed:
            return None
        image = self.image(row).copy()
        if (self._words[word], self._words[word + 1]) != before:
            # Either the writer has sealed the row meanwhile, or it has begun to reuse the slot.
            return self.read(row, unproven=unproven) if self._words[word] == row + 1 else None
        step, image_checksum = struct.unpack("=qQ", head[:16])
        if not sealed and not (unproven and before[1] == 0 and not self.seals_at_capture):
            self._check_unsealed(row, before[1])
        if sealed and checksum(image.data) != image_checksum:
            raise DamagedError(
                f"{self.path}: the matrix of row {row} (step {step}) does not match its checksum"
            )
        if not sealed:
            image_checksum = checksum(image.data)
        scalars = np.frombuffer(head, np.float64, offset=16)
        return Frame(row, step, scalars, image, image_checksum)

    def stacked(self, first_row: int, rows: int, name: str) -> NDArray[Any]:
        """One array over consecutive rows that do not wrap, a view ``(row, ...)`` of its shape at a step."""
        start = self._start(first_row) + self._image_start + self.frame.offsets[name]
        spec = self.frame.by_name[name]
        strides = [spec.numpy_dtype.itemsize]
        for size in reversed(spec.shape[1:]):
            strides.insert(0, strides[0] * size)
        shape = (rows, *spec.shape)
        return np.ndarray(shape, spec.numpy_dtype, self._map, start, (self._slot_bytes, *strides))

    def head(self, row: int) -> tuple[int, NDArray[np.float64], int]:
        """Step, scalars ``(scalar,)`` and image checksum of a sealed row, for the process that wrote it."""
        start = self._start(row)
        step, image_checksum = struct.unpack("=qQ", self._memory[start + 16 : start + 32])
        scalars = np.frombuffer(bytes(self._memory[start + 32 : start + self._head_end]), np.float64)
        return step, scalars, image_checksum

    def image_checksum(self, row: int) -> int:
        """The image checksum of a sealed row, for the process that wrote it."""
        return self._words[(self._start(row) >> 3) + 3]

    def step(self, row: int) -> int:
        """The step of a row that is in the ring.

        Raises:
            DamagedError: the slot does not match its seal, or should have one and has none.
            UnprovenError: it has none, and whether it is whole cannot be told on this machine.
        """
        start = self._start(row)
        seal = self._words[(start >> 3) + 1]
        head = bytes(self._memory[start + 16 : start + self._head_end])
        sealed = seal == checksum(head, row + 1)
        if not sealed:
            self._check_unsealed(row, seal)
        return int.from_bytes(head[:8], "little", signed=True)

    def _check_unsealed(self, row: int, seal: int) -> None:
        """Raise unless a committed row whose seal is not valid is known to be what was stored."""
        if seal != 0 or self.seals_at_capture:
            raise DamagedError(f"{self.path}: the slot of row {row} does not match its seal")
        if not self.same_boot:
            raise UnprovenError(
                f"{self.path}: nothing proves row {row} here: its writer ended before it was sealed, and "
                f"that it is whole is known only on {self.origin or 'the machine that made the journal'}."
            )

    def is_unproven(self, row: int) -> bool:
        """Whether a row that is in the ring may be whole, and nothing on this machine can tell."""
        seal = self._words[(self._start(row) >> 3) + 1]
        return seal == 0 and not self.seals_at_capture and not self.same_boot

    def sealed_head(self, row: int) -> tuple[int, NDArray[np.float64], int] | None:
        """The :meth:`head` of a row, if its seal proves it; the image may be damaged all the same."""
        start = self._start(row)
        seal = self._words[(start >> 3) + 1]
        if seal == 0 or seal != checksum(self._memory[start + 16 : start + self._head_end], row + 1):
            return None
        return self.head(row)

    def committed(self, row: int) -> bool:
        """Whether the commit word says that a row is in the ring; costs one load."""
        return self._words[self._start(row) >> 3] == row + 1

    def steps(self) -> list[int]:
        """The steps of all rows that the ring holds and that can be proved, ascending."""
        found = []
        for slot in range(self.slots):
            row = self._words[self._start(slot) >> 3] - 1
            if row >= 0 and row % self.slots == slot:
                with contextlib.suppress(DamagedError):
                    found.append(self.step(row))
        return sorted(found)

    def tail(self, first_row: int) -> int:
        """The row after the last of the consecutive rows from ``first_row`` on that the ring holds.

        Raises:
            DamagedError: a row is missing although a later one is there.
        """
        stop = first_row
        while True:
            while stop < first_row + self.slots and self.claims(stop):
                stop += 1
            later = [row for row in range(stop + 1, first_row + self.slots) if self.claims(row)]
            # A writer at work may have captured both since the first of them was looked at.
            if not later or not self.claims(stop):
                break
        if later:
            raise DamagedError(
                f"{self.path}: row {stop} is missing, although row {later[0]} was captured after it"
            )
        return stop

    def claims(self, row: int) -> bool:
        """Whether the ring says that it has a row: by its commit word, or by a valid seal."""
        start = self._start(row)
        word = start >> 3
        if self._words[word] == row + 1:
            return True
        seal = self._words[word + 1]
        return seal != 0 and seal == checksum(self._memory[start + 16 : start + self._head_end], row + 1)

    def close(self) -> None:
        """Unmap. Views handed out before keep the mapping alive until they are gone."""
        del self._bytes
        views: list[memoryview[Any]] = [view for pair in self._sealed_views for view in pair]
        for view in (*views, self._words, self._steps, self._doubles, self._memory):
            view.release()
        with contextlib.suppress(BufferError):
            self._map.close()
