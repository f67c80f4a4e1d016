from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.order import class_order, class_orders, read_order, split_classes
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


def test_a_base_comes_first_and_the_rest_is_equal() -> None:
    groups = split_classes(range(100), 6, base=50)
    assert [len(group) for group in groups] == [50, 10, 10, 10, 10, 10]
    assert [label for group in groups for label in group] == list(range(100))
    assert [len(group) for group in split_classes(range(10), 4, base=3)] == [3, 3, 2, 2]
    for steps, base in ((1, 10), (6, 0), (6, 6), (6, 10)):
        with pytest.raises(ConfigError, match=f"base {base} of 10 classes in {steps} steps: expected at least 2"):
            split_classes(range(10), steps, base=base)


def test_the_fields_orders() -> None:
    names = [str(label) for label in range(100)]
    field, icarl = class_orders("field", names), class_orders("icarl", names)
    # np.random.seed(0); np.random.permutation(10), and the same at seed 1 (CL_DM.py:59-62)
    assert field.order(0, 10, Seed(5)) == (2, 8, 4, 9, 1, 6, 7, 3, 0, 5)
    assert field.order(1, 10, Seed(5)) == (2, 9, 6, 4, 0, 3, 1, 7, 8, 5)
    # The first classes of iCaRL's order on CIFAR-100.
    assert icarl.order(0, 100, Seed(5))[:12] == (68, 56, 78, 8, 23, 84, 90, 65, 74, 76, 40, 89)
    assert icarl.order(3, 100, Seed(6)) == icarl.order(0, 100, Seed(5))
    assert [field.name, icarl.name, class_orders(None, names).name] == ["field", "icarl", ""]
    assert class_orders(None, names).order(0, 100, Seed(5)) == class_order(100, Seed(5))


@pytest.mark.parametrize(
    "text", ["cat\nant\nbee\n", '["cat", "ant", "bee"]', "2\n0\n1\n", "[2, 0, 1]", " cat \n\n0\nbee"]
)
def test_an_order_from_a_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "order").write_text(text)
    found = class_orders(str(tmp_path / "order"), ["ant", "bee", "cat"])
    assert found.order(0, 3, Seed(0)) == (2, 0, 1)
    assert found.name.startswith("file ")


def test_names_of_classes_count_before_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "order").write_text("0\n1\n2\n")
    assert read_order(tmp_path / "order", ["2", "1", "0"]) == (2, 1, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cat\nant\n", "1 classes are missing, the first is 'bee'"),
        ("cat\nant\nbee\ncat\n", "class 'cat' is there twice"),
        ("cat\nant\nbee\ndog\n", "class 'dog' is not in the data set; expected numbers from 0 to 2 or names such"),
        ("[0, 1, 3]", "class '3' is not in the data set"),
        (None, "expected field, icarl or a file"),
    ],
)
def test_a_file_without_every_class_once_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "order").write_text(text)
    with pytest.raises(ConfigError, match=said):
        class_orders(str(tmp_path / "order"), ["ant", "bee", "cat"])


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_impossible_steps_are_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"steps {steps}: expected 1 to 10"):
        split_classes(range(10), steps)
