"""Efficient sharpness-aware minimisation (ESAM; Du et al. 2022): SAM that perturbs a random part of the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, along, ascend
from satm.methods.outer.check import fraction
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class ESAM(TwoPasses):
    """SAM with a perturbation that keeps each entry with the probability β (ESAM's stochastic weight perturbation):

        m_i ~ Bernoulli(β) for each entry i of φ, drawn at every outer step
        ε = (ρ/β) m ⊙ ∇F(φ)/‖∇F(φ)‖₂, with ρ = r‖φ‖₂ (see `TwoPasses`)
        φ descends ∇F(φ + ε)

    m, ε and φ are [n, C, H, W], and norms are over the whole set. The mean of ε over m is SAM's ε, and the mean of
    ‖ε‖₂² is ρ²/β. So the settings `radius` and `rho` set ρ, the length of SAM's ε. Here the entries that are kept are
    also divided by β, so ε can have any length from 0 to ρ/β. With β = 1 the rule is SAM to the bit.

    In the published code (utils/Esam.py of dydjw9/Efficient_SAM at 1e06840) whole tensors of weights are kept or left
    out, and the norm is over the kept ones only. Here the entries of ε are kept or left out one by one, as in the
    paper's equation, because the images are one tensor.

    The second part of ESAM, the selection of the data that are sensitive to the perturbation (SDS, its setting γ), has
    no counterpart here: F is one number for the whole segment, and not a mean over samples of which some can be left
    out. So this rule is ESAM with γ = 1. It is not cheaper than SAM either, because the engine computes the
    hypergradient of all pixels together.
    """

    rule: Literal["esam"] = "esam"
    beta: float = 0.5  # β; run.sh of the published code has 0.5 and 0.6 for the weights of networks

    def __post_init__(self) -> None:
        TwoPasses.__post_init__(self)  # `super()` does not work in a dataclass with slots
        fraction("beta", self.beta, one=True)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`. Also measures `kept_pixels`, the mean of m."""
        kept, length = self.mask(problem.at.images, generator), self.length_at(problem)

        def perturb(gradient: torch.Tensor) -> torch.Tensor:
            return kept * along(gradient, length) / self.beta

        return ascend(self, problem, redraw, perturb).update(kept_pixels=float(kept.mean()))

    def mask(self, images: Images, generator: torch.Generator) -> torch.Tensor:
        """Draw m [n, C, H, W], whose entries are 1 with the probability β and otherwise 0."""
        # Drawn on the CPU in float32, so that it is the same on every device and in every precision.
        return (torch.rand(images.shape, generator=generator) < self.beta).to(images)


OUTER.add(
    OuterOptimiser(
        name="esam",
        summary="SAM that perturbs a random part of the pixels (Du et al. 2022)",
        cite=("du2022esam",),
        config=ESAM,
    )
)
