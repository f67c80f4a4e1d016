"""Plain descent of the hypergradient: the outer loop of MTT (Cazenavette et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(Rule):
    """Plain descent: φ moves against ∇F(φ).

    The rule needs one pass. It is the cheapest rule, and other rules are compared with it. The momentum with which φ
    moves does not belong to the rule: the condensation applies it in the same way under every rule.
    """

    rule: Literal["sgd"] = "sgd"

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`."""
        return descend(problem, state)


def descend(problem: OuterProblem, state: State) -> OuterUpdate:
    """Compute the direction of plain descent, ∇F(φ), in one pass. The condensation moves φ against this direction.

    The returned update holds `state` unchanged.
    """
    images = problem.at.images
    # found.images is ∂F/∂φ [n, C, H, W]; found.labels is ∂F/∂labels, or None for hard labels
    found = problem.hypergradient(images)
    return OuterUpdate(
        images=found.images,
        labels=found.labels,
        step_size=problem.step_size_derivative(images, found),
        measured={"loss": float(found.loss), "hypergradient_norm": float(found.images.norm())},
        state=state,
    )


OUTER.add(
    OuterOptimiser(
        name="sgd", summary="plain descent of the hypergradient, as in MTT", cite=("cazenavette2022mtt",), config=SGD
    )
)
