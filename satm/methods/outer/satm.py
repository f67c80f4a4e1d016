"""The outer rule of SATM: SAM with a smoothed loss in its first pass (Gao et al. 2025, Algorithm 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from satm.methods.outer.ascent import TwoPasses, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw
from satm.types import Images

NoiseReading: TypeAlias = Literal["variance", "std", "relative"]  # see `smoothing_noise`


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


def smoothing_noise(images: Images, gamma: float, reading: NoiseReading, generator: torch.Generator) -> torch.Tensor:
    """Draw φ^Δ [n, C, H, W]: noise in proportion to the norm of each image φ_j (paper §4.1, Algorithm 1 line 7).

    γ is `gamma`, and an image has D = C·H·W values. The paper's N(0, γ‖φ_j‖ I) can be understood in three ways, from
    which `reading` selects one:
    `variance`: γ‖φ_j‖ is the variance of each value, as printed. The standard deviation is √(γ‖φ_j‖).
    `std`: γ‖φ_j‖ is the standard deviation of each value.
    `relative`: γ‖φ_j‖/√D is the standard deviation of each value, so that E‖φ^Δ_j‖ ≈ γ‖φ_j‖.
    """
    norms: torch.Tensor = images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    match reading:
        case "variance":
            std = (gamma * norms).sqrt()
        case "std":
            std = gamma * norms
        case "relative":
            std = gamma * norms / math.sqrt(images[0].numel())
    # The noise is drawn on the CPU in float32, so that it is the same on every device and in every precision.
    noise = torch.randn(images.shape, generator=generator)
    return std * noise.to(device=images.device, dtype=images.dtype)


OUTER.add(
    OuterOptimiser(
        name="satm",
        summary="SAM whose ascent starts from a smoothed landscape (Gao et al. 2025)",
        cite=("gao2025satm",),
        config=SATM,
    )
)
