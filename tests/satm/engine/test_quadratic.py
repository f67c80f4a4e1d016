"""A problem that can be solved on paper: least squares inside, distance to a point outside.

The inner loss of images X [n, D] (one row each), targets y [n] and parameters θ [D] is ‖Xθ − y‖² / 2n. With A = XᵀX/n,
b = Xᵀy/n its gradient is Aθ − b and its minimum θ̂ = A⁻¹b, so with P = I − αA the inner steps are

    θ_i = θ̂ + Pⁱ(θ_0 − θ̂).

The outer loss is F = ‖θ_N − θ*‖² / 2. Step i adds −α(Aθ_i − b) to θ_{i+1}, which the remaining steps multiply by
P^{N−1−i}; P is symmetric. With λ_i = P^{N−1−i}(θ_N − θ*) every step therefore contributes −α λ_iᵀ d(Aθ_i − b) at
constant θ_i, and over the window ι … N − 1

    ∂F/∂X = −(α/n) Σ_i [X(λ_i θ_iᵀ + θ_i λ_iᵀ) − y λ_iᵀ]          ∂F/∂y = (α/n) Σ_i X λ_i

For α, d/dα Pᴺ = −N A P^{N−1} and Σ_i (Aθ_i − b) = Σ_i A Pⁱ(θ_0 − θ̂) = (I − Pᴺ)(θ_0 − θ̂)/α give

    dF/dα = −N (θ_N − θ*)ᵀ A P^{N−1}(θ_0 − θ̂)      Eq. 10: −(θ_N − θ*)ᵀ (I − Pᴺ)(θ_0 − θ̂)/α
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from satm.engine import InnerLoop, LastSteps, OuterVariables, exact_step_size_derivative
from tests.helpers import EXACT, normal

ROWS, D, N = 8, 4, 7
power = torch.linalg.matrix_power
close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)


def least_squares(outputs, labels):
    """The quadratic inner loss."""
    return (outputs.squeeze(1) - labels).square().mean() / 2


@pytest.fixture
def paper():
    """The closed forms above, and the problem they solve."""
    x, y, start, target = (normal(*s, name=n) for n, s in {"X": (ROWS, D), "y": (ROWS,), "0": (D,), "*": (D,)}.items())
    alpha = torch.tensor(0.2, dtype=torch.float64)
    a, b = x.T @ x / ROWS, x.T @ y / ROWS
    p, minimum = torch.eye(D, dtype=torch.float64) - alpha * a, torch.linalg.solve(a, b)
    thetas = [minimum + power(p, i) @ (start - minimum) for i in range(N + 1)]
    outer = thetas[N] - target

    def gradients(window):
        images, labels = torch.zeros_like(x), torch.zeros_like(y)
        for i in range(N - window, N):
            adjoint = power(p, N - 1 - i) @ outer
            both = torch.outer(adjoint, thetas[i])
            images -= alpha / ROWS * (x @ (both + both.T) - torch.outer(y, adjoint))
            labels += alpha / ROWS * x @ adjoint
        return images.view(ROWS, 1, 1, D), labels

    network = nn.Sequential(nn.Flatten(), nn.Linear(D, 1, bias=False)).double()
    return {
        "loop": InnerLoop(
            network=network, batches=(None,) * N, transforms=(nn.Identity(),) * N, criterion=least_squares
        ),
        "at": OuterVariables(x.view(ROWS, 1, 1, D), y, alpha),
        "theta_start": start,
        "outer_loss": lambda theta: (theta - target).square().sum() / 2,
        "thetas": thetas,
        "gradients": gradients,
        "exact": -N * outer @ a @ power(p, N - 1) @ (start - minimum),
        "eq10": -outer @ (start - minimum - power(p, N) @ (start - minimum)) / alpha,
    }


def problem(paper):
    return {name: paper[name] for name in ("loop", "at", "theta_start", "outer_loss")}


@pytest.mark.parametrize("window", [1, 2, 4, N])
@pytest.mark.parametrize("policy", EXACT, ids=lambda policy: policy.name)
def test_hypergradient_is_the_closed_form(policy, paper, window):
    found = policy(**problem(paper), truncation=LastSteps(window), keep=3)
    images, labels = paper["gradients"](window)
    close(found.images, images)
    close(found.labels, labels)
    close(found.step_size, paper["eq10"])
    close(found.theta, paper["thetas"][N])
    close(found.kept, paper["thetas"][3])
    if window == N:
        close(found.step_size_taped, paper["exact"])


def test_exact_step_size_derivative_is_the_closed_form(paper):
    close(exact_step_size_derivative(**problem(paper)), paper["exact"])
    assert not torch.isclose(paper["exact"], paper["eq10"], rtol=0.1)  # if they were equal, this would prove nothing
