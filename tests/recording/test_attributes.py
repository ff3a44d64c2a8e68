"""Attributes are taken once, as JSON; and a journal names its run by them."""

import copy
import json
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embevo import Recorder, open_run
from embevo.errors import ArgumentError, DamagedError
from embevo.run.disk.checksum import checksum
from embevo.run.format.attributes import plain_attributes
from embevo.run.journal.header import header_of
from embevo.run.repair.recovery import recover
from embevo.run.repair.verification import verify
from embevo.run.writing.sealing import Sealer
from support import written
from support.interpreters import interpreter

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=5)
# Of one kind in a mapping, so that no two are the same in JSON.
KEYS = (st.text(max_size=4), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False))
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.one_of([st.dictionaries(keys, inner, max_size=12) for keys in KEYS])
    ),
    max_leaves=20,
)
ATTRIBUTES = st.dictionaries(st.text(max_size=6).filter(lambda key: key != "embevo"), JSON, max_size=4)


def change(value: Any) -> None:
    """Everything in it that can be changed, is."""
    if isinstance(value, dict):
        for inner in list(value.values()):
            change(inner)
        value["changed"] = object()
    elif isinstance(value, list):
        for inner in value:
            change(inner)
        value.append(object())


@given(attributes=ATTRIBUTES)
def test_what_is_taken_is_what_a_reader_finds_and_no_later_change_reaches_it(attributes: Any) -> None:
    expected = json.loads(json.dumps(attributes))
    given = copy.deepcopy(attributes)
    taken = plain_attributes(given)
    change(given)
    assert taken == expected
    assert json.dumps(taken, sort_keys=True) == json.dumps(expected, sort_keys=True)


def test_numbers_of_numpy_are_the_numbers_that_they_are() -> None:
    third = np.float32(1 / 3)
    taken = plain_attributes(
        MappingProxyType({"a": np.int8(-3), "b": third, "c": np.bool_(True), "d": {np.int64(4): 5}})
    )
    assert taken == {"a": -3, "b": float(third), "c": True, "d": {"4": 5}}
    assert [type(value) for value in taken.values()] == [int, float, bool, dict]


