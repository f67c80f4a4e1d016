"""The rule of SATM: noise, perturbation, the second pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch

from satm.engine import HigherPolicy, LastSteps
from satm.errors import ConfigError
from satm.methods.outer import SATM, OuterProblem, smoothing_noise
from satm.rng import Seed
from tests.helpers import leaves, normal, tiny_case

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
N, WINDOW = 6, 3
IOTA = N - WINDOW


@dataclass
class Recording:
    """A policy that records each call and passes it on to another policy."""

    policy: HigherPolicy = field(default_factory=HigherPolicy)
    calls: list = field(default_factory=list)

    def __call__(self, loop, at, theta_start, outer_loss, truncation, **where):
        found = self.policy(loop, at, theta_start, outer_loss, truncation, **where)
        self.calls.append({"loop": loop, "images": at.images.clone(), "theta": theta_start, "found": found} | where)
        return found


def problem(case, policy):
    return OuterProblem(
        loop=case.loop,
        at=case.at,
        theta_start=case.theta,
        loss=case.loss,
        policy=policy,
        truncation=LastSteps(WINDOW),
    )


def run(*, case=None, other_loop=None, **settings):
    """The rule's update and its two calls of the policy. `other_loop` is what `redraw` gives."""
    case, policy = case or tiny_case(), Recording()
    rule = SATM(**{"rho": 0.1, "gamma": 0.2, "noise": "relative", "tau": IOTA} | settings)
    update = rule(problem(case, policy), Seed(0).generator(), lambda: other_loop, {})
    first, second = policy.calls
    return update, first, second


@pytest.mark.parametrize("tau", range(IOTA, N))
def test_noise_is_on_in_the_first_pass_and_off_in_the_second(tau):
    case = tiny_case()
    update, first, second = run(case=case, tau=tau)
    noise = smoothing_noise(case.at.images, 0.2, "relative", Seed(0).generator())
    assert noise.norm() > 0.1
    close(first["images"], case.at.images + noise)
    close(second["images"], case.at.images + update.perturbation)
    # The same by hand: the whole loop at the noisy images, then the steps from θ_τ at the perturbed ones.
    noisy = leaves(case.at._replace(images=case.at.images + noise))
    thetas, gradients = case.unroll(noisy, tape_from=IOTA)
    outer, images = torch.autograd.grad(case.loss(thetas[-1]), [thetas[-1], noisy.images])
    close(update.perturbation, 0.1 * images / images.norm())
    close(update.step_size, -(outer @ sum(gradients)).detach())
    perturbed = leaves(case.at._replace(images=case.at.images + update.perturbation))
    again, _ = case.unroll(perturbed, theta=thetas[tau], first=tau)
    close(update.images, torch.autograd.grad(case.loss(again[-1]), perturbed.images)[0])


@pytest.mark.parametrize("tau", range(IOTA, N))
def test_the_second_pass_starts_at_the_stored_parameters_of_the_first(tau):
    _, first, second = run(tau=tau)
    assert (first["first"], first["keep"]) == (0, tau)
    assert second["first"] == tau
    assert second["theta"] is first["found"].kept
    assert not torch.equal(first["found"].kept, first["theta"])


def test_without_noise_and_perturbation_both_passes_are_one():
    case = tiny_case()
    update, first, second = run(case=case, rho=0.0, gamma=0.0)
    assert torch.equal(second["found"].images, first["found"].images)
    assert torch.equal(second["found"].loss, first["found"].loss)
    plain = HigherPolicy()(case.loop, case.at, case.theta, case.loss, LastSteps(WINDOW))
    assert torch.equal(update.images, plain.images)
    assert torch.equal(update.step_size, plain.step_size)
    assert not update.perturbation.any()
    assert update.measured["hypergradient_norm"] == update.measured["hypergradient_norm_perturbed"]


@pytest.mark.parametrize("rho", [1e-3, 0.1, 7.0])
def test_the_perturbation_has_length_rho_over_the_whole_set_along_the_first_hypergradient(rho):
    update, first, _ = run(rho=rho)
    epsilon, gradient = update.perturbation, first["found"].images
    assert epsilon.norm().item() == pytest.approx(rho, rel=1e-12)
    close((epsilon * gradient).sum(), epsilon.norm() * gradient.norm())
    assert epsilon.flatten(1).norm(dim=1).max() < 0.99 * rho  # of the set, not of each image


