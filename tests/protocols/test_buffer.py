"""Which images a buffer of fixed size holds."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from protocols.buffer import held, quota


@given(st.integers(1, 60), st.integers(0, 200))
def test_quotas_fill_the_buffer_evenly_and_never_grow(classes: int, spare: int) -> None:
    size = classes + spare
    quotas = [quota(size, classes, rank) for rank in range(classes)]
    assert sum(quotas) == size
    assert max(quotas) - min(quotas) <= 1
    assert min(quotas) >= 1
    assert all(quota(size, classes + 1, rank) <= quotas[rank] for rank in range(classes))


def test_a_buffer_by_hand() -> None:
    # Two classes of four images arrive, then two more. Five images: first 3 and 2, then 2, 1, 1, 1.
    arriving = [torch.tensor([7, 7, 7, 7, 2, 2, 2, 2]), torch.tensor([0, 0, 5, 5])]
    first, second = held(arriving, 5)
    assert arriving[0][first].tolist() == [7, 7, 2, 2, 2]  # class 2 comes before class 7, and has the odd image
    assert second.tolist() == [0, 4, 5, 8, 10]
    assert [len(each) for each in held(arriving, None)] == [8, 12]
    assert [len(each) for each in held(arriving, 100)] == [8, 12]
