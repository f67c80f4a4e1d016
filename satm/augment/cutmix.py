"""CutMix: a box of each image replaced by the same box of another, targets mixed by area."""

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
    """One box for the whole batch, drawn with `probability` a batch; its area is 1 − λ with λ ~ Beta(alpha, alpha).

    Cross-entropy is linear in its targets, so λ CE(a) + (1 − λ) CE(b) is that of the mixed targets: training needs no
    loss of its own. A box is cut off at the border, and the targets are mixed by what is left of it.
    Source: Yun et al. 2019, as GDumb has it (src/utils.py:103-137 at 4f412d7).
    """

    probability: float = 0.5
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"CutMix probability {self.probability}: expected 0 to 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"CutMix alpha {self.alpha}: expected a finite number above 0")

    def __call__(
        self, images: Images, targets: Labels, generator: torch.Generator, *, classes: int
    ) -> tuple[Images, Labels]:
        """The batch [b, C, H, W] and its targets [b, `classes`] float, mixed or (by the draw) only made soft."""
        soft = F.one_hot(targets, classes).to(images.dtype) if targets.ndim == 1 else targets.to(images.dtype)
        if float(torch.rand((), generator=generator)) >= self.probability:
            return images, soft
        height, width = images.shape[2:]
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))  # torch's Beta has none
        side = math.sqrt(1 - draws.beta(self.alpha, self.alpha))
        top, bottom = _span(height, side, generator)
        left, right = _span(width, side, generator)
        partner = torch.randperm(len(images), generator=generator).to(images.device)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed, kept * soft + (1 - kept) * soft[partner]


def _span(size: int, fraction: float, generator: torch.Generator) -> tuple[int, int]:
    """First and last-but-one pixel of `fraction` of a side, about a centre anywhere on it."""
    half = int(size * fraction) // 2
    centre = int(torch.randint(size, (), generator=generator))
    return max(centre - half, 0), min(centre + half, size)
