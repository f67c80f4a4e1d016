"""CutMix: replaces a box of each image by the same box of another, and mixes the targets by area."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from satm.errors import ConfigError
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class CutMix:
    """One box for the whole batch. Its area is a fraction 1 − λ of the image, with λ ~ Beta(alpha, alpha).

    Cross-entropy is linear in its targets: λ CE(a) + (1 − λ) CE(b) is the cross-entropy of the mixed targets, so
    training needs no special loss. The box is cut off at the border, and λ follows the area that is left.
    Source: Yun et al. 2019, as in GDumb (src/utils.py:103-137 at 4f412d7).
    """

    probability: float = 0.5  # that a batch is mixed
    alpha: float = 1.0  # of the Beta distribution

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"CutMix probability {self.probability}: expected 0 to 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"CutMix alpha {self.alpha}: expected a finite number above 0")

    def __call__(
        self, images: Images, targets: Labels, generator: torch.Generator, *, classes: int
    ) -> tuple[Images, Labels]:
        """The batch [b, C, H, W] and its targets [b, `classes`] float. Both are mixed, or (by the draw) neither is."""
        soft = F.one_hot(targets, classes).to(images.dtype) if targets.ndim == 1 else targets.to(images.dtype)
        if float(torch.rand((), generator=generator)) >= self.probability:
            return images, soft
        height, width = images.shape[2:]
        draws = np.random.default_rng(
            int(torch.randint(2**62, (), generator=generator))
        )  # torch's Beta takes no generator
        side = math.sqrt(1 - draws.beta(self.alpha, self.alpha))
        top, bottom = _span(height, side, generator)
        left, right = _span(width, side, generator)
        partner = torch.randperm(len(images), generator=generator).to(images.device)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed, kept * soft + (1 - kept) * soft[partner]


def _span(size: int, fraction: float, generator: torch.Generator) -> tuple[int, int]:
    """First pixel of a span, and the pixel after its last: `fraction` of a side, about a random centre."""
    half = int(size * fraction) // 2
    centre = int(torch.randint(size, (), generator=generator))
    return max(centre - half, 0), min(centre + half, size)
