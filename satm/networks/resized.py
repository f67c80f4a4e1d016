"""Networks made for 32×32 images, on images of other sizes: a resize before them, or a pooling at their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from satm.networks.base import Fit, Shape, sides
from satm.types import Images


class Resized(nn.Module):
    """`network` on images resized (bilinear, antialiased) to `size` (H, W).

    For a network that cannot take images of their own size. The resize can be differentiated twice and adds no
    parameters.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: Images) -> torch.Tensor:
        """The network's output on the resized images."""
        output: torch.Tensor = self.network(F.interpolate(images, size=self.size, mode="bilinear", antialias=True))
        return output


def fit_to_32(pooled: int) -> Callable[[Shape], Fit]:
    """The `Network.fit` of a network for 32×32 images that ends in an average pooling to `pooled`×`pooled` maps.

    Images with a side below 32 pixels are resized to 32. Larger images need nothing: the pooling makes the maps fit the
    linear layer.
    """

    def fit(shape: Shape) -> Fit:
        channels, *size = shape
        adaptation: dict[str, Any] = {}
        if min(size) < 32:
            adaptation["resize"] = sides([max(side, 32) for side in size])
        if max(size) > 32:
            adaptation["adaptive_pool"] = pooled
        return Fit({"in_chans": channels}, adaptation)

    return fit
