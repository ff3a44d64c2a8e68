"""A recorder sends its blocks while it records; an outage, a kill and a wrong place are all borne."""

import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from embevo_cli import training_compaction
from embevo_cli.main import embevo
from embevo_cli.training_compaction import make_small
from rich.console import Console

from embevo.errors import ArgumentError, RecordingWarning, RunExistsError, StorageRefusedError
from embevo.recording.recorder import Recorder
from embevo.run.cloud import patience
from embevo.run.cloud.bucket import Bucket
from embevo.run.mirroring.pushing import Pusher
from embevo.run.paths import RunPaths
from embevo.run.reading.reader import open_run
from embevo.run.repair.recovery import recover
from support import captures, stored
from support.faulty_proxy import FaultyProxy

SECRET = "a-secret-that-nobody-may-see-4711"


@pytest.fixture(autouse=True)
def _quickly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONGEST_SECONDS", 0.05)


def wait_until(holds: Callable[[], bool]) -> None:
    """Look until it holds; the time limit of the test ends it otherwise."""
    while not holds():
        time.sleep(0.005)


def record(path: Path, url: str, steps: range, **options: object) -> Recorder:
    parameter = torch.empty(captures.SHAPE)
    recorder = Recorder(path, {"embeddings": parameter}, block_steps=4, mirror=url, **options)  # type: ignore[arg-type]
    for step in steps:
        captures.capture(recorder, parameter, step)
    return recorder


def assert_holds(url: str, steps: range) -> None:
    found, values = stored.values(url)
    assert found == list(steps)
    np.testing.assert_array_equal(values, captures.expected(found))


@pytest.mark.parametrize("server", ["moto", "localbucket"], indirect=True)
def test_blocks_arrive_while_it_records_and_the_short_last_one_at_close(tmp_path: Path, url: str) -> None:
    recorder = record(tmp_path / "run", url, range(9))
    wait_until(lambda: recorder.stats.mirror is not None and recorder.stats.mirror.rows == 8)
    assert_holds(url, range(8))
    recorder.close()
    assert_holds(url, range(9))
    assert recorder.stats.mirror is not None
    assert (recorder.stats.mirror.waiting, recorder.stats.mirror.last_error) == (0, "")
    with record(tmp_path / "run", url, range(9, 14), resume=True):
        pass
    assert_holds(url, range(14))


