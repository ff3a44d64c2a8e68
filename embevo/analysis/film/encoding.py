"""Frames put together into a film, MP4 by ffmpeg or GIF by Pillow; it gets its name when it is whole."""

import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embevo.errors import DestinationError, FilmError
from embevo.run.disk.atomic import PARTIAL

Suffix = Literal[".mp4", ".gif"]
# Named in the file, so that embevo knows its own films.
_MAKER: Final = "embevo"
# A GIF counts time in hundredths of a second.
_GIF_TICK: Final = 10
_HOLD_SECONDS: Final = 1.5


def suffix_of(path: Path) -> Suffix:
    """What kind of film a file name asks for; DestinationError for any other."""
    match path.suffix.lower():
        case ".mp4":
            return ".mp4"
        case ".gif":
            return ".gif"
    raise DestinationError(
        f"{path}: a film is an .mp4 or a .gif, not {path.suffix or 'a file without a suffix'}"
    )


def find_ffmpeg() -> str:
    """The ffmpeg that imageio-ffmpeg brings, or else the one on PATH.

    Raises:
        FilmError: there is neither.
    """
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
    if found is None:
        raise FilmError(
            "an .mp4 needs ffmpeg: pip install 'embevo[animate]' brings one, or put one on PATH; "
            "a .gif needs none"
        )
    return found


def write_film(path: Path, frames: Iterator[NDArray[np.uint8]], fps: int) -> None:
    """Write frames, the last of which stays for a moment.

    Args:
        path: ends in .mp4 or .gif; its directory exists.
        frames: one or more, ``(height, width, 3)`` uint8 of one even height and width.
        fps: frames a second.

    Raises:
        FilmError: there is no ffmpeg, or it failed, or the file cannot be written; there is no file of that
            name then, or the old one.
    """
    partial = path.with_name(path.name + PARTIAL)
    write = _write_mp4 if suffix_of(path) == ".mp4" else _write_gif
    try:
        write(partial, frames, fps)
        partial.replace(path)
    except OSError as error:
        raise FilmError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _write_mp4(path: Path, frames: Iterator[NDArray[np.uint8]], fps: int) -> None:
    first = next(frames)
    height, width, _ = first.shape
    command = [find_ffmpeg(), "-nostdin", "-loglevel", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    # yuv420p and the index at the front are what browsers play; bitexact leaves out encoder and date.
    command += ["-an", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command += ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-metadata", f"comment={_MAKER}"]
    command += ["-f", "mp4", str(path.absolute())]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stderr=complaints) as process,
    ):
        pipe = process.stdin
        assert pipe is not None  # noqa: S101 - it was asked for
        try:
            last = first
            _send(pipe, first)
            for last in frames:
                _send(pipe, last)
            for _ in range(round(_HOLD_SECONDS * fps)):
                _send(pipe, last)
            pipe.close()
        except BrokenPipeError:
            # It has died, and says why below.
            pipe.close()
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip() or "it did not say why"
            raise FilmError(f"ffmpeg could not write {path.name.removesuffix(PARTIAL)}: {said}")


def _send(pipe: IO[bytes], frame: NDArray[np.uint8]) -> None:
    """All bytes of a frame; without a buffer, so that none is left to be flushed to a process that died."""
    view = memoryview(frame.tobytes())
    while view:
        view = view[pipe.write(view) :]


def _write_gif(path: Path, frames: Iterator[NDArray[np.uint8]], fps: int) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    # The last frame has all the colours; one palette for all keeps them from flickering.
    palette = images[-1].quantize(128, dither=Image.Dither.NONE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    tick = max(2 * _GIF_TICK, round(1000 / fps / _GIF_TICK) * _GIF_TICK)
    times = [tick] * (len(images) - 1) + [tick + round(1000 * _HOLD_SECONDS)]
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=times,
        loop=0,
        comment=_MAKER.encode(),
    )