def cycle() -> dict[str, Any]:
    inner: list[Any] = []
    inner.append({"again": inner})
    return {"loop": inner}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"config": {"device": torch.device("cpu")}},
            r"attributes\['config'\]\['device'\]: torch.device is not JSON",
        ),
        (
            {"config": {"out": [Path("runs")]}},
            r"attributes\['config'\]\['out'\]\[0\]: pathlib\.\w+ is not JSON",
        ),
        ({"a": {1: "x", "1": "y"}}, r"attributes\['a'\]: the keys 1 and '1' are both '1' in JSON"),
        ({"a": {None: 1, "null": 2}}, r"the keys None and 'null' are both 'null' in JSON"),
        ({"a": {True: 1, "true": 2}}, r"the keys True and 'true' are both 'true' in JSON"),
        ({"a": float("nan")}, r"attributes\['a'\]: JSON has no number for nan"),
        ({"a": {"b": np.float64("inf")}}, r"attributes\['a'\]\['b'\]: JSON has no number for inf"),
        ({"a": {float("nan"): 1}}, r"attributes\['a'\], key nan: JSON has no number for nan"),
        ({"a": {(1, 2): 3}}, r"attributes\['a'\]: the key \(1, 2\) is a tuple"),
        ({"a": {Path("x"): 3}}, r"attributes\['a'\], key .*: pathlib\.\w+ is not JSON"),
        ({"a": {1, 2}}, r"attributes\['a'\]: set is not JSON"),
        ({"a": b"x"}, r"attributes\['a'\]: bytes is not JSON"),
        ({"a": torch.zeros(2)}, r"attributes\['a'\]: torch.Tensor is not JSON"),
        ({"a": np.zeros(2)}, r"attributes\['a'\]: numpy.ndarray is not JSON"),
        ({"a": [1, {"b": lambda: 0}]}, r"attributes\['a'\]\[1\]\['b'\]: function is not JSON"),
        ({"a": 10**5000}, r"attributes\['a'\]: an integer of 16,610 bits is too long"),
        ({"a": deep(200)}, r"attributes\['a'\].*: attributes are nested more than 100 deep"),
        ({"a": "x" * (9 << 20)}, r"attributes take 9,\d{3},\d{3} bytes as JSON; at most 8,388,608"),
        ({"embevo": {"format": 9}}, r"attributes\['embevo'\] is where embevo keeps"),
        (cycle(), r"attributes\['loop'\]\[0\]\['again'\]: the list contains itself"),
        ([("config", 1)], "attributes is a list; it must be a mapping"),
        ("config", "attributes is a str; it must be a mapping"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place_and_the_old_run_stays(
    tmp_path: Path, attributes: Any, message: str
) -> None:
    weight = torch.zeros(4, 2)
    with Recorder(tmp_path / "run", {"embeddings": weight}) as recorder:
        recorder.capture(3)
    with pytest.raises(ArgumentError, match=message):
        Recorder(tmp_path / "run", {"embeddings": weight}, overwrite=True, attributes=attributes)
    assert open_run(tmp_path / "run").steps.tolist() == [3]
    with pytest.raises(ArgumentError, match=message):
        Recorder(tmp_path / "other", {"embeddings": weight}, attributes=attributes)
    assert not (tmp_path / "other").exists()


RECORD = """
import os, signal, sys, torch
from embevo import Recorder
attributes = {attributes!r}
recorder = Recorder(sys.argv[1], {{"embeddings": torch.ones(16, 4)}}, attributes=attributes, block_steps=5)
for step in range(4):
    recorder.capture(step)
attributes["config"]["best"] = object()
attributes["config"].pop("lr")
for step in range(4, 13):
    recorder.capture(step)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"id2label": {i: f"LABEL_{i}" for i in range(12)}},
        {"by": {0.5: 1, 1e-7: 2, 10.0: 3}},
        {"t": (1, (2,))},
    ],
)
def test_a_killed_run_with_attributes_of_any_kind_is_opened_recovered_and_resumed(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    path = tmp_path / "run"
    attributes = {"config": {"lr": 0.1, **more}}
    done = subprocess.run(
        [interpreter(), "-c", RECORD.format(attributes=attributes), str(path)],
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    plain = json.loads(json.dumps(attributes))
    assert open_run(path).config == plain["config"]
    assert open_run(path).steps.tolist() == list(range(13))
    recover(path)
    assert verify(path, deep=True).ok
    with Recorder(path, {"embeddings": torch.ones(16, 4)}, resume=True) as recorder:
        recorder.capture(13)
    assert open_run(path).steps.tolist() == list(range(14))
    assert open_run(path).config == plain["config"]


def rename_journal(path: Path, run: written.WrittenRun, name: str) -> None:
    """Have the journal name its run as embevo 0.1 would have."""
    header = header_of(run.frame, run.journal.slots, run=name, boot="", host="")
    boot = json.loads((path / "journal").read_bytes()[24:].split(b"}\0", 1)[0] + b"}")["boot"]
    header = header_of(run.frame, run.journal.slots, run=name, boot=boot, host="")
    with (path / "journal").open("r+b") as file:
        file.write(header)


def named_by(attributes: Mapping[str, Any]) -> str:
    """By the keys as they were given, sorted before they became strings."""
    return f"{checksum(json.dumps(dict(attributes), sort_keys=True).encode()):016x}"


@given(
    labels=st.dictionaries(st.integers(0, 200), st.integers(), max_size=20),
    digits=st.dictionaries(st.integers(0, 200).map(str), st.integers(), max_size=20),
    floats=st.dictionaries(st.floats(-100, 100), st.integers(), max_size=20),
)
def test_journals_that_were_named_before_keys_became_strings_are_their_runs(
    tmp_path_factory: pytest.TempPathFactory, labels: Any, digits: Any, floats: Any
) -> None:
    path = tmp_path_factory.mktemp("run")
    config: Any = {"labels": labels, "digits": digits, "floats": [floats], "lr": 0.1}
    run = written.write_run(path, rows=7, sealed=4, config=config)
    own = run.layout.attributes["embevo"]
    rename_journal(path, run, named_by({"config": config, "embevo": own}))
    run.journal.close()
    assert len(open_run(path).steps) == 7
    recover(path)
    assert len(open_run(path).steps) == 7
    assert verify(path, deep=True).ok


def test_attributes_that_changed_while_embevo_0_1_recorded_cost_no_row(tmp_path: Path) -> None:
    run = written.write_run(tmp_path, rows=7, sealed=0)
    changed = replace(run.layout, attributes={**run.layout.attributes, "config": {"best": 2.5}})
    sealer = Sealer(open_run(tmp_path)._paths, changed, run.manifest, rows=0, sync=False)
    for row in range(4):
        sealer.snapshot(run.journal, row)
    sealer.seal(run.journal, 4)
    assert len(open_run(tmp_path).steps) == 7
    assert open_run(tmp_path).config == {"best": 2.5}
    recover(tmp_path)
    assert len(open_run(tmp_path).steps) == 7


@pytest.mark.parametrize("rows", [0, 3])
def test_a_journal_of_another_run_is_refused_with_what_it_holds_and_how_to_have_it(
    tmp_path: Path, rows: int
) -> None:
    other = written.write_run(tmp_path / "other", rows=rows, sealed=0, config={"lr": 1})
    written.write_run(tmp_path / "run", rows=4, sealed=4, config={"lr": 2})
    (tmp_path / "other" / "journal").replace(tmp_path / "run" / "journal")
    held = "It holds 3 steps of that run (0..2): move it back" if rows else "It holds no steps"
    for call in (open_run, recover):
        with pytest.raises(DamagedError) as refused:
            call(tmp_path / "run")
        assert held in str(refused.value)
        assert "Nothing was changed" in str(refused.value)
    # What the message says is done.
    (tmp_path / "run" / "journal").replace(tmp_path / "other" / "journal")
    assert len(open_run(tmp_path / "run").steps) == 4
    other.journal.close()
    recover(tmp_path / "other")
    assert len(open_run(tmp_path / "other").steps) == rows
