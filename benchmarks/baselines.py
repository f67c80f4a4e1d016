"""The hypergradients of MTT and TESLA as their papers define them, in plain uncompiled torch.

They are the baselines of benchmarks/engine.py and benchmarks/jobs.py. All parameters of a network are one vector θ [P].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

from satm.engine import FlatNetwork


class Problem(NamedTuple):
    """The input of one outer step.

    An inner loop of N steps of SGD trains the network on the synthetic images φ with learning rate α. It starts at an
    expert's parameters θ^E_t and should end at the parameters θ^E_{t+M} that the expert had M epochs later.
    """

    network: torch.nn.Module
    images: torch.Tensor  # φ [n, C, H, W]
    labels: torch.Tensor  # [n] int64, the classes of the images
    step_size: torch.Tensor  # α, 0-dimensional
    start: torch.Tensor  # θ^E_t [P]
    target: torch.Tensor  # θ^E_{t+M} [P]
    steps: int  # N
    window: int  # how many of the last inner steps SATM differentiates; MTT and TESLA differentiate all steps

    def outer_loss(self, theta: torch.Tensor) -> torch.Tensor:
        """The matching loss L(θ) = ‖θ − θ^E_{t+M}‖² / ‖θ^E_t − θ^E_{t+M}‖² of parameters θ [P]."""
        return (theta - self.target).square().sum() / (self.start - self.target).square().sum()


def _gradient(problem: Problem, theta: torch.Tensor, images: torch.Tensor, *, create_graph: bool) -> torch.Tensor:
    # Returns the gradient [P] of the cross-entropy on all `images` at the parameters `theta` [P].
    loss = F.cross_entropy(FlatNetwork(problem.network)(theta, images), problem.labels)
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=create_graph)
    return gradient


def mtt(problem: Problem) -> torch.Tensor:
    """∂L/∂φ [n, C, H, W] as in MTT (Cazenavette et al. 2022): one backward pass through all N recorded inner steps.

    The pass also computes ∂L/∂α, as MTT does, but the function does not return it.
    """
    images = problem.images.detach().requires_grad_()
    step_size = problem.step_size.detach().requires_grad_()
    theta = problem.start.detach().requires_grad_()
    for _ in range(problem.steps):
        theta = theta - step_size * _gradient(problem, theta, images, create_graph=True)
    found, _ = torch.autograd.grad(problem.outer_loss(theta), (images, step_size))
    return found


def tesla(problem: Problem) -> torch.Tensor:
    """∂L/∂φ [n, C, H, W] as in TESLA (Cui et al. 2023): two passes, each with the graph of at most one inner step.

    g_i [P] is the gradient of inner step i. The first pass adds up Σ g_i without a graph. The loop ends at
    θ_N = θ_0 − α Σ g_i, and v [P] is the derivative of L at θ_N. The second pass computes −α Σ (∂g_i/∂φ)ᵀ v. In it the
    parameters θ_i are constants.
    """
    theta, total = problem.start.detach(), torch.zeros_like(problem.start)
    for _ in range(problem.steps):
        gradient = _gradient(problem, theta.requires_grad_(), problem.images, create_graph=False)
        total += gradient
        theta = theta.detach() - problem.step_size * gradient
    delta = (problem.start - problem.target).square().sum()
    v = 2 * (problem.start - problem.step_size * total - problem.target) / delta
    images = problem.images.detach().requires_grad_()
    found, theta = torch.zeros_like(images), problem.start.detach()
    for _ in range(problem.steps):
        gradient = _gradient(problem, theta.requires_grad_(), images, create_graph=True)
        found -= problem.step_size * torch.autograd.grad(gradient @ v, images)[0]
        theta = theta.detach() - problem.step_size * gradient.detach()
    return found


def refusal(problem: Problem) -> str:
    """Compile MTT's inner loss, differentiate its gradient again, and return the first line of torch's error message.

    Returns "accepted" if torch raises no error.
    """
    images = problem.images.detach().requires_grad_()
    theta = problem.start.detach().requires_grad_()
    network = FlatNetwork(problem.network)
    loss = torch.compile(lambda theta, images: F.cross_entropy(network(theta, images), problem.labels))
    try:
        (gradient,) = torch.autograd.grad(loss(theta, images), theta, create_graph=True)
        torch.autograd.grad(gradient.sum(), images)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return "accepted"


# The functions that compute the hypergradient ∂L/∂φ of a problem, by the name of the method.
BASELINES: dict[str, Callable[[Problem], torch.Tensor]] = {"mtt": mtt, "tesla": tesla}
