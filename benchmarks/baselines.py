"""The outer steps of MTT and TESLA as their papers define them, in plain uncompiled torch on one parameter vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

from satm.engine import FlatNetwork


class Problem(NamedTuple):
    """One outer step: a network, φ with its labels, α, an expert's segment, N and the window."""

    network: torch.nn.Module
    images: torch.Tensor
    labels: torch.Tensor
    step_size: torch.Tensor
    start: torch.Tensor
    target: torch.Tensor
    steps: int
    window: int

    def outer_loss(self, theta: torch.Tensor) -> torch.Tensor:
        """‖θ − θ^E_{t+M}‖² / ‖θ^E_t − θ^E_{t+M}‖²."""
        return (theta - self.target).square().sum() / (self.start - self.target).square().sum()


def _gradient(problem: Problem, theta: torch.Tensor, images: torch.Tensor, *, create_graph: bool) -> torch.Tensor:
    loss = F.cross_entropy(FlatNetwork(problem.network)(theta, images), problem.labels)
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=create_graph)
    return gradient


def mtt(problem: Problem) -> torch.Tensor:
    """∂L/∂φ by Cazenavette et al. 2022: unrolls all N steps, then one backward pass goes through them."""
    images = problem.images.detach().requires_grad_()
    step_size = problem.step_size.detach().requires_grad_()
    theta = problem.start.detach().requires_grad_()
    for _ in range(problem.steps):
        theta = theta - step_size * _gradient(problem, theta, images, create_graph=True)
    found, _ = torch.autograd.grad(problem.outer_loss(theta), (images, step_size))
    return found


def tesla(problem: Problem) -> torch.Tensor:
    """∂L/∂φ by Cui et al. 2023: one pass for Σ g_i without a graph, a second for Σ (∂g_i/∂φ)ᵀ v with θ_i constant."""
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
    """Torch's error message if MTT's inner loss is compiled and its gradient is differentiated again."""
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


BASELINES: dict[str, Callable[[Problem], torch.Tensor]] = {"mtt": mtt, "tesla": tesla}
