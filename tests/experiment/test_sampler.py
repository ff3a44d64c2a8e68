import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embevo.experiment.sampler import WindowSampler


@given(count=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_each_window_once_per_epoch(count: int, batch: int, seed: int) -> None:
    sampler = WindowSampler(count, batch, seed)
    drawn = torch.cat([sampler.draw() for _ in range(3 * count)])
    assert len(drawn) == 3 * count * batch
    for epoch in drawn.split(count):
        if len(epoch) == count:
            assert epoch.sort().values.tolist() == list(range(count))


@given(count=st.integers(2, 40), batch=st.integers(1, 50), before=st.integers(0, 20))
def test_restored_sampler_draws_what_the_first_would_have(count: int, batch: int, before: int) -> None:
    sampler = WindowSampler(count, batch, seed=3)
    for _ in range(before):
        sampler.draw()
    state, position = sampler.state()
    state = state.clone()
    expected = [sampler.draw().tolist() for _ in range(5)]
    other = WindowSampler(count, batch, seed=99)
    other.restore(state, position)
    assert [other.draw().tolist() for _ in range(5)] == expected


def test_seeds_and_epochs_differ() -> None:
    first, second = WindowSampler(100, 100, 1), WindowSampler(100, 100, 2)
    epoch = first.draw().tolist()
    assert epoch != second.draw().tolist()
    assert epoch != first.draw().tolist()


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    WindowSampler(100, 7, 1).draw()
    assert torch.equal(before, torch.get_rng_state())


def test_an_impossible_position_is_refused() -> None:
    sampler = WindowSampler(10, 3, 1)
    state, _ = sampler.state()
    with pytest.raises(ValueError, match="position 10"):
        sampler.restore(state, 10)
