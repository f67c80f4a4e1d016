"""Ascend, then descend from there: the two passes that every sharpness-aware rule takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from satm.engine import Hypergradient, InnerLoop
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State, TwoPasses
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """Both passes of one outer step."""

    first: Hypergradient  # at φ, or at φ + noise
    second: Hypergradient  # at φ + ε, from θ_τ
    epsilon: torch.Tensor
    step_size: torch.Tensor  # α's derivative, of the first trajectory

    def update(
        self,
        images: torch.Tensor | None = None,
        *,
        state: State | None = None,
        **measured: float,
    ) -> OuterUpdate:
        """Descend the second hypergradient, or `images` in its place."""
        return OuterUpdate(
            images=self.second.images if images is None else images,
            labels=self.second.labels,
            step_size=self.step_size,
            perturbation=self.epsilon,
            measured={
                "loss": float(self.first.loss),
                "loss_perturbed": float(self.second.loss),
                "hypergradient_norm": float(self.first.images.norm()),
                "hypergradient_norm_perturbed": float(self.second.images.norm()),
                **measured,
            },
            state=state or {},
        )


def ascend(
    rule: TwoPasses,
    problem: OuterProblem,
    redraw: Callable[[], InnerLoop],
    perturb: Callable[[torch.Tensor], torch.Tensor],
    *,
    noise: torch.Tensor | None = None,
) -> Ascent:
    """∇F(φ + noise) over the window (Eq. 8) → ε = `perturb`(∇F) → noise off → ∇F(φ + ε) from the stored θ_τ (Eq. 9).

    The second pass runs steps τ … N − 1 and replays the draws of the first unless `rule` redraws them. α's derivative
    is the first trajectory's.
    """
    images: Images = problem.at.images
    at = images if noise is None else images + noise
    tau = rule.second_start(problem.iota)
    assert tau is not None
    first = problem.hypergradient(at, keep=tau)
    epsilon = perturb(first.images)
    again = replace(problem, loop=redraw()) if rule.redraw else problem
    second = again.hypergradient(images + epsilon, first=tau, theta=first.kept)
    return Ascent(first=first, second=second, epsilon=epsilon, step_size=problem.step_size_derivative(at, first))


def along(direction: torch.Tensor, rho: float) -> torch.Tensor:
    """ρ d/‖d‖₂, the norm over the whole set; nought where d is."""
    norm = direction.norm()
    return rho * direction / norm if norm > 0 else torch.zeros_like(direction)
