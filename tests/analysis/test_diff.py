"""A diff finds the first bit that differs and measures what follows, in whatever two recordings share."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import zarr
from click.testing import CliRunner, Result
from embevo_cli.main import embevo as command
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save

import embevo
from embevo import AnalysisError, ArgumentError, open_run
from embevo.analysis.differing import rows
from embevo.analysis.differing.difference import Difference
from embevo.run.checkpoint_files import INDEX, STATE, pack_index
from embevo.run.exchange.exporting import export_snapshots
from embevo.run.format.token_subset import TokenSubset
from embevo.run.format.widening import common_dtype, widen_to
from support.encoded import DTYPES
from support.trajectories import brownian, record

TOKENS, DIM = 6, 4


def bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


@st.composite
def sides(draw: st.DrawFn) -> tuple[NDArray[Any], list[int], list[int]]:
    """Values, steps and token ids of one side."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    steps = sorted(draw(st.sets(st.integers(0, 12), min_size=1, max_size=9)) | {3})
    ids = sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=7)) | {4})
    drawn = np.random.default_rng(draw(st.integers(0, 3)))
    # The same numbers for the same seed, step and token, so that much is equal and some is not.
    values = drawn.normal(size=(13, 10, DIM)).astype(np.float16).astype(dtype)
    return values[np.ix_(steps, ids)], steps, ids


@settings(max_examples=25, deadline=None)
@given(one=sides(), other=sides(), spoilt=st.lists(st.integers(0, 500), max_size=4), drawn=st.data())
def test_what_is_found_is_what_numpy_finds(
    tmp_path_factory: pytest.TempPathFactory,
    one: tuple[NDArray[Any], list[int], list[int]],
    other: tuple[NDArray[Any], list[int], list[int]],
    spoilt: list[int],
    drawn: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("diff")
    for values, _, _ in (one, other):
        flat = bits(values).reshape(-1)
        for number in spoilt:
            flat[number % len(flat)] = drawn.draw(st.integers(0, 2 ** (8 * values.itemsize) - 1))
        values[:] = flat.view(values.dtype).reshape(values.shape)
    paths = []
    for name, (values, steps, ids) in zip("ab", (one, other), strict=True):
        native = drawn.draw(st.sampled_from(["float32", "native"]))
        paths.append(
            record(folder / name, values, steps=steps, tokens=TokenSubset.of(ids, 10), block_steps=3,
                   zarr_dtype=native, store="zarr")
        )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        # Whatever is worked on at once.
        patch.setattr(rows, "_PIECE", drawn.draw(st.sampled_from([5, 1 << 16])))
        patch.setattr(rows, "_PART_BYTES", drawn.draw(st.sampled_from([1, 1 << 21])))
        found = embevo.diff(*paths, arrays=["embeddings"])["embeddings"]
    steps = sorted(set(one[1]) & set(other[1]))
    ids = sorted(set(one[2]) & set(other[2]))
    both = [
        values[np.ix_([own.index(step) for step in steps], [tokens.index(token) for token in ids])]
        for values, own, tokens in (one, other)
    ]
    dtype = common_dtype(both[0].dtype, both[1].dtype)
    assert dtype is not None
    x, y = (widen_to(values, dtype) for values in both)
    differs = bits(x) != bits(y)
    assert found.equal.tolist() == (1 - differs.mean(axis=(1, 2))).tolist()
    assert found.differing == differs.sum()
    with np.errstate(all="ignore"):
        wide, wide_other = x.astype(np.float64), y.astype(np.float64)
        apart = np.where(differs, wide - wide_other, 0)
        distance = np.sqrt(np.square(apart).sum(axis=(1, 2)))
        inner = (wide * wide_other).sum(axis=(1, 2))
        lengths = [np.sqrt(np.square(of).sum(axis=(1, 2))) for of in (wide, wide_other)]
        cosine = inner / lengths[0] / lengths[1]
    np.testing.assert_allclose(found.distance, distance, rtol=1e-9)
    finite = np.isfinite(lengths[0]) & np.isfinite(lengths[1])
    np.testing.assert_allclose(found.cosine, np.where(finite, cosine, np.nan), rtol=1e-9, atol=1e-12)
    assert found.zero_signs == (differs & (x == y)).sum()
    assert found.nan_payloads == (differs & np.isnan(x) & np.isnan(y)).sum()
    if not differs.any():
        assert found.first is None
        return
    row, token, dim = np.argwhere(differs)[0].tolist()
    assert found.first is not None
    assert found.first.step == steps[row]
    assert found.first.place == {"token": ids[token], "dim": dim}
    for shown, values in zip((found.first.one, found.first.other), both, strict=True):
        assert shown.endswith(f"(0x{int(bits(values)[row, token, dim]):0{2 * values.itemsize}x})")


@pytest.mark.parametrize(
    ("narrow", "wide"), [("bfloat16", "float64"), ("float16", "float64"), ("float32", "float64")]
)
def test_every_value_and_nan_is_widened_to_itself(narrow: str, wide: str) -> None:
    dtype = DTYPES[narrow]
    if dtype.itemsize == 2:
        patterns = np.arange(1 << 16, dtype=np.uint16)
    else:
        patterns = np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, np.uint32)
        patterns[:4] = 0x7F800001, 0xFFA00000, 0x7FC12345, 0x80000000
    values = patterns.view(dtype)
    widened = widen_to(values, np.dtype(np.float64))
    number = ~np.isnan(widened)
    with np.errstate(invalid="ignore"):
        assert (bits(widened[number]) == bits(values[number].astype(np.float64))).all()
    # Hardware keeps the bits of a NaN that is quiet already.
    quiet = np.isnan(widened) & (bits(widened) >> 51 & 1).astype(bool)
    assert quiet.any()
    assert (bits(widened[quiet]) == bits(values[quiet].astype(np.float64))).all()
    # No two NaNs become one, and their signs stay.
    nans = widened[~number]
    assert len(np.unique(bits(nans))) == len(np.unique(patterns[~number]))
    assert (np.signbit(nans) == (patterns[~number] >> (8 * dtype.itemsize - 1)).astype(bool)).all()


