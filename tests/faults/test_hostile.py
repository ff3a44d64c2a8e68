"""Files that are not files, or not of this run: clear errors, bounded memory, nothing written elsewhere."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embevo.errors import DamagedError
from embevo.run.disk.atomic import write_file
from embevo.run.format.layout import Store
from embevo.run.repair.recovery import recover
from support import written
from support.faults.hostile import FILES, bounded_memory, copied, originals, read_everything, use
from support.faults.oracle import tree
from support.faults.rig import FULL, count


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    with bounded_memory():
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[Store, Path]:
    return originals(tmp_path_factory.mktemp("original"))


def to_fifo(file: Path) -> None:
    os.mkfifo(file)


def to_directory(file: Path) -> None:
    file.mkdir()
    (file / "inside").write_text("")


def to_zeros(file: Path) -> None:
    file.symlink_to("/dev/zero")


def to_itself(file: Path) -> None:
    file.symlink_to(file)


def to_nowhere(file: Path) -> None:
    file.symlink_to("/nonexistent/file")


def to_terabyte(file: Path) -> None:
    with file.open("wb") as hole:
        hole.truncate(1 << 40)


def to_noise(file: Path) -> None:
    file.write_bytes(np.random.default_rng(1).bytes(5000))


def to_nothing(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store", ["both", "safetensors"] if FULL else ["both"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "become",
    [to_fifo, to_directory, to_zeros, to_itself, to_nowhere, to_terabyte, to_noise, to_nothing],
)
def test_something_else_in_the_place_of_a_file(
    original: dict[Store, Path], tmp_path: Path, store: Store, name: str, become: Callable[[Path], None]
) -> None:
    expected = read_everything(original[store])
    path = copied(original[store], tmp_path)
    if not (path / name).exists():
        pytest.skip("not in this kind of store")
    (path / name).unlink()
    become(path / name)
    found = use(path)
    assert found is None or found == expected
    count("files replaced by something else")


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_run(original: dict[Store, Path], tmp_path: Path, name: str) -> None:
    """Another run of the same shape and steps, with other values."""
    other = written.write_run(
        tmp_path / "other", rows=12, sealed=10, seed=1, token_count=np.ones(5, np.int64)
    ).path
    expected = read_everything(original["both"])
    path = copied(original["both"], tmp_path / "copy")
    shutil.copy(other / name, path / name)
    found = use(path)
    assert found is None or found == expected


def test_a_run_below_a_symlink_is_read_and_links_in_it_are_not_followed_out(
    original: dict[Store, Path], tmp_path: Path
) -> None:
    path = copied(original["both"], tmp_path / "copy")
    (tmp_path / "link").symlink_to(path)
    assert read_everything(tmp_path / "link") == read_everything(original["both"])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.partial").write_text("mine")
    (path / "elsewhere").symlink_to(outside)
    (path / "precious.partial").symlink_to(outside / "precious.partial")
    (path / "directory.partial").symlink_to(outside)
    recover(path)
    assert (outside / "precious.partial").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    [
        "manifest",
        "journal",
        "writer.lock",
        "trajectory.zarr",
        "trajectory.zarr/loss",
        "snapshots",
        "checkpoints",
    ],
)
def test_nothing_is_written_through_a_link(original: dict[Store, Path], tmp_path: Path, name: str) -> None:
    """A part of the run is a link to the same part elsewhere: it may be read, and must not be written."""
    path = copied(original["both"], tmp_path / "copy")
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside / "part"
    if (path / name).exists():
        (path / name).rename(target)
    elif name == "checkpoints":
        target.mkdir()
    else:
        target.write_text("mine")
    (path / name).symlink_to(target)
    before = tree(outside)
    with pytest.raises(DamagedError, match=r"symbolic link|not a regular file"):
        recover(path)
    assert tree(outside) == before


def test_an_unfinished_write_that_is_a_link_is_not_followed(
    original: dict[Store, Path], tmp_path: Path
) -> None:
    path = copied(original["both"], tmp_path / "copy")
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (path / "snapshots" / "step_0000011.safetensors.partial").symlink_to(precious)
    with contextlib.suppress(OSError):
        write_file(path / "snapshots" / "step_0000011.safetensors", b"bytes", sync=False)
    assert precious.read_text() == "mine"
