"""The two derivatives with respect to α: the paper's Eq. 10, and the exact one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from satm.engine import Full, HigherPolicy, LastSteps, exact_step_size_derivative
from tests.helpers import EXACT, central_differences, leaves, tiny_case

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
POLICIES = pytest.mark.parametrize("policy", EXACT, ids=lambda policy: policy.name)


def eq10(policy, case, window):
    return policy(case.loop, case.at, case.theta, case.loss, LastSteps(window)).step_size


@POLICIES
@pytest.mark.parametrize("window", [1, 3, 6])
def test_eq10_is_the_written_out_sum_for_every_window(policy, window):
    case = tiny_case()
    thetas, gradients = case.unroll(case.at)
    (outer,) = torch.autograd.grad(case.loss(thetas[-1]), thetas[-1])
    total = torch.zeros_like(outer)
    for gradient in gradients:
        total -= gradient.detach()
    close(eq10(policy, case, window), outer @ total)


@POLICIES
@pytest.mark.parametrize("window", [1, 6])
def test_eq10_is_autograd_with_every_inner_gradient_detached(policy, window):
    case = tiny_case()
    at = leaves(case.at)
    loss = case.loss(case.unroll(at, constant_gradients=True)[0][-1])
    close(eq10(policy, case, window), torch.autograd.grad(loss, at.step_size)[0])


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
def test_exact_derivative_agrees_with_finite_differences_and_with_the_tape(soft):
    case = tiny_case(soft=soft)
    exact = exact_step_size_derivative(case.loop, case.at, case.theta, case.loss)
    numeric = central_differences(lambda alpha: case.value(case.at._replace(step_size=alpha)), case.at.step_size)
    torch.testing.assert_close(exact, numeric, rtol=1e-7, atol=0)
    close(exact, HigherPolicy()(case.loop, case.at, case.theta, case.loss, Full()).step_size_taped)


@POLICIES
def test_the_two_are_equal_for_one_step_and_differ_for_more(policy):
    one, many = tiny_case(steps=1), tiny_case(steps=6)
    close(eq10(policy, one, 1), exact_step_size_derivative(one.loop, one.at, one.theta, one.loss))
    exact = exact_step_size_derivative(many.loop, many.at, many.theta, many.loss)
    assert not torch.isclose(eq10(policy, many, 1), exact, rtol=0.01)


def test_exact_derivative_changes_none_of_its_arguments():
    case = tiny_case()
    before = [value.clone() for value in (*case.at, case.theta)]
    exact = exact_step_size_derivative(case.loop, case.at, case.theta, case.loss)
    assert all(torch.equal(now, then) for now, then in zip((*case.at, case.theta), before, strict=True))
    assert not any(value.requires_grad for value in (*case.at, case.theta, exact))
