"""What is measured of an outer step beside its loss: sharpness, and α's derivative exactly and by Eq. 10."""

from __future__ import annotations

from collections import deque

import torch

from satm.engine import (
    OuterVariables,
    exact_step_size_derivative,
    first_order_step_size_derivative,
    make_step,
    sgd_path,
)
from satm.methods.outer import OuterProblem
from satm.types import FlatParams


def diagnose(problem: OuterProblem, perturbation: torch.Tensor | None) -> dict[str, float]:
    """On clean φ: sharpness L(φ + ε) − L(φ), and α's derivative by Eq. 10 and exactly (the paper's Figures 2 and 3).

    No sharpness where the rule does not ascend. All run the N steps from the segment's start under the problem's draws.
    """
    at = problem.at
    clean = _final(problem, at)
    leaf = clean.requires_grad_()
    loss = problem.loss(leaf)
    (outer_gradient,) = torch.autograd.grad(loss, leaf)
    first_order = first_order_step_size_derivative(outer_gradient, problem.theta_start, clean.detach(), at.step_size)
    exact = exact_step_size_derivative(problem.loop, at, problem.theta_start, problem.loss, step=problem.policy.step)
    measured = {}
    if perturbation is not None:
        perturbed = _final(problem, at._replace(images=at.images + perturbation))
        measured["sharpness"] = float(problem.loss(perturbed) - loss.detach())
    return measured | {
        "loss_clean": float(loss.detach()),
        "step_size_derivative": float(first_order),
        "step_size_derivative_exact": float(exact),
    }


def _final(problem: OuterProblem, at: OuterVariables) -> FlatParams:
    """θ_N: N plain steps, in full precision whatever the policy's is."""
    replayed = problem.policy.step
    at_once = None if replayed is None else replayed.at_once
    step = make_step(problem.loop.network, criterion=problem.loop.criterion, at_once=at_once)
    ((_, theta),) = deque(sgd_path(step, problem.loop, at, problem.theta_start, range(problem.loop.steps)), maxlen=1)
    return theta
