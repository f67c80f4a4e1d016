"""Plain descent of the hypergradient: the outer loop of MTT (Cazenavette et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(Rule):
    """φ moves against ∇F(φ).

    One pass: the cheapest rule, and the one to compare the others with. The momentum of φ belongs to the condensation
    and is the same under every rule.
    """

    rule: Literal["sgd"] = "sgd"

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """See `OuterRule`."""
        return descend(problem, state)


def descend(problem: OuterProblem, state: State) -> OuterUpdate:
    """The direction of plain descent, ∇F(φ), in one pass. The condensation moves φ against it.

    `state` is returned unchanged.
    """
    images = problem.at.images
    # found.images is ∂F/∂φ [n, C, H, W], found.labels ∂F/∂labels (None for hard labels)
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
