"""embevo plan."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from embevo_cli.readable import size_of

from embevo import open_run
from embevo.experiment.arrays import recorded_frame
from embevo.experiment.config import ExperimentConfig
from embevo.experiment.planned import plan_of
from embevo.run.format.frame import FrameSpec
from embevo.run.planning import Machine, Plan


def test_a_small_run_fits(invoke: Any, tmp_path: Path) -> None:
    result = invoke("plan", "--shape", "128x64", "--steps", 5000, "--rate", 30, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "embeddings bfloat16: 128 x 64, 5,001 times" in result.output
    assert result.output.endswith("It fits.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"shape": "99999999999999999999x64"},
        {"shape": "1x1000000000000000000", "measure": True},
        {"shape": "1000000000000000000x1", "ranks": 7, "mirror": True},
        {"steps": 2**63},
        {"steps": 2**63 - 1, "schedule": "log:20"},
        {"rate": "1e308"},
        {"rate": "1e-300"},
    ],
)
def test_what_no_machine_has_is_said_in_words(invoke: Any, asked: dict[str, Any], tmp_path: Path) -> None:
    given = {"shape": "128x64", "steps": 5, "rate": 1, "out": tmp_path, **asked}
    words = [
        word
        for name, value in given.items()
        for word in ([f"--{name}"] if value is True else [f"--{name}", value])
    ]
    result = invoke("plan", *words)
    assert result.exit_code in (1, 2) or "schedule" in asked, result.output
    assert max(map(len, result.output.splitlines())) < 300


def test_gradients_and_moments_are_recorded_too(invoke: Any) -> None:
    options = ("--gradient", "--optimizer", "--optimizer-dtype", "float32")
    result = invoke("plan", "--shape", "128X64", "--steps", 10, "--rate", 1, *options)
    moments = "embeddings.exp_avg float32, embeddings.exp_avg_sq float32"
    assert f"{moments}, embeddings bfloat16, embeddings.grad bfloat16: 128 x 64, 11 times" in result.output
    named = ("--record", "exp_avg_sq,weights,grad,exp_avg", "--optimizer-dtype", "float32")
    same = invoke("plan", "--shape", "128x64", "--steps", 10, "--rate", 1, *named)
    assert same.output.partition("disk left")[0] == result.output.partition("disk left")[0]


def test_arrays_of_several_shapes_rows_and_a_schedule(invoke: Any) -> None:
    record = ("--record", "weights,hidden_mean,hidden_var,logits", "--rows", 10)
    result = invoke("plan", "--shape", "128x64", "--steps", 999, "--rate", 1, *record, "--schedule", "log:1")
    assert result.exit_code == 0, result.output
    for part in (
        "hidden_mean float32 64, hidden_var float32 64, logits float32 10, embeddings bfloat16 10 x 64, 5 ",
        ": hidden_mean 256 B, hidden_var 256 B, logits 40 B, embeddings 1.2 KiB",
    ):
        assert part in result.output


def test_what_is_planned_is_what_is_taken(invoke: Any, tmp_path: Path) -> None:
    record = ("--record", "weights,grad,exp_avg_sq,hidden_mean,logits", "--schedule", "log:3")
    planned = invoke("plan", "--shape", "128x16", "--dtype", "float32", "--steps", 12, "--rate", 1, *record)
    small = (
        "--dim",
        16,
        "--layers",
        1,
        "--context",
        16,
        "--batch",
        4,
        "--dtype",
        "float32",
        "--device",
        "cpu",
    )
    assert invoke("train", *small, "--steps", 12, *record, "--out", tmp_path / "run").exit_code == 0
    run = open_run(tmp_path / "run")
    lines = dict(line.split(maxsplit=1) for line in planned.output.splitlines() if not line.startswith("a "))
    for name, spec in run.frame.arrays:
        assert f"{name} {spec.dtype} {' x '.join(map(str, spec.shape))}" in lines["records"]
    assert lines["records"].endswith(f", {len(run.steps)} times")
    assert f"block           {run.layout.block_steps:,} steps" in planned.output
    sizes = {file.stat().st_size for file in (tmp_path / "run" / "snapshots").iterdir()}
    assert sizes == {run.frame.image_bytes}
    assert lines["raw"] == size_of(len(run.steps) * run.frame.image_bytes)


def test_a_gradient_is_not_taken_to_shrink_as_the_matrix_does() -> None:
    def least_and_most(record: tuple[str, ...]) -> tuple[int, int]:
        frame = recorded_frame(record, (128, 64), "bfloat16")
        return Plan.of(frame, steps=5000, steps_per_second=1, store="zarr").zarr_bytes

    alone, both = least_and_most(("weights",)), least_and_most(("weights", "grad"))
    assert both[1] > 2.5 * alone[1]
    # Masks and ids are planned for, too.
    whole = FrameSpec.of({"mask": ("bool", (128, 64)), "ids": ("int64", (9,))})
    assert Plan.of(whole, steps=10, steps_per_second=1).zarr_bytes[1] > 0


def test_a_run_that_cannot_fit_is_refused_with_what_to_do(invoke: Any) -> None:
    result = invoke("plan", "--shape", "151936x2560", "--steps", 10**9, "--rate", 1)
    assert result.exit_code == 1
    assert "Does not fit: The run may take" in result.output
    assert "Record every n-th step" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shape", "128", "--steps", 1, "--rate", 1), "'128' is not TOKENSxDIM"),
        (("--shape", "0x64", "--steps", 1, "--rate", 1), "'0x64' is not TOKENSxDIM"),
        (("--shape", "2x2", "--steps", 0, "--rate", 1), "--steps"),
        (("--shape", "2x2", "--steps", 1, "--rate", 0), "--rate"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--optimizer-dtype", "float32"), "--optimizer"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--rows", 3), "3 is more than the 2"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--record", "grad"), "write weights,grad"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--schedule", "log"), "'log' is no schedule"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--schedule", "5", "--every", 2), "give one of them"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--budget", 0.1), "add --measure"),
        (("--shape", "2x2", "--steps", 1, "--rate", 1, "--budget", "nan", "--measure"), "nan"),
        (
            ("--shape", "2x2", "--steps", 1, "--rate", 1, "--budget", 0.1, "--measure", "--effort", "fast"),
            "is what --effort auto goes by",
        ),
        (
            ("--shape", "2x2", "--steps", 1, "--rate", 1, "--effort", "fast", "--store", "safetensors"),
            "are of the trajectory",
        ),
    ],
)
def test_wrong_input(invoke: Any, arguments: tuple[object, ...], message: str) -> None:
    result = invoke("plan", *arguments)
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_file_system_with_few_inodes(invoke: Any, tmp_path: Path) -> None:
    mounted = tmp_path / "few"
    mounted.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", "size=256m,nr_inodes=300", "none", mounted]
    if subprocess.run(made, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        arguments = ("plan", "--shape", "128x64", "--rate", 100, "--out", mounted / "run")
        result = invoke(*arguments, "--steps", 1000)
        assert result.exit_code == 1
        assert "the file system has 299 left (df -i)" in result.stderr
        assert "in memory and 299 files" in result.stdout
        assert invoke(*arguments, "--steps", 100).exit_code == 0
        assert invoke(*arguments, "--steps", 1000, "--store", "zarr").exit_code == 0
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_measuring_names_the_limit_and_the_effort_that_will_be_chosen(invoke: Any, tmp_path: Path) -> None:
    options = ("--shape", "128x64", "--steps", 5000, "--measure", "--out", tmp_path)
    slow = invoke("plan", "--rate", 0.001, *options)
    assert slow.exit_code == 0, slow.output
    assert "effort          small, whether training leaves a core idle or none" in slow.output
    assert "limit           " in slow.output
    fast = invoke("plan", "--rate", 1e9, *options)
    assert fast.exit_code == 1
    assert "effort          none, whether training leaves a core idle or none" in fast.output
    assert "even where nothing is compressed" in fast.output


def test_ranks_take_a_piece_each(invoke: Any) -> None:
    common = ("--dtype", "float32", "--steps", 10, "--rate", 1, "--store", "zarr")
    divided = invoke("plan", "--shape", "1000x64", *common, "--ranks", 7, "--ranks-per-host", 3)
    assert divided.exit_code == 0, divided.output
    # 143 rows are the largest of seven pieces of 1,000.
    alone = invoke("plan", "--shape", "143x64", *common)
    part = divided.output.partition("disk left")[0]
    assert part == alone.output.partition("disk left")[0]
    of_one = Plan.of(
        FrameSpec.of({"embeddings": ("float32", (143, 64))}), steps=10, steps_per_second=1, store="zarr"
    )
    assert "7, 3 of them on a host" in divided.output
    assert f"a host          {size_of(3 * of_one.memory_bytes)} of memory" in divided.output
    assert f"{size_of(7 * of_one.step_bytes)} a step, {size_of(7 * of_one.raw_bytes)} raw" in divided.output


def test_one_rank_sends_what_all_of_them_seal(invoke: Any) -> None:
    common = ("--dtype", "float32", "--steps", 100, "--rate", 1, "--store", "zarr", "--mirror")
    one = invoke("plan", "--shape", "250x64", *common).output
    four = invoke("plan", "--shape", "1000x64", *common, "--ranks", 4).output

    def sent(output: str) -> tuple[str, str, int]:
        found = re.search(
            r"^mirror +(.*) at most, (.*) a second; .* requests, (.*) a block", output, re.MULTILINE
        )
        assert found is not None, output
        return found[1], found[2], int(found[3])

    plan = Plan.of(
        FrameSpec.of({"embeddings": ("float32", (250, 64))}), steps=100, steps_per_second=1, store="zarr"
    )
    assert sent(one)[0] == size_of(plan.zarr_bytes[1])
    assert sent(four)[0] == size_of(4 * plan.zarr_bytes[1])
    # Of 250 rows, 16 to a file, each has 16 files; the three vectors, the metadata, the piece of the manifest
    # and the look belong to all.
    assert sent(four)[2] - sent(one)[2] == 3 * 16


def test_what_all_ranks_take_has_to_fit(invoke: Any) -> None:
    words = ("plan", "--shape", "2000000x8192", "--steps", 100, "--rate", 0.01, "--store", "zarr")
    assert invoke(*words, "--ranks", 4096, "--ranks-per-host", 1).exit_code == 1
    assert invoke("plan", *words[1:2], "488x8192", *words[3:]).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--ranks", 2, "--rows", 3),
        ("--ranks", 2, "--record", "weights,logits"),
        ("--ranks", 2, "--ranks-per-host", 3),
        ("--ranks-per-host", 2),
        ("--ranks", 0),
    ],
)
def test_ranks_that_cannot_be(invoke: Any, words: tuple[Any, ...]) -> None:
    result = invoke("plan", "--shape", "128x64", "--steps", 10, "--rate", 1, *words)
    assert result.exit_code == 2
    assert "ranks" in result.output


def test_without_a_core_to_compress_a_run_is_as_large_as_its_blocks(invoke: Any) -> None:
    words = ("plan", "--shape", "128x64", "--steps", 5000, "--rate", 30, "--store", "zarr")
    result = invoke(*words)
    # The last row begins a sixth block of a thousand, which is compressed unless that is not to be.
    frame = FrameSpec.of({"embeddings": ("bfloat16", (128, 64))})
    plan = Plan.of(frame, steps=5000, steps_per_second=30, store="zarr")
    assert 5001 * 128 * 64 * 2 < plan.uncompressed_bytes < 5100 * 128 * 64 * 2
    assert f"{size_of(plan.uncompressed_bytes)} where training leaves no core to compress" in result.output
    stored = invoke(*words, "--effort", "none")
    plan = Plan.of(frame, steps=5000, steps_per_second=30, store="zarr", effort="none")
    assert 6000 * 128 * 64 * 2 < plan.uncompressed_bytes < 6100 * 128 * 64 * 2
    assert f"Zarr            {size_of(plan.uncompressed_bytes)}, not compressed" in stored.output
    for effort in ("none", "fast", "small"):
        assert "no core to compress" not in invoke(*words, "--effort", effort).output


def test_a_budget_decides_the_effort_and_what_is_taken_is_said(invoke: Any, tmp_path: Path) -> None:
    words = ("plan", "--shape", "128x64", "--steps", 5000, "--rate", 100, "--measure", "--out", tmp_path)
    plenty = invoke(*words, "--budget", 1)
    assert "effort          small, whether training leaves a core idle or none" in plenty.output
    assert "; the budget is 100.00%" in plenty.output
    nothing = invoke(*words, "--budget", 0)
    assert "effort          small where training leaves a core idle, none where it uses all" in nothing.output
    for effort in ("none", "fast", "small"):
        fixed = invoke(*words, "--effort", effort)
        assert f"effort          {effort}, as asked for" in fixed.output
        assert "of the loop where training leaves a core idle" in fixed.output
        assert "the budget is" not in fixed.output


def test_a_schedule_of_every_so_many_steps_hands_over_as_every_does(invoke: Any) -> None:
    words = ("plan", "--shape", "128x64", "--steps", 5000, "--rate", 30)

    def said(*options: object) -> str:
        return str(invoke(*words, *options).output).partition("disk left")[0]

    assert said("--schedule", "every:100") == said("--every", 100)
    assert said("--schedule", "dense:0,100") == said("--every", 100)
    assert said("--schedule", "dense:1,100") != said("--every", 100)


def test_a_schedule_of_more_steps_than_one_could_go_through(invoke: Any) -> None:
    result = invoke("plan", "--shape", "1x1", "--steps", 10**15, "--rate", 1, "--schedule", "dense:100,1")
    assert "1,000,000,000,000,001 times" in result.output


def test_a_sweep_is_planned_as_its_runs_are(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Machine.here
    monkeypatch.setattr(Machine, "here", lambda directory: replace(here(directory), memory=1 << 40))
    grid = tmp_path / "grid.toml"
    grid.write_text(
        "[fixed]\nstore = 'zarr'\ndevice = 'cpu'\n[grid]\nsteps = [7200, 14400]\nseed = [1, 2, 3]\n"
    )
    out = ("--out", tmp_path / "runs")
    planned = invoke("plan", "--sweep", grid, "--rate", 2, "--workers", 2, *out)
    assert planned.exit_code == 0, planned.output
    rows = dict(re.findall(r"^(\S[\w ]+?) {2,}(.*)$", planned.output, re.MULTILINE))
    assert rows["runs"] == "6, 64,800 steps together, 2 a second in each"
    # Two begin at once, then whoever is free: 1 + 1 + 2 hours, and 1 + 2 + 2.
    assert rows["takes"] == "5.0 hours; 2.0 hours with 6 workers, as long as the longest run"
    plans = [
        plan_of(ExperimentConfig(steps=steps, store="zarr")) for steps in (7200, 14400) for _ in range(3)
    ]
    low, high = (sum(plan.zarr_bytes[place] for plan in plans) for place in (0, 1))
    rings = sum(sorted(plan.ring_bytes for plan in plans)[-2:])
    assert (
        rows["disk"] == f"{size_of(low)} to {size_of(high)} expected, {size_of(high + rings)} with the rings"
    )
    assert rows["files"] == f"{sum(plan.files for plan in plans):,} at most"
    assert planned.output.endswith("It fits.\n")
    many = invoke("plan", "--sweep", grid, "--rate", 2, "--workers", 10**6, *out)
    assert dict(re.findall(r"^(\S[\w ]+?) {2,}(.*)$", many.output, re.MULTILINE))["takes"].startswith("2.0")
    for words, said in (
        (("--sweep", grid), "needs one of --rate"),
        (("--sweep", grid, "--rate", 1, "--measure"), "needs one of --rate"),
        (("--sweep", grid, "--rate", 1, "--steps", 3, "--gradient"), "leave --steps, --gradient out"),
        (("--workers", 2), "--workers is for --sweep"),
        (("--shape", "128x64", "--steps", 3), "Missing --rate"),
    ):
        refused = invoke("plan", *words)
        assert refused.exit_code == 2
        assert said in refused.output
    assert [path.name for path in tmp_path.iterdir()] == ["grid.toml"]


def test_what_a_sweep_lacks_is_said(invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text("[fixed]\nsteps = 10\ndim = 8\nheads = 1\ndevice = 'cpu'\n[grid]\nseed = [1, 2]\n")
    here = Machine.here

    def small(directory: Path) -> Machine:
        found = here(directory)
        assert found.disk is not None
        return replace(found, free_disk=1, memory=1, disk=replace(found.disk, free_files=3))

    monkeypatch.setattr(Machine, "here", small)
    refused = invoke("plan", "--sweep", grid, "--measure", "--out", tmp_path)
    assert refused.exit_code == 1
    for said in ("the runs take more of the disk", "Choose fewer --workers", "more files than"):
        assert said in refused.output
    ((rate,),) = [re.findall(r"20 steps together, ([\d.,]+) a second in each", refused.output)]
    assert float(rate.replace(",", "")) > 1
