"""A network behind a resize of its images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from satm.types import Images


class Resized(nn.Module):
    """`network` on images resized (bilinear, antialiased) to `size` (H, W): for networks that cannot take theirs.

    The resize is differentiable, twice, and adds no parameters.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: Images) -> torch.Tensor:
        """The network's output on the resized images."""
        output: torch.Tensor = self.network(F.interpolate(images, size=self.size, mode="bilinear", antialias=True))
        return output
