from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.order import class_order, split_classes
from satm.errors import ConfigError
from satm.rng import Seed


@given(st.integers(1, 120).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.integers(0, 5))
def test_every_class_arrives_exactly_once_whatever_the_steps(sizes: tuple[int, int], root: int) -> None:
    num_classes, steps = sizes
    order = class_order(num_classes, Seed(root))
    groups = split_classes(order, steps)
    assert len(groups) == steps
    assert tuple(label for group in groups for label in group) == order
    assert sorted(order) == list(range(num_classes))
    lengths = [len(group) for group in groups]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] - lengths[-1] <= 1


def test_a_remainder_goes_to_the_first_steps() -> None:
    assert split_classes(range(10), 4) == ((0, 1, 2), (3, 4, 5), (6, 7), (8, 9))


def test_the_order_depends_only_on_the_seed() -> None:
    assert class_order(10, Seed(3)) == class_order(10, Seed(3))
    assert len({class_order(10, Seed(root)) for root in range(5)}) == 5


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_impossible_steps_are_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"steps {steps}: expected 1 to 10"):
        split_classes(range(10), steps)
