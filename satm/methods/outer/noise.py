"""The smoothing noise φ^Δ on the images: in SATM's first pass, and in every pass of the rule `smooth`."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch

from satm.types import Images

NoiseReading: TypeAlias = Literal["variance", "std", "relative"]  # see `smoothing_noise`


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
