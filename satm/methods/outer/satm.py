"""SATM's rule: SAM whose ascent is taken from a smoothed landscape (Gao et al. 2025, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch

from satm.engine import InnerLoop
from satm.methods.outer.ascent import along, ascend
from satm.methods.outer.check import not_negative
from satm.methods.outer.problem import OUTER, OuterOptimiser, OuterProblem, OuterUpdate, State, TwoPasses
from satm.types import Images

NoiseReading: TypeAlias = Literal["variance", "std", "relative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SATM(TwoPasses):
    """Algorithm 1, lines 7 to 20: ε = ρ ∇F/‖∇F‖₂ with ∇F taken at φ + φ^Δ, noise off, φ descends ∇F(φ + ε).

    The norm is over all of φ at once. The second pass starts from the stored θ_τ of the first (Eq. 9, where line 16
    differs from it). γ = 0 is SAM. ρ and γ are not printed in the paper.
    """

    rule: Literal["satm"] = "satm"
    rho: float = 0.01  # ρ: ‖ε‖₂ of the perturbation of the whole set
    gamma: float = 0.01  # γ: strength of the smoothing noise, under the reading below
    noise: NoiseReading = "relative"

    def __post_init__(self) -> None:
        not_negative(rho=self.rho, gamma=self.gamma)

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop], state: State
    ) -> OuterUpdate:
        """See `OuterRule`."""
        images = problem.at.images
        delta = smoothing_noise(images, self.gamma, self.noise, generator)
        both = ascend(self, problem, redraw, partial(along, rho=self.rho), noise=delta)
        return both.update(noise_ratio=float(delta.norm() / images.norm()))


def smoothing_noise(images: Images, gamma: float, reading: NoiseReading, generator: torch.Generator) -> torch.Tensor:
    """φ^Δ [n, C, H, W], one draw an image, in proportion to the norm of each image φ_j (paper §4.1, Alg. 1 line 7).

    With D = C·H·W values an image, N(0, γ‖φ_j‖ I) is read as
    `variance`: a covariance, as printed, each value with std √(γ‖φ_j‖); `std`: a standard deviation γ‖φ_j‖ of each
    value; `relative`: a std of γ‖φ_j‖/√D, so that E‖φ^Δ_j‖ ≈ γ‖φ_j‖.
    """
    norms: torch.Tensor = images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    match reading:
        case "variance":
            std = (gamma * norms).sqrt()
        case "std":
            std = gamma * norms
        case "relative":
            std = gamma * norms / math.sqrt(images[0].numel())
    # Drawn on the CPU in float32, so that every device and precision sees the same noise.
    noise = torch.randn(images.shape, generator=generator)
    return std * noise.to(device=images.device, dtype=images.dtype)


OUTER.add(
    OuterOptimiser(
        name="satm", summary="SAM whose ascent starts from a smoothed landscape (Gao et al. 2025)", config=SATM
    )
)
