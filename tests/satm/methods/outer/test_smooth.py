"""Random smoothing gives the mean hypergradient at noisy images, in float64, and is tied to SGD and SATM."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from satm.engine import Full
from satm.errors import ConfigError
from satm.methods.outer import SATM, SGD, Smooth, smoothing_noise
from satm.methods.outer.ascent import along
from satm.rng import Seed
from tests.helpers import central_differences, leaves, tiny_case
from tests.satm.methods.outer.test_rules import IOTA, RHO, ask

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)


def drawn(case, gamma, reading, count):
    """The draws of the noise that the rule makes from the generator that `ask` passes."""
    generator = Seed(0).generator()
    return [smoothing_noise(case.at.images, gamma, reading, generator) for _ in range(count)]


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
@pytest.mark.parametrize(("reading", "count"), [("relative", 1), ("std", 3)])
def test_it_is_the_mean_over_the_draws_of_the_unrolled_derivatives(reading, count, soft):
    case = tiny_case(soft=soft)
    found = []
    for delta in drawn(case, 0.2, reading, count):
        at = leaves(case.at._replace(images=case.at.images + delta))
        thetas, gradients = case.unroll(at, tape_from=IOTA)
        loss = case.loss(thetas[-1])
        wanted = [thetas[-1], at.images, *([at.labels] if soft else [])]
        outer, *derivatives = torch.autograd.grad(loss, wanted)
        found.append((loss.detach(), -(outer @ sum(gradients)).detach(), *derivatives))
    loss, step_size, images, *labels = (torch.stack(each).mean(0) for each in zip(*found, strict=True))
    update = ask(Smooth(gamma=0.2, noise=reading, draws=count), case)
    close(update.images, images)
    close(update.step_size, step_size)
    assert update.measured["loss"] == pytest.approx(float(loss), rel=1e-10)
    if soft:
        close(update.labels, labels[0])
    else:
        assert update.labels is None
    assert update.perturbation is None


def test_the_direction_is_the_derivative_of_the_mean_loss_at_fixed_noise():
    """By finite differences of 1/k Σ_s F(φ + φ^Δ_s), with the whole inner loop differentiated."""
    case = tiny_case()
    noises = drawn(case, 0.2, "relative", 2)

    def smoothed(images):
        return sum(case.value(case.at._replace(images=images + delta)) for delta in noises) / 2

    update = ask(Smooth(gamma=0.2, draws=2), case, truncation=Full())
    torch.testing.assert_close(update.images, central_differences(smoothed, case.at.images), rtol=1e-6, atol=1e-8)


class Quadratic:
    """The outer problem of F(φ) = 3/2 ‖φ‖², in closed form. Smoothing adds a constant to it, so ∇F stays 3φ."""

    at, progress = tiny_case().at, 1.0

    def hypergradient(self, images):
        return SimpleNamespace(images=3.0 * images, labels=None, loss=1.5 * images.square().sum())

    def step_size_derivative(self, images, found):
        return images.sum()


def test_of_a_quadratic_loss_the_mean_over_many_draws_is_the_hypergradient():
    problem, draws = Quadratic(), 4_000
    update = Smooth(gamma=0.5, draws=draws)(problem, Seed(2).generator(), pytest.fail, {})
    std = 0.5 * problem.at.images.flatten(1).norm(dim=1) / problem.at.images[0].numel() ** 0.5
    error = 3.0 * std.view(-1, 1, 1, 1) / draws**0.5
    assert ((update.images - 3.0 * problem.at.images).abs() <= 5 * error).all()
    assert not torch.allclose(update.images, 3.0 * problem.at.images)


def test_without_noise_it_is_sgd_to_the_bit():
    case = tiny_case(soft=True)
    one, other = ask(Smooth(gamma=0.0), case), ask(SGD(), case)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.step_size, other.step_size)
    close(ask(Smooth(gamma=0.0, draws=4), case).images, other.images)


@pytest.mark.parametrize("reading", ["variance", "std", "relative"])
def test_one_draw_is_the_first_pass_of_satm_to_the_bit(reading):
    """SATM's ε has this rule's direction; its α, its loss and its noise are this rule's."""
    case = tiny_case()
    satm, smooth = (ask(kind(gamma=0.2, noise=reading), case) for kind in (partial(SATM, rho=RHO), Smooth))
    assert torch.equal(satm.perturbation, along(smooth.images, RHO))
    assert torch.equal(satm.step_size, smooth.step_size)
    for name in ("loss", "hypergradient_norm", "noise_ratio"):
        assert satm.measured[name] == smooth.measured[name]


def test_satm_without_a_perturbation_is_plain_descent_over_a_whole_window_and_not_smoothing():
    """Its second pass has no noise. Over a shorter window it starts where the noisy first pass has come to."""
    case = tiny_case()
    still = partial(ask, SATM(radius=0.0, gamma=0.2), case)
    assert torch.equal(still(truncation=Full()).images, ask(SGD(), case, truncation=Full()).images)
    assert not torch.allclose(still().images, ask(SGD(), case).images)
    for truncation in ({}, {"truncation": Full()}):
        assert not torch.allclose(still(**truncation).images, ask(Smooth(gamma=0.2), case, **truncation).images)


def test_the_cost_is_one_pass_for_each_draw():
    assert [Smooth(draws=draws).passes for draws in (1, 5)] == [1, 5]
    assert Smooth().second_start(3) is None
    assert Smooth().perturbation_length() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": -0.1}, "gamma -0.1: expected finite numbers of 0 or more"),
        ({"gamma": float("nan")}, "gamma nan: expected finite"),
        ({"draws": 0}, "^draws 0: expected at least 1$"),
    ],
)
def test_settings_outside_their_range_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=message):
        Smooth(**changes)