def flipped(values: NDArray[Any], at: tuple[int, int, int], bit: int) -> NDArray[Any]:
    changed = values.copy()
    bits(changed)[at] ^= 1 << bit
    return changed


@pytest.mark.parametrize("rows_before", [0, 7, 130])
def test_one_flipped_bit_is_named_wherever_it_is(tmp_path: Path, rows_before: int) -> None:
    values = brownian(131, TOKENS, DIM).astype(np.float32)
    one = record(tmp_path / "a", values, block_steps=16)
    other = record(tmp_path / "b", flipped(values, (rows_before, 5, 3), 4), block_steps=20, close=False)
    found = embevo.diff(one, other)
    assert not found.is_equal
    assert found.first is not None
    array, first = found.first
    assert (array.name, first.step, first.place) == ("embeddings", rows_before, {"token": 5, "dim": 3})
    assert first.ulps == 16
    assert (found["embeddings"].equal < 1).sum() == 1
    assert found["embeddings"].cosine[rows_before] == pytest.approx(1)
    assert found["loss"].is_equal


def test_signs_of_zero_and_nans_of_other_bits_are_named(tmp_path: Path) -> None:
    values = np.ones((3, TOKENS, DIM), np.float32)
    values[1, 2, 1], values[2, 0, 0] = 0.0, np.nan
    changed = values.copy()
    changed[1, 2, 1] = -0.0
    bits(changed)[2, 0, 0] ^= 5
    one, other = record(tmp_path / "a", values), record(tmp_path / "b", changed)
    found = embevo.diff(one, other)["embeddings"]
    assert (found.differing, found.zero_signs, found.nan_payloads) == (2, 1, 1)
    assert found.first is not None
    assert (found.first.how, found.first.ulps) == ("the sign of zero", 0)
    assert found.distance[:2].tolist() == [0, 0]
    assert np.isnan(found.distance[2])
    shown = run("diff", one, other).output
    assert "1 in the sign of zero alone" in shown
    assert "1 NaNs of other bits" in shown
    assert "only the sign of zero differs" in shown


