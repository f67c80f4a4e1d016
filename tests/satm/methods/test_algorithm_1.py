"""Read this first: Algorithm 1 of SATM (Gao et al. 2025) in plain torch, and a test that the suite computes the same.

`algorithm_1` is the whole method in about 50 lines, without the suite's engine, rules or guard. Numbers in its comments
are the lines of Algorithm 1. Where each piece is in the suite:

    lines 5, 9 to 11, 20 and Eq. 10    satm/methods/trajectory/condensation.py
    lines 7 to 19                      satm/methods/outer/satm.py and ascent.py
    Eq. 8 and Eq. 9                    satm/engine
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from satm import networks
from satm.engine import InnerLoop
from satm.methods.outer import Rule
from satm.methods.satm import SATMConfig
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, SATM, experts, image_data, in_float64, settings, task


@dataclass(frozen=True)
class Draws:
    """The random draws of one outer step."""

    start: torch.Tensor  # θ^E_t [P]: an expert after t epochs
    target: torch.Tensor  # θ^E_{t+M} [P]: the same expert M epochs later
    noise: torch.Tensor  # z [n, C, H, W], from N(0, 1)
    first: InnerLoop  # the mini-batch and the augmentation of each inner step
    second: InnerLoop  # those of the second pass: the same ones, unless `redraw` is set


def algorithm_1(network, phi, labels, alpha, outer_steps: list[Draws], config: SATMConfig):
    """Images φ [n, C, H, W] and step size α after every outer step."""
    steps = config.inner_steps  # N
    iota = steps - config.window  # ι: inner steps ι … N − 1 are differentiated
    tau = iota if config.outer.tau is None else config.outer.tau  # τ: the second pass starts here
    velocity, alpha_velocity, results = torch.zeros_like(phi), 0.0, []

    for draws in outer_steps:  # 4: while not converged
        start, target = draws.start, draws.target  # 5: sample an expert segment θ^E_t, θ^E_{t+M}
        theta, gradients = start.clone(), torch.zeros_like(start)  # 6: θ = θ^E_t

        # 7: φ^Δ_j ~ N(0, γ‖φ_j‖ I), scaled so that ‖φ^Δ_j‖ ≈ γ‖φ_j‖ (the reading `relative`)
        norms = phi.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        delta = config.outer.gamma * norms / phi[0].numel() ** 0.5 * draws.noise
        noisy = (phi + delta).requires_grad_()  # 8: φ = φ + φ^Δ
        for i in range(steps):  # 9: for i = 0 … N − 1
            if i <= iota:
                theta = theta.detach().requires_grad_()  # no derivative flows through the steps before ι
            if i == tau:
                theta_tau = theta.detach()
            gradient = inner_gradient(network, theta, noisy, labels, draws.first, i)
            gradients = gradients + gradient.detach()
            theta = theta - alpha * gradient  # 10: θ = θ − α ∇L(θ, φ)
        # 12: compute ∇F(φ) by Eq. 8; for Eq. 10, ∂L/∂θ_N too
        first, outer_gradient = torch.autograd.grad(matching_loss(theta, start, target), [noisy, theta])
        epsilon = config.outer.rho * first / first.norm()  # 13: ε = ρ ∇F(φ)/‖∇F(φ)‖₂

        theta = theta_tau.requires_grad_()  # 14: the second pass starts from the stored θ_τ
        perturbed = (phi + epsilon).requires_grad_()  # 15: the noise is off: φ here is the φ before line 8
        for i in range(tau, steps):  # 16: for i = τ … N − 1 (Eq. 9; the printed bounds count one step more)
            gradient = inner_gradient(network, theta, perturbed, labels, draws.second, i)
            theta = theta - alpha * gradient  # 17: θ = θ − α ∇L(θ, φ + ε)
        # 19: compute ∇F(φ + ε) by Eq. 9
        (second,) = torch.autograd.grad(matching_loss(theta, start, target), perturbed)

        velocity = config.momentum_images * velocity + second
        phi = phi - config.lr_images * velocity  # 20: φ = φ − β ∇F(φ + ε), with momentum
        alpha_velocity = config.momentum_step_size * alpha_velocity - outer_gradient @ gradients
        # Eq. 10: α = α − λ ∂L/∂θ_N · (−Σ_i ∂L_CE/∂θ_i), from the first pass; then α is projected to α ≥ α_min
        alpha = torch.clamp(alpha - config.lr_step_size * alpha_velocity, min=config.min_step_size)
        results.append((phi, alpha))
    return results


def inner_gradient(network, theta, phi, labels, loop, i):
    """∂L_CE(θ, φ)/∂θ [P] at the mini-batch and augmentation of inner step i; L_CE is the cross-entropy."""
    sizes = [parameter.numel() for parameter in network.parameters()]
    named = zip(network.named_parameters(), theta.split(sizes), strict=True)
    parameters = {name: part.view(parameter.shape) for (name, parameter), part in named}
    batch = torch.arange(len(phi)) if loop.batches[i] is None else loop.batches[i]
    logits = functional_call(network, parameters, loop.transforms[i](phi[batch]))
    return torch.autograd.grad(F.cross_entropy(logits, labels[batch]), theta, create_graph=True)[0]


def matching_loss(theta, start, target):
    """‖θ − θ^E_{t+M}‖²/‖θ^E_t − θ^E_{t+M}‖² (Eq. 1)."""
    return ((theta - target) ** 2).sum() / ((start - target) ** 2).sum()


# The suite beside it


class Witness(Rule):
    """Passes each problem on to another rule, and keeps the draws of every outer step."""

    def __init__(self, rule):
        self.rule, self.draws = rule, []

    def __call__(self, problem, generator, redraw, state):
        second = redraw() if self.rule.redraw else problem.loop
        noise = torch.Generator()
        noise.set_state(generator.get_state())  # so that the rule draws the same noise
        self.draws.append(
            Draws(
                start=problem.loss.start,
                target=problem.loss.target,
                noise=torch.randn(problem.at.images.shape, generator=noise).double(),
                first=problem.loop,
                second=second,
            )
        )
        return self.rule(problem, generator, lambda: second, state)


close = partial(torch.testing.assert_close, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tau": 4},
        {"tau": 5, "window": 2, "redraw": True},
        {"window": 6, "batch_syn": None, "augment": None},
        {"window": 1, "momentum_images": 0.0, "momentum_step_size": 0.5},
        {"rho": 0.0, "gamma": 0.0},
        {"step_size": 0.02, "min_step_size": 0.02, "lr_step_size": 1e-3},  # α is projected
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()) or "default",
)
def test_condensation_is_algorithm_1(changes):
    """Five outer steps in float64 from the same draws give the same φ and α."""
    data = image_data()
    config = settings(SATM, **changes)
    witness = Witness(config.outer)
    condensation = TrajectoryCondensation(task(data, experts(data)), config, witness)
    in_float64(condensation)
    start = condensation.images, condensation.step_size
    found, events = [], 0
    for _ in range(5):
        measured = condensation.advance()
        events += "event.step_size_projected_from" in measured
        found.append((condensation.images, condensation.step_size))

    network = networks.plan_for(ARCHITECTURE, data).create(Seed(99)).double()
    expected = algorithm_1(network, start[0], condensation.labels, start[1], witness.draws, config)
    for (images, step_size), (phi, alpha) in zip(found, expected, strict=True):
        close(images, phi)
        close(step_size, alpha)
    # φ and α moved, and the draws differ between outer steps.
    assert (found[-1][0] - start[0]).norm() > 0.01
    assert len({float(step_size) for _, step_size in found}) > 1
    assert (events > 0) == ("min_step_size" in changes)
    assert len({(float(draws.start.sum()), float(draws.target.sum())) for draws in witness.draws}) > 1
