"""CutMix: replaces a box of each image by the same box of another image, and mixes the targets by area."""

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
    """CutMix with one box for the whole batch.

    The area of the box is a fraction 1 − λ of the image, with λ ~ Beta(alpha, alpha). A part of the box that is outside
    the image is cut off, and then λ is computed from the remaining area. If an image with the target p gets the box of
    an image with the target q, its new target is λ p + (1 − λ) q. Cross-entropy (CE) is linear in its targets, so the
    CE of the mixed target is λ CE(p) + (1 − λ) CE(q), and training needs no special loss.

    Source: Yun et al. 2019, as in GDumb (src/utils.py:103-137 at commit 4f412d7).
    """

    probability: float = 0.5  # the probability that a batch is mixed
    alpha: float = 1.0  # both parameters of the Beta distribution

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"CutMix probability {self.probability}: expected 0 to 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"CutMix alpha {self.alpha}: expected a finite number above 0")

    def __call__(
        self, images: Images, targets: Labels, generator: torch.Generator, *, classes: int
    ) -> tuple[Images, Labels]:
        """Return the batch [b, C, H, W] and its float targets [b, `classes`].

        With the chance `probability` both are mixed; otherwise neither is mixed. The argument `targets` holds classes
        [b] or soft targets [b, `classes`].
        """
        soft = F.one_hot(targets, classes).to(images.dtype) if targets.ndim == 1 else targets.to(images.dtype)
        if float(torch.rand((), generator=generator)) >= self.probability:
            return images, soft
        height, width = images.shape[2:]
        # NumPy draws from the Beta distribution, because torch's Beta takes no generator.
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        side = math.sqrt(1 - draws.beta(self.alpha, self.alpha))
        top, bottom = _span(height, side, generator)
        left, right = _span(width, side, generator)
        partner = torch.randperm(len(images), generator=generator).to(images.device)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed, kept * soft + (1 - kept) * soft[partner]


def _span(size: int, fraction: float, generator: torch.Generator) -> tuple[int, int]:
    """Draw one side of the box: a part of the image's side of `size` pixels around a random centre.

    Its length is `fraction` of the side, rounded down to an even number of pixels, or less if a part of it is outside
    the image. Returns the number of the first pixel, and of the pixel after the last.
    """
    half = int(size * fraction) // 2
    centre = int(torch.randint(size, (), generator=generator))
    return max(centre - half, 0), min(centre + half, size)