def test_what_is_not_finite_in_both_is_no_distance(tmp_path: Path) -> None:
    values = np.ones((2, TOKENS, DIM), np.float32)
    values[:, 0, :3] = np.inf, -np.inf, np.nan
    changed = values.copy()
    changed[1, 3, 2] = 4
    found = embevo.diff(record(tmp_path / "a", values), record(tmp_path / "b", changed))["embeddings"]
    assert found.distance.tolist() == [0, 3]
    assert np.isnan(found.cosine).all()


def run(*arguments: object, code: int | None = 1) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    if code is not None:
        assert result.exit_code == code, result.output
    return result


def test_exit_codes_say_equal_different_and_not_comparable(tmp_path: Path) -> None:
    values = brownian(9, TOKENS, DIM).astype(np.float32)
    one, same = record(tmp_path / "a", values), record(tmp_path / "b", values, seed=4)
    later = record(tmp_path / "later", values, steps=range(100, 109))
    assert "Every bit of what they share is equal." in run("diff", one, same, code=0).output
    assert run("diff", one, record(tmp_path / "c", values * 2)).exit_code == 1
    refused = run("diff", one, later, code=2)
    assert "no step that both have" in refused.stderr
    assert "100..108" in refused.stderr
    assert "has no array nothing" in run("diff", one, same, "--array", "nothing", code=2).stderr


def test_what_they_do_not_share_is_said(tmp_path: Path) -> None:
    values = brownian(9, 10, DIM).astype(np.float32)
    one = record(tmp_path / "a", values, config={"seed": 1, "width": 8})
    ids = [1, 2, 5, 8]
    other = record(
        tmp_path / "b",
        values[2::2, ids].astype(ml_dtypes.bfloat16),
        steps=[2, 4, 6, 8],
        tokens=TokenSubset.of(ids, 10),
        config={"seed": 2, "width": 8},
    )
    found = embevo.diff(one, other)
    assert found.steps.tolist() == [2, 4, 6, 8]
    assert [(of.name, of.one, of.other) for of in found.settings] == [("config.seed", "1", "2")]
    remarks = " ".join(found.remarks)
    assert f"Only {one} has 5 steps: 0..1, 3..7 every 2." in remarks
    assert f"Only {one} has 6 tokens: 0..3 every 3, 4..6 every 2, 7..9 every 2." in remarks
    assert "embeddings: float32 and bfloat16, compared after exact widening to float32." in remarks
    expected = np.linalg.norm(
        (values[2::2, ids] - values[2::2, ids].astype(ml_dtypes.bfloat16).astype(np.float32)).reshape(4, -1),
        axis=1,
    )
    np.testing.assert_allclose(found["embeddings"].distance, expected, rtol=1e-5)


def test_other_texts_of_one_id_are_said(tmp_path: Path) -> None:
    values = brownian(3, 4, DIM).astype(np.float32)
    one, other = record(tmp_path / "a", values), record(tmp_path / "b", values)
    embevo.annotate(one, tokenizer=["a", "b", "c", "d"])
    embevo.annotate(other, tokenizer=["a", "c", "b", "d"])
    found = embevo.diff(one, other)
    assert found.is_equal
    assert "2 of the token ids have other texts" in found.remarks[-1]