def test_a_hypergradient_of_zero_gives_no_perturbation():
    flat = replace(problem(tiny_case(), HigherPolicy()), loss=lambda theta: (0 * theta).sum())
    rule = SATM(rho=0.1, gamma=0.0, noise="relative", tau=IOTA)
    update = rule(flat, Seed(0).generator(), pytest.fail, {})
    assert not update.perturbation.any()
    assert not update.images.any()


def test_the_second_pass_replays_the_draws_unless_redraw_is_set():
    case = tiny_case()
    other = replace(case.loop, transforms=case.loop.transforms[::-1], batches=(torch.tensor([1, 2]),) * N)
    replayed, first, second = run(case=case, other_loop=other)
    assert first["loop"] is second["loop"] is case.loop
    redrawn, first, second = run(case=case, other_loop=other, redraw=True)
    assert first["loop"] is case.loop
    assert second["loop"] is other
    assert torch.equal(redrawn.perturbation, replayed.perturbation)
    assert not torch.allclose(redrawn.images, replayed.images)


def test_what_is_measured():
    case = tiny_case()
    update, first, second = run(case=case)
    noise = first["images"] - case.at.images
    assert update.measured == {
        "loss": float(first["found"].loss),
        "loss_perturbed": float(second["found"].loss),
        "hypergradient_norm": float(first["found"].images.norm()),
        "hypergradient_norm_perturbed": float(second["found"].images.norm()),
        "relative_rise": pytest.approx(update.measured["loss_perturbed"] / update.measured["loss"] - 1, rel=1e-9),
        "relative_rise_linear": pytest.approx(
            0.1 * update.measured["hypergradient_norm"] / update.measured["loss"], rel=1e-9
        ),
        "noise_ratio": pytest.approx(float(noise.norm() / case.at.images.norm()), rel=1e-12),
    }


# Noise


@pytest.mark.parametrize(
    ("reading", "std"),
    [
        ("variance", lambda gamma, norm, values: (gamma * norm) ** 0.5),
        ("std", lambda gamma, norm, values: gamma * norm),
        ("relative", lambda gamma, norm, values: gamma * norm / values**0.5),
    ],
)
@pytest.mark.parametrize("gamma", [0.01, 0.5])
def test_each_reading_has_the_size_it_says(reading, std, gamma):
    """Every value of image j has this standard deviation. 3,072 values estimate it to about 1.3%."""
    images = normal(6, 3, 32, 32, name="images") * torch.tensor([0.1, 1, 3, 10, 0.5, 0]).view(-1, 1, 1, 1)
    noise = smoothing_noise(images, gamma, reading, Seed(0).generator())
    assert noise.dtype == images.dtype
    for image, drawn in zip(images, noise, strict=True):
        expected = std(gamma, image.norm().item(), image.numel())
        assert drawn.std().item() == pytest.approx(expected, rel=0.06)
        assert abs(drawn.mean().item()) <= 4 * expected / image.numel() ** 0.5
        if reading == "relative":
            assert drawn.norm().item() == pytest.approx(gamma * image.norm().item(), rel=0.06)
    drawn = noise[:5].flatten(1) / noise[:5].flatten(1).norm(dim=1, keepdim=True)
    assert (drawn @ drawn.T - torch.eye(5)).abs().max() < 0.1  # every image has its own draw


def test_noise_depends_on_the_generator_only_and_is_the_same_in_every_precision():
    images = normal(4, 1, 8, 8, name="images")
    one, two, other = (smoothing_noise(images, 0.1, "std", Seed(seed).generator()) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)
    single = smoothing_noise(images.float(), 0.1, "std", Seed(0).generator())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), one, rtol=1e-5, atol=1e-7)
    assert not smoothing_noise(images, 0.0, "variance", Seed(0).generator()).any()


@pytest.mark.parametrize("changes", [{"rho": -0.1}, {"gamma": -0.1}, {"rho": float("nan")}, {"gamma": float("inf")}])
def test_strengths_outside_their_range_are_one_line(changes):
    with pytest.raises(ConfigError, match=r"^(outer\.rho|gamma) .*: expected .*finite numbers? of 0 or more$"):
        SATM(**{"rho": 0.0, "gamma": 0.0, "noise": "std", "tau": 0} | changes)
