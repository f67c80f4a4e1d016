"""Additional measurements in an outer step: the sharpness, and ∂F/∂α both exactly and by the paper's Eq. 10."""

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
    """Measure the sharpness F(φ + ε) − F(φ), F(φ), and ∂F/∂α exactly and by Eq. 10 (paper Figures 2 and 3).

    F is the outer loss of `problem`, α the step size of its inner loop, and `perturbation` is ε [n, C, H, W]. If
    `perturbation` is None, the rule has no perturbation, and the sharpness is not measured. No noise is added to φ.
    Each measurement runs all N inner steps from the start of the segment, with the mini-batches and augmentations of
    `problem`. If each inner step has its own step size, ∂F/∂α is not measured. Returns the measurements by name.
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
    if at.step_size.ndim:  # each inner step has its own step size, and Eq. 10 is for a single one
        return measured
    first_order = first_order_step_size_derivative(outer_gradient, problem.theta_start, clean.detach(), at.step_size)
    exact = exact_step_size_derivative(problem.loop, at, problem.theta_start, problem.loss, step=problem.policy.step)
    return measured | {
        "step_size_derivative": float(first_order),
        "step_size_derivative_exact": float(exact),
    }


def _final(problem: OuterProblem, at: OuterVariables) -> FlatParams:
    """The parameters θ_N [P] after the N inner steps with the variables `at`. The inner steps are not differentiated.

    They run in full precision, even if the problem's policy uses a lower precision.
    """
    replayed = problem.policy.step
    at_once = None if replayed is None else replayed.at_once
    step = make_step(problem.loop.network, criterion=problem.loop.criterion, at_once=at_once)
    run = inner_path(step, problem.loop, at, problem.theta_start, range(problem.loop.steps))
    ((_, end, _),) = deque(run, maxlen=1)
    return end.theta
