"""A small file system of one's own: ext4 in a file, which can be cut off, or a tmpfs, which can be full."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
MIB = 1 << 20


def call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": PATH})


class Disk:
    """A file system mounted at ``mount``; made anew by :meth:`make`.

    Attributes:
        mount: where it is mounted.
    """

    def __init__(self, directory: Path, mib: int) -> None:
        self.mount = directory / "mount"
        self.mount.mkdir(parents=True)
        self._image = directory / "image"
        self._mib = mib
        self._mounted = False

    def make(self) -> None:
        """An empty file system, mounted."""
        self.unmount()
        with self._image.open("wb") as file:
            file.truncate(self._mib * MIB)
        call("mkfs.ext4", "-q", "-F", "-J", "size=4", "-O", "^metadata_csum_seed", str(self._image))
        self.remount()

    def remount(self) -> None:
        self.unmount()
        call("mount", "-o", "loop,errors=continue", str(self._image), str(self.mount))
        self._mounted = True

    def unmount(self) -> None:
        if self._mounted:
            call("umount", str(self.mount))
            self._mounted = False

    def remove(self) -> None:
        self.unmount()
        shutil.rmtree(self.mount.parent)


def ext4(directory: Path, mib: int) -> Disk:
    """A disk, or the reason for which there can be none here."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = Disk(directory, mib)
    try:
        disk.make()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be made and mounted here: {error}")
    return disk