def same_as_run(tmp_path: Path, other: object, names: dict[str, str] | None = None) -> Difference:
    return embevo.diff(tmp_path / "a", Path(str(other)), arrays=names)


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_exported_folders_and_single_files_are_compared(tmp_path: Path, dtype: str, subset: bool) -> None:
    values = brownian(9, TOKENS, DIM).astype(DTYPES[dtype])
    ids = TokenSubset.of([0, 3, 4, 7, 8, 9], 12) if subset else None
    one = record(tmp_path / "a", values, tokens=ids)
    export_snapshots(open_run(one), tmp_path / "files", range(2, 7))
    found = same_as_run(tmp_path, tmp_path / "files")
    assert found.is_equal
    assert found.steps.tolist() == [2, 3, 4, 5, 6]
    record(tmp_path / "changed", flipped(values, (4, 2, 1), 3), tokens=ids)
    parted = embevo.diff(tmp_path / "changed", tmp_path / "files")
    assert parted.first is not None
    assert parted.first[1].step == 4
    assert parted.first[1].place == {"token": 4 if subset else 2, "dim": 1}
    single = embevo.diff(
        tmp_path / "files/step_0000003.safetensors", tmp_path / "files/step_0000003.safetensors"
    )
    assert (single.is_equal, single.steps.tolist()) == (True, [3])
    apart = embevo.diff(
        tmp_path / "files/step_0000003.safetensors", tmp_path / "files/step_0000005.safetensors"
    )
    assert not apart.is_equal
    assert "of step 3 and of step 5" in apart.remarks[0]


def test_zarr_arrays_and_groups_of_others_are_compared(tmp_path: Path) -> None:
    values = brownian(9, TOKENS, DIM).astype(np.float32)
    one = record(tmp_path / "a", values, steps=[0, 1, 2, 5, 10, 11, 12, 13, 14])
    plain = zarr.create_array(tmp_path / "plain.zarr", shape=(12, TOKENS, DIM), chunks=(5, 4, 4), dtype=">f4")
    plain[:] = 0
    plain[[0, 1, 2, 5, 10, 11]] = values[:6]
    found = same_as_run(tmp_path, tmp_path / "plain.zarr")
    assert found.is_equal
    assert found.steps.tolist() == [0, 1, 2, 5, 10, 11]
    assert (found.arrays[0].name, found.arrays[0].other_name) == ("embeddings", "plain.zarr")
    group = zarr.open_group(tmp_path / "group.zarr", mode="w", zarr_format=2)
    group.create_array("step", data=np.array([5, 10, 99]))
    group.create_array("weights", data=values[[3, 4, 5]])
    group.create_array("other", data=np.zeros(4))
    named = same_as_run(tmp_path, tmp_path / "group.zarr", {"embeddings": "weights"})
    assert (named.is_equal, named.steps.tolist()) == (True, [5, 10])
    with pytest.raises(AnalysisError, match=r"Only .*group.zarr has weights.*--array NAME=OTHER"):
        same_as_run(tmp_path, tmp_path / "group.zarr")
    # The group of a run is one of Zarr's too.
    assert embevo.diff(one, one / "trajectory.zarr").is_equal


def test_rows_without_labels_are_not_guessed(tmp_path: Path) -> None:
    values = brownian(4, 4, DIM).astype(np.float32)
    record(tmp_path / "a", values, tokens=TokenSubset.of([1, 3, 5, 7], 8))
    zarr.create_array(tmp_path / "all.zarr", data=np.repeat(values, 2, axis=1))
    zarr.create_array(tmp_path / "some.zarr", data=values)
    zarr.create_array(tmp_path / "none.zarr", data=values[:, :3])
    assert same_as_run(tmp_path, tmp_path / "all.zarr").first is None
    assert "are taken for those of the other" in " ".join(
        same_as_run(tmp_path, tmp_path / "some.zarr").remarks
    )
    with pytest.raises(AnalysisError, match="does not say which tokens its rows are"):
        same_as_run(tmp_path, tmp_path / "none.zarr")


