"""Places, credentials and settings that are wrong: what is said of them, at once and without secrets."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from embevo_cli.main import embevo

from embevo.errors import ArgumentError, RecordingWarning, RunExistsError, StorageError, StorageRefusedError
from embevo.recording.recorder import Recorder
from embevo.run.cloud.address import checked
from embevo.run.cloud.bucket import Bucket
from embevo.run.cloud.patience import Patience
from embevo.run.mirroring.pulling import pull
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from support import captures, written
from support.faulty_proxy import FaultyProxy

BROKEN = "half-of-a-secret\n"


def recorder_of(path: Any, url: str | None = None, **options: Any) -> Recorder:
    return Recorder(path, {"embeddings": torch.zeros(captures.SHAPE)}, mirror=url, **options)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ENDPOINT_URL", "no-url", "AWS_ENDPOINT_URL is like https://host:port"),
        ("AWS_ACCESS_KEY_ID", BROKEN, "no credential .* has a line break"),
        ("AWS_SECRET_ACCESS_KEY", "", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_an_environment_that_is_wrong_is_said_before_anything_is_recorded(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.delenv(name)
    if value:
        monkeypatch.setenv(name, value)
    asks: tuple[Callable[[], object], ...] = (
        lambda: Bucket(url, Patience(600)).get("key"),
        lambda: recorder_of(tmp_path / "run", url),
    )
    for ask in asks:
        with pytest.raises(StorageRefusedError, match=f"{url}: .*{said}") as refused:
            ask()
        assert BROKEN.strip() not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_credentials_that_expire_end_a_push_and_not_a_recording(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    recorder = recorder_of(tmp_path / "run", url, block_steps=2, mirror_wait=0.0)
    proxy.fate = lambda _: "expired"
    for step in range(4):
        recorder.capture(step)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        recorder.close()
    (warned,) = (str(each.message) for each in said if each.category is RecordingWarning)
    assert "ExpiredToken. The credentials have expired: renew them" in warned
    assert f"embevo push {tmp_path / 'run'} {url}" in warned
    assert len(open_run(tmp_path / "run").steps) == 4
    before = len(proxy.requests)
    with pytest.raises(StorageRefusedError, match="have expired"):
        Pusher(RunPaths(tmp_path / "run"), Bucket(url, Patience(600))).push()
    assert len(proxy.requests) == before + 1
    proxy.fate = lambda _: "pass"
    assert Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push() == 4


def test_who_is_not_answered_is_waited_for_as_long_as_was_asked(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    proxy.fate = lambda _: "cut"
    with pytest.raises(StorageError, match=url):
        pull(url, tmp_path / "back", patience=0)
    assert len(proxy.requests) == 1


def test_a_url_of_no_place_is_refused() -> None:
    for wrong in ("file://data/run", "s3://bucket//run", "s3://bucket/a/../run"):
        with pytest.raises(ArgumentError, match=wrong):
            checked(wrong)
    assert checked("S3://Bucket/Run/") == "s3://Bucket/Run"


@pytest.mark.parametrize("url", ["s3://bucket/run", "s3:/bucket/run", "https://host/run"])
def test_a_url_in_the_place_of_a_directory_is_told_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (url, Path(url)):
        with pytest.raises(ArgumentError, match=r"is a URL.* mirror=.* embevo pull"):
            recorder_of(path)
    for words in (["info", url], ["train", "--steps", "1", "--out", url], ["pull", "s3://bucket/run", url]):
        refused = CliRunner().invoke(embevo, words)
        assert refused.exit_code == 2
        assert "embevo pull" in " ".join(refused.output.replace("\u2502", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_brought_into_a_file(tmp_path: Path, url: str) -> None:
    written.write_run(tmp_path / "run", rows=4, sealed=4).journal.close()
    (tmp_path / "run" / "journal").unlink()
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    (tmp_path / "file").write_text("thesis")
    with pytest.raises(RunExistsError, match="file is a file"):
        pull(url, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "thesis"
