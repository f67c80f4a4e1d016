"""Algorithm 1 of the paper written out slowly in plain torch, and the suite's condensation beside it, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from satm import networks
from satm.methods.outer import Rule
from satm.methods.satm import SATMConfig
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, SATM, experts, image_data, in_float64, settings, task

close = partial(torch.testing.assert_close, rtol=1e-8, atol=1e-11)


class Witness(Rule):
    """SATM's own rule, writing down what was drawn for each outer step: the algorithm's inputs."""

    def __init__(self, rule):
        self.rule, self.drawn, self.updates = rule, [], []

    def __call__(self, problem, generator, redraw, state):
        drawn = {"batches": problem.loop.batches, "transforms": problem.loop.transforms}
        noise = torch.Generator()
        noise.set_state(generator.get_state())
        second = dict(drawn)
        if self.rule.redraw:
            loop = redraw()
            second = {"batches": loop.batches, "transforms": loop.transforms}
            redraw = partial(_same, loop)
        self.drawn.append(
            {
                "first": drawn,
                "second": second,
                "noise": torch.randn(problem.at.images.shape, generator=noise).double(),
                "start": problem.loss.start,
                "target": problem.loss.target,
            }
        )
        self.updates.append(self.rule(problem, generator, redraw, state))
        return self.updates[-1]


def _same(loop):
    return loop


def algorithm_1(network, images, labels, alpha, drawn, config: SATMConfig):
    """φ and α after every outer step; the paper's lines and symbols, one network evaluation at a time."""
    names = [name for name, _ in network.named_parameters()]
    shapes = [parameter.shape for parameter in network.parameters()]
    n = config.inner_steps
    iota = n - config.window
    tau = iota if config.outer.tau is None else config.outer.tau
    phi, velocity, alpha_velocity, results = images, torch.zeros_like(images), 0.0, []

    def inner_gradient(theta, phi, i, draws, *, graph):
        """∂L_CE(θ_i, φ)/∂θ_i"""
        parts = theta.split([shape.numel() for shape in shapes])
        parameters = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        batch = torch.arange(len(phi)) if draws["batches"][i] is None else draws["batches"][i]
        logits = torch.func.functional_call(network, parameters, draws["transforms"][i](phi[batch]))
        return torch.autograd.grad(F.cross_entropy(logits, labels[batch]), theta, create_graph=graph)[0]

    def matching(theta, start, target):
        return ((theta - target) ** 2).sum() / ((start - target) ** 2).sum()

    for draws in drawn:
        start, target = draws["start"], draws["target"]
        # Noise on: φ_j + φ^Δ_j with E‖φ^Δ_j‖ = γ‖φ_j‖.
        scaled = zip(phi, draws["noise"], strict=True)
        delta = torch.stack([config.outer.gamma * p.norm() / p.numel() ** 0.5 * z for p, z in scaled])
        noisy = (phi + delta).requires_grad_()
        theta, total = start.clone().requires_grad_(), torch.zeros_like(start)
        for i in range(n):
            if i == iota:
                theta = theta.detach().requires_grad_()
            if i == tau:
                theta_tau = theta.detach().clone()
            gradient = inner_gradient(theta, noisy, i, draws["first"], graph=True)
            total = total + gradient.detach()
            theta = theta - alpha * gradient
            if i < iota:
                theta = theta.detach().requires_grad_()
        outer, first = torch.autograd.grad(matching(theta, start, target), [theta, noisy])
        # ε = ρ ∇F/‖∇F‖₂; noise off.
        epsilon = config.outer.rho * first / first.norm()
        perturbed = (phi + epsilon).requires_grad_()
        theta = theta_tau.requires_grad_()
        for i in range(tau, n):
            theta = theta - alpha * inner_gradient(theta, perturbed, i, draws["second"], graph=True)
        (second,) = torch.autograd.grad(matching(theta, start, target), perturbed)
        # φ by momentum SGD, α by Eq. 10 of the first trajectory, projected.
        velocity = config.momentum_images * velocity + second
        phi = phi - config.lr_images * velocity
        alpha_velocity = config.momentum_step_size * alpha_velocity - outer @ total
        alpha = torch.clamp(alpha - config.lr_step_size * alpha_velocity, min=config.min_step_size)
        results.append((phi, alpha))
    return results


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
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()) or "as it is",
)
def test_condensation_is_algorithm_1(changes):
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

    network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(99)).double()
    expected = algorithm_1(network, start[0], condensation.labels, start[1], witness.drawn, config)
    for (images, step_size), (phi, alpha) in zip(found, expected, strict=True):
        close(images, phi)
        close(step_size, alpha)
    # And it was no standstill.
    assert (found[-1][0] - start[0]).norm() > 0.01
    assert len({float(step_size) for _, step_size in found}) > 1
    assert (events > 0) == ("min_step_size" in changes)
    assert len({(float(d["start"].sum()), float(d["target"].sum())) for d in witness.drawn}) > 1
