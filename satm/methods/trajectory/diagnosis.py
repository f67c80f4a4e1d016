"""Measurements of an outer step besides its loss: sharpness, and ∂F/∂α both exactly and by Eq. 10."""

from __future__ import annotations

from collections import deque

import torch

from satm.engine import (
    OuterVariables,
    exact_step_size_derivative,
    first_order_step_size_derivative,
    inner_path,
    make_step,
)
from satm.methods.outer import OuterProblem
from satm.types import FlatParams


def diagnose(problem: OuterProblem, perturbation: torch.Tensor | None) -> dict[str, float]:
    """Sharpness L(φ + ε) − L(φ), and ∂F/∂α by Eq. 10 and exactly, all at φ without noise (paper Figures 2 and 3).

    `perturbation` is ε [n, C, H, W]. If the rule does not ascend, it is None and there is no sharpness. Each
    measurement runs all N steps from the start of the segment, with the problem's draws.
    """
    at = problem.seen(problem.at.images)
    clean = _final(problem, at)
    leaf = clean.requires_grad_()
    loss = problem.loss(leaf)
    (outer_gradient,) = torch.autograd.grad(loss, leaf)
    measured = {}
    if perturbation is not None:
        perturbed = _final(problem, problem.seen(problem.at.images + perturbation))
        measured["sharpness"] = float(problem.loss(perturbed) - loss.detach())
    measured["loss_clean"] = float(loss.detach())
    if at.step_size.ndim:  # each step has one of its own
        return measured
    first_order = first_order_step_size_derivative(outer_gradient, problem.theta_start, clean.detach(), at.step_size)
    exact = exact_step_size_derivative(problem.loop, at, problem.theta_start, problem.loss, step=problem.policy.step)
    return measured | {
        "step_size_derivative": float(first_order),
        "step_size_derivative_exact": float(exact),
    }


def _final(problem: OuterProblem, at: OuterVariables) -> FlatParams:
    """θ_N [P] after N plain steps. They run in full precision, whatever precision the policy uses."""
    replayed = problem.policy.step
    at_once = None if replayed is None else replayed.at_once
    step = make_step(problem.loop.network, criterion=problem.loop.criterion, at_once=at_once)
    run = inner_path(step, problem.loop, at, problem.theta_start, range(problem.loop.steps))
    ((_, end, _),) = deque(run, maxlen=1)
    return end.theta
