"""Another implementation than S3's: a directory behind obstore takes, shows and gives back the same run."""

from pathlib import Path

import numpy as np
import pytest

from embevo.errors import RunExistsError, StorageRefusedError
from embevo.run.cloud.bucket import Bucket
from embevo.run.mirroring.pulling import pull
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.rewinding import rewind_to
from support import written


def test_a_directory_is_sent_to_and_read_from_as_a_bucket_is(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/run"
    run = written.write_run(tmp_path / "run", rows=10, sealed=10)
    run.journal.close()
    (tmp_path / "run" / "journal").unlink()
    paths = RunPaths(tmp_path / "run")
    Pusher(paths, Bucket(url)).push()
    np.testing.assert_array_equal(open_run(url)["embeddings"][:], open_run(paths.root)["embeddings"][:])
    rewind_to(paths.root, 5)
    Pusher(paths, Bucket(url)).push()
    assert open_run(url).steps.tolist() == list(range(6))
    np.testing.assert_array_equal(
        open_run(pull(url, tmp_path / "back"))["embeddings"][:], open_run(paths.root)["embeddings"][:]
    )
    other = written.write_run(tmp_path / "other", rows=10, sealed=10)
    other.journal.close()
    with pytest.raises(RunExistsError, match="another run"):
        Pusher(RunPaths(tmp_path / "other"), Bucket(url)).push()


def test_a_directory_that_is_missing_is_said_to_be_and_not_made(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/stroe/run"
    for read in (lambda: open_run(url), lambda: pull(url, tmp_path / "back")):
        with pytest.raises(StorageRefusedError, match=f"{url}: .*{tmp_path}/stroe/run"):
            read()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StorageRefusedError, match=f"file://{tmp_path}/file/run"):
        Bucket(f"file://{tmp_path}/file/run")
