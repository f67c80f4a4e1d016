"""Fits networks that are made for one image size to images of other sizes.

There are two ways: the images are resized before the network, or a pooling at the end of the network adapts its maps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from satm.networks.base import Fit, Shape, sides
from satm.types import Images


class Resized(nn.Module):
    """A network that first resizes the images to `size` (H, W), and then applies `network` to them.

    It is used if `network` cannot take images of their original size. The resize is bilinear and antialiased. It can be
    differentiated twice, and adds no parameters.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: Images) -> torch.Tensor:
        """The output of `network` for the resized images."""
        output: torch.Tensor = self.network(F.interpolate(images, size=self.size, mode="bilinear", antialias=True))
        return output


def fit_to_32(pooled: int) -> Callable[[Shape], Fit]:
    """The function `Network.fit` of a network that is made for images of 32×32 pixels.

    The network ends in an average pooling to maps of `pooled`×`pooled`, before its linear layer. A side below 32 pixels
    is resized to 32. Larger images are not resized, because the pooling brings their maps to the size that the linear
    layer needs.
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
