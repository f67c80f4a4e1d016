"""Two derivatives of the matching loss F with respect to the step size α: the paper's closed form and the exact one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.step import Step, make_step
from satm.errors import ConfigError
from satm.types import FlatParams


def first_order_step_size_derivative(
    outer_gradient: FlatParams, theta_start: FlatParams, theta_end: FlatParams, step_size: torch.Tensor
) -> torch.Tensor:
    """Return the approximation ∂F/∂α ≈ ∂L/∂θ_N · (−Σ_i g_i), with which the paper updates α (Eq. 10).

    g_i = ∂L_CE(θ_i, φ)/∂θ_i is the gradient of inner step i. The approximation treats every g_i as a constant, although
    the later ones depend on α. The gradients need not be stored for the sum, because SGD gives θ_N − θ_0 = −α Σ_i g_i.
    `outer_gradient` [P] is ∂L/∂θ_N, `theta_start` [P] is θ_0, `theta_end` [P] is θ_N. α must not be 0.
    """
    return outer_gradient @ (theta_end - theta_start) / step_size


def closed_form(
    outer_gradient: FlatParams, theta_start: FlatParams, theta_end: FlatParams, step_size: torch.Tensor
) -> torch.Tensor | None:
    """Return `first_order_step_size_derivative`, or None if each inner step has a step size of its own.

    For separate step sizes there is no closed form.
    """
    if step_size.ndim:
        return None
    return first_order_step_size_derivative(outer_gradient, theta_start, theta_end, step_size)


def exact_step_size_derivative(
    loop: InnerLoop,
    at: OuterVariables,
    theta_start: FlatParams,
    outer_loss: Callable[[FlatParams], torch.Tensor],
    *,
    step: Step | None = None,
) -> torch.Tensor:
    """Return dF/dα through all N inner steps, computed in forward mode, so that the RAM does not grow with N.

    Let ω_i = dθ_i/dα [P] with ω_0 = 0, and let H_i be the Hessian of the inner loss at θ_i. The derivative of the inner
    step gives ω_{i+1} = ω_i − g_i − α H_i ω_i. This needs one Hessian-vector product for each step. The result is
    ∂L/∂θ_N · ω_N. Use this function if the window is short and α must follow the exact derivative.

    The formula is for plain SGD. For another update rule, `UpdateRule.pushed_forward` computes ω_{i+1}, and with it
    the derivatives of the rule's moments. `outer_loss` is L(θ). `step` computes the gradients and Hessian-vector
    products of the inner loss; None: uncompiled functions are made for this call. Raises ConfigError if each inner step
    has a step size of its own.
    """
    step = step or make_step(loop.network, criterion=loop.criterion)
    step.check(loop)
    at = OuterVariables(at.images.detach(), at.labels.detach(), at.step_size.detach())
    if at.step_size.ndim:
        raise ConfigError("each inner step has a step size of its own: take the derivative through the window, taped")
    point = loop.rule.start(theta_start.detach())
    omega = loop.rule.start(torch.zeros_like(point.theta))
    for i in range(loop.steps):
        images, labels = loop.batch(i, at)
        images = loop.transforms[i](images)
        curvature = step.product(point.theta, images, labels, omega.theta).theta
        assert curvature is not None  # it is None only for `step.mixed`, which takes θ as constant
        gradient = step.gradient(point.theta, images, labels)
        omega = loop.rule.pushed_forward(point, gradient, at.step_size, i, omega, curvature)
        point = loop.rule.update(point, gradient, at.step_size, i)
    theta = point.theta.requires_grad_()
    (outer_gradient,) = torch.autograd.grad(outer_loss(theta), theta)
    return outer_gradient @ omega.theta