def test_in_an_outage_the_loop_goes_on_and_the_rest_arrives_after_it(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    recorder = record(tmp_path / "run", url, range(4))
    wait_until(lambda: recorder.stats.mirror is not None and recorder.stats.mirror.rows == 4)
    proxy.fate = lambda _: "cut"
    parameter = next(iter(recorder.tensors()))
    for step in range(4, 40):
        captures.capture(recorder, parameter, step)
    recorder.flush()
    wait_until(lambda: recorder.stats.mirror is not None and recorder.stats.mirror.last_error != "")
    assert recorder.stats.mirror is not None
    assert recorder.stats.mirror.waiting == 9
    assert recorder.stats.waits == 0 or recorder.stats.dropped == 0
    proxy.fate = lambda _: "pass"
    recorder.close()
    assert_holds(url, range(40))


def test_while_an_answer_is_held_back_steps_are_captured_and_sealed(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    recorder = record(tmp_path / "run", url, range(4))
    wait_until(lambda: recorder.stats.mirror is not None and recorder.stats.mirror.rows == 4)
    before = len(proxy.requests)
    proxy.fate = lambda _: "hold"
    parameter = next(iter(recorder.tensors()))
    for step in range(4, 40):
        captures.capture(recorder, parameter, step)
    recorder.flush()
    wait_until(lambda: len(proxy.requests) > before)
    assert captures.steps_on_disk(tmp_path / "run") == list(range(40))
    assert recorder.stats.mirror is not None
    assert (recorder.stats.mirror.rows, recorder.stats.mirror.waiting) == (4, 9)
    proxy.fate = lambda _: "pass"
    proxy.let_go.set()
    recorder.close()
    assert_holds(url, range(40))


def test_what_was_not_sent_at_close_is_said_and_pushed_later(
    tmp_path: Path, url: str, proxy: FaultyProxy
) -> None:
    recorder = record(tmp_path / "run", url, range(4), mirror_wait=0.2)
    wait_until(lambda: recorder.stats.mirror is not None and recorder.stats.mirror.rows == 4)
    proxy.fate = lambda _: "busy"
    captures.capture(recorder, next(iter(recorder.tensors())), 4)
    with pytest.warns(RecordingWarning, match=f"embevo push {tmp_path / 'run'} {url}") as said:
        recorder.close()
    assert "503" in str(said[0].message)
    proxy.fate = lambda _: "pass"
    assert_holds(url, range(4))
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    assert_holds(url, range(5))


KILLED = """
import sys, torch
from embevo.recording.recorder import Recorder
from support import captures
parameter = torch.empty(captures.SHAPE)
recorder = Recorder(sys.argv[1], {"embeddings": parameter}, block_steps=4, mirror=sys.argv[2])
for step in range(11):
    captures.capture(recorder, parameter, step)
while not recorder.stats.mirror.last_error:
    pass
print("now", flush=True)
input()
"""


def test_killed_in_an_outage_it_is_recovered_and_pushed(tmp_path: Path, url: str, proxy: FaultyProxy) -> None:
    # The first block arrives, but for its last object.
    proxy.fate = lambda request: "cut" if "manifest/00000001" in request.path else "pass"
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "run"), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    proxy.fate = lambda _: "pass"
    assert_holds(url, range(0))
    assert recover(tmp_path / "run").ok
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    assert_holds(url, range(11))


def test_a_wrong_place_is_refused_before_anything_is_recorded(tmp_path: Path, url: str) -> None:
    with pytest.raises(StorageRefusedError, match="NoSuchBucket"):
        record(tmp_path / "run", "s3://no-such-bucket/run", range(1))
    record(tmp_path / "run", url, range(1)).close()
    with pytest.raises(RunExistsError, match="another run"):
        record(tmp_path / "other", url, range(1))
    assert not (tmp_path / "other").exists()
    for wrong in (
        "s3://user:word@bucket/run",
        "s3://bucket/run?X-Amz-Signature=word",
        "s3://bucket",
        "bucket",
    ):
        with pytest.raises(ArgumentError) as refused:
            record(tmp_path / "other", wrong, range(1))
        assert "word" not in str(refused.value)


def test_the_secret_is_in_no_file_message_or_log(
    tmp_path: Path, url: str, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    recorder = record(tmp_path / "run", url, range(6), mirror_wait=0.0)
    proxy.fate = lambda _: "busy"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        recorder.close()
    proxy.fate = lambda _: "pass"
    shown = [caplog.text, repr(recorder.stats), *(str(each.message) for each in said)]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not any(SECRET in text for text in shown)
    assert not any(SECRET.encode() in data for data in [*files, *stored.objects(url).values()])


def test_nobody_is_asked_for_anything_without_a_mirror(tmp_path: Path, proxy: FaultyProxy) -> None:
    parameter = torch.empty(captures.SHAPE)
    with Recorder(tmp_path / "run", {"embeddings": parameter}, block_steps=4) as recorder:
        captures.capture(recorder, parameter, 0)
    assert recorder.stats.mirror is None
    assert not (tmp_path / "run" / "mirror.json").exists()
    assert proxy.requests == []


def test_what_a_training_makes_small_at_its_end_is_sent_so(tmp_path: Path, url: str) -> None:
    options = [
        "--steps",
        "2",
        "--dim",
        "16",
        "--layers",
        "1",
        "--context",
        "16",
        "--device",
        "cpu",
        "--compact",
    ]
    done = CliRunner().invoke(embevo, ["train", "--out", str(tmp_path / "run"), "--mirror", url, *options])
    assert done.exit_code == 0, done.output
    assert f"Sent to {url} as it is now" in done.output
    assert open_run(url).compacted_rows == 3


def test_what_was_made_small_and_cannot_be_sent_is_said_and_pushed_later(
    tmp_path: Path, url: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_compaction, "_PATIENCE_SECONDS", 0.0)
    record(tmp_path / "run", url, range(9)).close()
    proxy.fate = lambda _: "busy"
    console = Console(record=True, width=80)
    make_small(console, tmp_path / "run", at_once=True, mirror=url)
    said = console.export_text()
    assert "503" in said
    assert f"push {tmp_path / 'run'} {url}" in said
    proxy.fate = lambda _: "pass"
    assert open_run(url).compacted_rows == 0
    Pusher(RunPaths(tmp_path / "run"), Bucket(url)).push()
    assert open_run(url).compacted_rows == 9


def test_a_training_is_sent_and_a_plan_says_what_that_takes(tmp_path: Path, url: str) -> None:
    options = ["--steps", "6", "--device", "cpu", "--quiet"]
    done = CliRunner().invoke(embevo, ["train", "--out", str(tmp_path / "run"), "--mirror", url, *options])
    assert done.exit_code == 0, done.output
    assert len(stored.values(url)[0]) == 7
    planned = CliRunner().invoke(
        embevo, ["plan", "--shape", "128x64", "--steps", "6000", "--rate", "30", "--mirror"]
    )
    # Sixteen files of the matrix and three of vectors, the metadata of six arrays and of the group, a piece
    # and a look; seven blocks of that.
    assert "196 requests, 28 a block" in planned.output, planned.output
