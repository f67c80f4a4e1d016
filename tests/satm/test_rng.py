"""Seeds: named streams, independent of the global stream and of each other."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from satm.rng import Seed

paths = st.lists(st.one_of(st.integers(0, 10**6), st.text(max_size=8)), max_size=4).map(tuple)


@given(st.integers(0, 2**31), paths, paths)
def test_a_stream_depends_only_on_the_root_and_the_path(root, path, more):
    one = Seed(root).child(*path).child(*more)
    torch.rand(1)
    two = Seed(root, path + more)
    assert one == two
    assert torch.equal(torch.rand(4, generator=one.generator()), torch.rand(4, generator=two.generator()))
    assert 0 <= one.value < 2**63


@given(st.lists(st.tuples(st.integers(0, 3), paths), min_size=2, max_size=20, unique=True))
def test_different_names_have_different_streams(seeds):
    assert len({Seed(root, path).value for root, path in seeds}) == len(seeds)


def test_numbers_and_their_spelling_are_different_names():
    assert len({Seed(0, path).value for path in [(1, 2), (12,), ("1", "2"), ("1", 2), ("12",), ()]}) == 6


def test_streams_are_the_same_on_every_machine_and_in_every_version():
    """Stored experts and synthetic sets record their seed, so the random numbers of a seed must never change."""
    assert Seed(0).child("expert", 3).value == 4391609680479379240
    assert torch.randint(10**6, (2,), generator=Seed(7).generator()).tolist() == [856708, 72103]


def test_forked_runs_global_draws_under_the_seed_and_restores_them():
    def draw(noise):
        torch.manual_seed(noise)
        before = torch.get_rng_state(), random.getstate()
        with Seed(1).child("init").forked():
            drawn = torch.rand(3)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        return drawn

    assert torch.equal(draw(0), draw(1))
    assert torch.equal(draw(0), torch.rand(3, generator=Seed(1).child("init").generator()))