def test_distances_up_to_a_rotation_are_those_of_the_best_one(tmp_path: Path) -> None:
    drawn = np.random.default_rng(3)
    values = drawn.normal(size=(5, 20, DIM))
    turn, _ = np.linalg.qr(drawn.normal(size=(DIM, DIM)))
    noise = 0.01 * drawn.normal(size=values.shape)
    one = record(tmp_path / "a", values)
    other = record(tmp_path / "b", values @ turn)
    noisy = record(tmp_path / "c", values @ turn + noise)
    found = embevo.diff(one, other, rotation=True)["embeddings"]
    assert found.rotated is not None
    assert (found.distance > 1).all()
    assert found.rotated.max() < 1e-12
    apart = embevo.diff(one, noisy, rotation=True)["embeddings"].rotated
    assert apart is not None
    scipy = pytest.importorskip("scipy.linalg")
    for row in range(5):
        best, _ = scipy.orthogonal_procrustes(values[row], values[row] @ turn + noise[row])
        expected = np.linalg.norm(values[row] @ best - (values[row] @ turn + noise[row]))
        assert apart[row] == pytest.approx(expected, rel=1e-9)
    # The loss has nothing that could be turned.
    assert embevo.diff(one, other, rotation=True)["loss"].rotated is None


def test_series_are_the_same_in_every_form(tmp_path: Path) -> None:
    values = brownian(9, TOKENS, DIM).astype(np.float32)
    one = record(tmp_path / "a", values)
    other = record(tmp_path / "b", values * (1 + np.arange(9, dtype=np.float32)[:, None, None] / 100))
    found = embevo.diff(one, other)
    told = json.loads(run("diff", one, other, "--json").output)
    (embeddings,) = [array for array in told["arrays"] if array["name"] == "embeddings"]
    run("diff", one, other, "-o", tmp_path / "series.csv")
    lines = [
        line for line in csv.DictReader(io.StringIO((tmp_path / "series.csv").read_text()))
        if line["array"] == "embeddings"
    ]  # fmt: skip
    series = found.to_xarray()
    for name in ("distance", "equal", "cosine"):
        expected = getattr(found["embeddings"], name)
        assert [np.nan if value is None else value for value in embeddings[name]] == pytest.approx(
            expected.tolist(), nan_ok=True
        )
        assert [float(line[name]) for line in lines] == pytest.approx(expected.tolist(), nan_ok=True)
        np.testing.assert_array_equal(series[name].sel(array="embeddings"), expected)
    for form in ("png", "svg"):
        run("diff", one, other, "-o", tmp_path / f"figure.{form}")
    assert b"embevo" in (tmp_path / "figure.svg").read_bytes()
    drawn = (tmp_path / "figure.png").read_bytes()
    run("diff", one, other, "-o", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes() == drawn
    with pytest.raises(ArgumentError, match="has no array"):
        embevo.diff(one, other, arrays=["missing"])


def checkpoint(run: Path, step: int, weight: NDArray[Any]) -> None:
    """A checkpoint as embevo train saves it."""
    tensors = {"model.wte.weight": weight, "optimizer.wte.weight.exp_avg": weight + step}
    folder = run / "checkpoints" / f"step_{step:07d}"
    folder.mkdir(parents=True)
    state = save(tensors)
    (folder / STATE).write_bytes(state)
    (folder / INDEX).write_bytes(pack_index({"format": 1, "step": step, "numbers": {}}, state))


def test_the_weights_of_last_checkpoints_are_compared(tmp_path: Path) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    for name, step, changed in (("a", 7, 0), ("b", 9, 0), ("c", 9, 1)):
        checkpoint(tmp_path / name, 3, weight - 1)
        checkpoint(tmp_path / name, step, weight + changed * np.eye(3, 4, dtype=np.float32))
    found = embevo.diff(tmp_path / "a", tmp_path / "b", checkpoints=True)
    assert (found.is_equal, [array.name for array in found.arrays]) == (True, ["wte.weight"])
    assert "of step 7 and of step 9" in found.remarks[0]
    shown = run("diff", tmp_path / "a", tmp_path / "c", "--checkpoints").output
    assert "75.0000% of its elements have equal bits; distance 1.73205" in shown
    state = tmp_path / "b/checkpoints/step_0000009" / STATE
    state.write_bytes(state.read_bytes()[:-1] + b"!")
    assert "is damaged" in run("diff", tmp_path / "a", tmp_path / "b", "--checkpoints", code=2).stderr
    assert "no checkpoint" in run("diff", tmp_path, tmp_path / "a", "--checkpoints", code=2).stderr
