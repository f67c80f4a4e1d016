"""Plain descent of the hypergradient: what MTT's outer loop does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from satm.engine import InnerLoop
from satm.methods.outer.problem import OUTER, OuterOptimiser, OuterProblem, OuterUpdate, Rule, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(Rule):
    """φ descends ∇F(φ); the momentum is the condensation's own, the same under every rule."""

    rule: Literal["sgd"] = "sgd"

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop], state: State
    ) -> OuterUpdate:
        """See `OuterRule`."""
        return descend(problem, state)


def descend(problem: OuterProblem, state: State) -> OuterUpdate:
    """One pass, and ∇F as it is."""
    images = problem.at.images
    found = problem.hypergradient(images)
    return OuterUpdate(
        images=found.images,
        labels=found.labels,
        step_size=problem.step_size_derivative(images, found),
        measured={"loss": float(found.loss), "hypergradient_norm": float(found.images.norm())},
        state=state,
    )


OUTER.add(OuterOptimiser(name="sgd", summary="plain descent of the hypergradient, as MTT", config=SGD))
