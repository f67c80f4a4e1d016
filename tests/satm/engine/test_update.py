"""The update rules of the inner loop: forwards as torch's optimisers, and differentiated exactly by every policy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from satm.engine import (
    PLAIN_SGD,
    Adam,
    Full,
    LastSteps,
    MomentumSGD,
    TeslaPolicy,
    exact_step_size_derivative,
    inner_path,
    make_step,
)
from satm.errors import ConfigError
from tests.helpers import EXACT, central_differences, cross_entropy, leaves, normal, tiny_case

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
N = 5
ADAM = Adam(eps=1e-3)  # a larger ε than the default, so that finite differences can judge the derivative
RULES = [PLAIN_SGD, MomentumSGD(0.8), ADAM]
rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


@pytest.fixture(params=EXACT, ids=lambda policy: policy.name)
def policy(request):
    return request.param


def case_of(rule, **changes):
    case = tiny_case(steps=N, soft=True, step_size=0.05)
    return replace(case, loop=replace(case.loop, rule=rule, **changes))


def transcribed(case, at, *, tape_from=0, theta=None, moments=None, first=0):
    """F by a loop that is written out: heavy-ball momentum and Adam as their papers print them."""
    rule = case.loop.rule
    theta = (case.theta if theta is None else theta).detach().requires_grad_()
    m, v = moments or (torch.zeros_like(theta), torch.zeros_like(theta))
    points = []
    for i in range(first, N):
        if i == tape_from:
            theta, m, v = theta.detach().requires_grad_(), m.detach(), v.detach()
        points.append((theta, m, v))
        rows = case.loop.batches[i]
        x, y = (at.images, at.labels) if rows is None else (at.images[rows], at.labels[rows])
        loss = cross_entropy(case.logits(theta, case.loop.transforms[i](x)), y)
        (g,) = torch.autograd.grad(loss, theta, create_graph=True)
        alpha = at.step_size if at.step_size.ndim == 0 else at.step_size[i]
        if rule.name == "sgd":
            theta = theta - alpha * g
        elif rule.name == "momentum":
            m = rule.momentum * m + g
            theta = theta - alpha * m
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            m_hat, v_hat = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
            theta = theta - alpha * m_hat / (v_hat.sqrt() + rule.eps)
    return case.loss(theta), [*points, (theta, m, v)]


def derivatives(case, **how):
    at = leaves(case.at)
    loss, points = transcribed(case, at, **how)
    return loss.detach(), torch.autograd.grad(loss, list(at)), points


@rules
@pytest.mark.parametrize("window", [1, 3, N])
@pytest.mark.parametrize("each", [False, True], ids=["one α", "α of each step"])
def test_every_policy_differentiates_every_rule(policy, rule, window, each):
    """A shorter window is the transcription with θ and the moments detached where it begins."""
    case = case_of(rule)
    if each:
        alphas = torch.linspace(0.02, 0.08, N, dtype=torch.float64)
        case = replace(case, at=case.at._replace(step_size=alphas))
    found = policy(case.loop, case.at, case.theta, case.loss, LastSteps(window))
    loss, (images, labels, alpha), points = derivatives(case, tape_from=N - window)
    close(found.loss, loss)
    close(found.images, images)
    close(found.labels, labels)
    close(found.step_size_taped, alpha)
    close(found.theta, points[-1][0].detach())
    assert (found.step_size is None) == each


@rules
def test_finite_differences_agree(policy, rule):
    case = case_of(rule)
    found = policy(case.loop, case.at, case.theta, case.loss, Full())
    for name in ("images", "labels", "step_size"):
        numeric = central_differences(
            lambda value, name=name: transcribed(case, case.at._replace(**{name: value}))[0].item(),
            getattr(case.at, name),
        )
        own = found.step_size_taped if name == "step_size" else getattr(found, name)
        torch.testing.assert_close(own, numeric, rtol=2e-6, atol=1e-8)
    exact = exact_step_size_derivative(case.loop, case.at, case.theta, case.loss)
    close(exact, found.step_size_taped)


@rules
def test_a_second_pass_goes_on_from_the_kept_moments(policy, rule):
    case, whole = case_of(rule), LastSteps(3)
    first = policy(case.loop, case.at, case.theta, case.loss, whole, keep=2)
    again = policy(case.loop, case.at, first.kept, case.loss, whole, first=2, moments=first.kept_moments)
    _, _, points = derivatives(case)
    assert len(first.kept_moments) == rule.moments
    close(first.kept, points[2][0].detach())
    for name in ("loss", "images", "labels", "theta", "step_size_taped"):
        close(getattr(again, name), getattr(first, name))
    if rule.moments:
        forgotten = policy(case.loop, case.at, first.kept, case.loss, whole, first=2)
        assert not torch.isclose(forgotten.loss, first.loss)


def test_the_rules_move_as_torchs_optimisers():
    made = {
        "sgd": partial(torch.optim.SGD, lr=0.05),
        "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.8),
        "adam": partial(torch.optim.Adam, lr=0.05, eps=1e-3),
    }
    for rule in RULES:
        case = case_of(rule)
        theta = case.theta.clone().requires_grad_()
        theirs = made[rule.name]([theta])
        for i, point, _ in inner_path(make_step(case.loop.network), case.loop, case.at, case.theta, range(N)):
            close(point.theta, theta.detach())
            if i == N:
                break
            images, labels = case.loop.batch(i, case.at)
            theirs.zero_grad()
            cross_entropy(case.logits(theta, case.loop.transforms[i](images)), labels).backward()
            theirs.step()


def test_a_parameter_whose_gradient_was_always_zero_has_a_finite_derivative_under_adam():
    rule, point = Adam(), Adam().start(torch.zeros(2, dtype=torch.float64))
    after = point._replace(theta=normal(2, name="after"), moments=(normal(2, name="m"), normal(2, name="v")))
    pulled = rule.pulled_back(point, torch.tensor([0.0, 0.5]).double(), torch.tensor(0.1).double(), 0, after)
    assert all(each.isfinite().all() for each in (pulled.along, pulled.step_size, *pulled.point.moments))


def test_what_cannot_be_is_one_line():
    case = case_of(ADAM)
    step = make_step(case.loop.network)
    with pytest.raises(ConfigError, match=r"^engine tesla: it takes plain SGD only, not adam; set engine=replay$"):
        TeslaPolicy(step)(case.loop, case.at, case.theta, case.loss, Full())
    for make, said in ((lambda: MomentumSGD(1.0), "momentum 1.0"), (lambda: Adam(beta2=1.5), "beta2 1.5")):
        with pytest.raises(ConfigError, match=rf"^{said}: expected 0 ≤"):
            make()
    with pytest.raises(ConfigError, match=r"^eps 0: expected a number above 0$"):
        Adam(eps=0)
    many = case.at._replace(step_size=torch.full((N,), 0.1).double())
    with pytest.raises(ConfigError, match=r"^each inner step has a step size of its own"):
        exact_step_size_derivative(case.loop, many, case.theta, case.loss)
