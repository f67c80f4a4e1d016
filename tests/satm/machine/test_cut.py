"""A function that is cut in two: what its first part computes without the last argument, and what the second needs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from satm.machine.cut import CannotCut, cut
from tests.helpers import normal


def test_the_parts_together_are_the_function():
    def function(x, y, v):
        product = x @ y
        return product.sum(), (product @ v).exp(), v + y[0]

    x, y, v = normal(3, 4, name="x"), normal(4, 3, name="y"), normal(3, name="v")
    first, second = cut(function, (x, y), v)
    result, product = first(x, y)
    assert torch.equal(product, x @ y)  # a matrix product is kept
    expected = function(x, y, v)
    for found, wanted in zip((result, *second(x, y, v, product)), expected, strict=True):
        assert torch.equal(found, wanted)
    doubled = second(x, y, v, 2 * product)[0]
    assert torch.allclose(doubled, expected[1].square())  # it is not computed again


def test_cheap_values_are_computed_again():
    def function(x, v):
        return x.sum(), x.tanh() * v

    x, v = normal(5, name="x"), normal(5, name="v")
    first, second = cut(function, (x,), v)
    (result,) = first(x)
    assert result == x.sum()
    assert torch.equal(second(x, v)[0], x.tanh() * v)


def test_arguments_are_not_changed():
    def function(x, v):
        y = x.clone()
        y.mul_(2)
        return y.sum(), y.add_(v)

    x, v = torch.ones(3), torch.ones(3)
    first, second = cut(function, (x,), v)
    assert first(x)[0] == 6
    assert torch.equal(second(x, v)[0], torch.full((3,), 3.0))
    assert torch.equal(x, torch.ones(3))


def test_a_result_that_needs_the_last_argument_is_refused():
    with pytest.raises(CannotCut, match="depends on the last argument"):
        cut(lambda x, v: (x * v, v), (torch.ones(2),), torch.ones(2))


def test_a_function_that_torch_cannot_trace_is_refused():
    with pytest.raises(CannotCut, match="cannot trace"):
        cut(lambda x, v: (x, v[: int(x.sum())]), (torch.ones(2),), torch.ones(2))


@pytest.mark.parametrize("pool", [F.avg_pool2d, F.max_pool2d, lambda x, size: F.adaptive_avg_pool2d(x, 2)])
def test_the_derivative_of_a_slope_with_respect_to_its_direction_needs_no_direction(pool):
    """s = ⟨∇L(w), v⟩ is linear in v, so ∂s/∂v is ∇L(w), whatever operations L has."""
    x, y = normal(4, 2, 6, 6, name="x"), torch.arange(4) % 3
    w, v = normal(3, 2, 3, 3, name="w"), normal(3, 2, 3, 3, name="v")

    def loss(w):
        return F.cross_entropy(pool(F.conv2d(x, w).relu(), 2).mean((2, 3)), y)

    def slope(w, v):
        return torch.func.jvp(loss, (w,), (v,))[1]

    def function(w, v):
        return torch.func.grad(slope, argnums=(1, 0))(w, v)

    first, second = cut(function, (w,), v)
    gradient, *kept = first(w)
    torch.testing.assert_close(gradient, torch.func.grad(loss)(w))
    assert kept
    torch.testing.assert_close(second(w, v, *kept)[0], torch.func.grad(slope)(w, v))
