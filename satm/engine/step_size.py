"""The two derivatives of F with respect to the step size α: the paper's closed form, and the exact one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.step import Step, make_step
from satm.types import FlatParams


def first_order_step_size_derivative(
    outer_gradient: FlatParams, theta_start: FlatParams, theta_end: FlatParams, step_size: torch.Tensor
) -> torch.Tensor:
    """∂L/∂θ_N · (−Σ_i ∂L_CE(θ_i, φ)/∂θ_i), every inner gradient held constant (paper Eq. 10).

    SGD's own update gives the sum without storing a gradient: θ_N − θ_0 = −α Σ_i g_i. `outer_gradient` [P] is ∂L/∂θ_N;
    α must not be 0.
    """
    return outer_gradient @ (theta_end - theta_start) / step_size


def exact_step_size_derivative(
    loop: InnerLoop,
    at: OuterVariables,
    theta_start: FlatParams,
    outer_loss: Callable[[FlatParams], torch.Tensor],
    *,
    step: Step | None = None,
) -> torch.Tensor:
    """dF/dα through all N steps, in forward mode: memory does not grow with N.

    With ω_i = dθ_i/dα, ω_0 = 0, differentiating the inner step gives ω_{i+1} = ω_i − g_i − α H_i ω_i, one
    Hessian-vector product a step; the answer is ∂L/∂θ_N · ω_N. `step` is the loop's, for one that is compiled.
    """
    step = step or make_step(loop.network, criterion=loop.criterion)
    step.check(loop)
    at = OuterVariables(at.images.detach(), at.labels.detach(), at.step_size.detach())
    theta = theta_start.detach()
    omega = torch.zeros_like(theta)
    for i in range(loop.steps):
        images, labels = loop.batch(i, at)
        images = loop.transforms[i](images)
        curvature = step.product(theta, images, labels, omega).theta
        assert curvature is not None  # `mixed` alone holds θ
        gradient = step.gradient(theta, images, labels)
        omega = omega - gradient - at.step_size * curvature
        theta = theta - at.step_size * gradient
    theta = theta.requires_grad_()
    (outer_gradient,) = torch.autograd.grad(outer_loss(theta), theta)
    return outer_gradient @ omega
