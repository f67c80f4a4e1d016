"""The outer rule of SATM: SAM with a smoothed loss in its first pass (Gao et al. 2025, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.methods.outer.ascent import TwoPasses, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.noise import NoiseReading, smoothing_noise
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw


@dataclass(frozen=True, slots=True, kw_only=True)
class SATM(TwoPasses):
    """SAM with smoothing noise φ^Δ on the images in the first pass (lines 7 to 20 of Algorithm 1):

        φ^Δ ~ N(0, γ‖φ_j‖ I) for each image j     (see `smoothing_noise`)
        g = ∇F(φ + φ^Δ)
        ε = ρ g/‖g‖₂, with ρ = r‖φ‖₂                (see `TwoPasses`)
        φ descends ∇F(φ + ε)                      (the noise is off)

    φ, φ^Δ, g and ε are [n, C, H, W]. φ_j is image j, and I the identity matrix. The norm of g is over the whole set.
    The second pass starts at θ_τ, the parameters that the first pass stored at inner step τ. This follows Eq. 9 of the
    paper; line 16 of Algorithm 1 differs from it. With γ = 0 the rule is SAM. The paper prints no values of ρ and γ.
    """

    rule: Literal["satm"] = "satm"
    gamma: float = 0.1  # γ, the strength of the smoothing noise; its meaning depends on `noise`
    noise: NoiseReading = "relative"  # how the paper's formula N(0, γ‖φ_j‖ I) is understood; see `smoothing_noise`

    def __post_init__(self) -> None:
        TwoPasses.__post_init__(self)  # `super()` does not work in a dataclass with slots
        not_negative(gamma=self.gamma)

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`."""
        images = problem.at.images
        delta = smoothing_noise(images, self.gamma, self.noise, generator)
        both = ascend(self, problem, redraw, noise=delta)
        return both.update(noise_ratio=float(delta.norm() / images.norm()))


OUTER.add(
    OuterOptimiser(
        name="satm",
        summary="SAM whose ascent starts from a smoothed landscape (Gao et al. 2025)",
        cite=("gao2025satm",),
        config=SATM,
    )
)
