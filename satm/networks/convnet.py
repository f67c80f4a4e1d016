"""ConvNet: the field's condensation network."""

from __future__ import annotations

import torch
from torch import nn

from satm.errors import ConfigError
from satm.types import Images


class ConvNet(nn.Module):
    """`depth` × [3×3 convolution, instance norm, ReLU, 2×2 average pooling], then one linear layer.

    Images [n, in_chans, *img_size] → logits [n, num_classes]. The norm is GroupNorm(C, C) with an affine part, so there
    are no buffers and the parameters are the whole state. Sides of 28 pixels are padded to 32 by the first convolution.
    `width` counts channels. Raises ConfigError for images too small for `depth` poolings.
    Source: MTT networks.py ConvNet with "instancenorm" and "avgpooling" (field notes §2.5).
    """

    def __init__(
        self, depth: int, *, width: int = 128, num_classes: int, in_chans: int, img_size: tuple[int, int]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, padding = in_chans, [_first_padding(side) for side in img_size]
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, width, kernel_size=3, padding=(padding[0], padding[1])),
                nn.GroupNorm(width, width),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
            channels, padding = width, [1, 1]
        self.features = nn.Sequential(*layers)
        rows, columns = feature_size(depth, img_size)
        self.classifier = nn.Linear(width * rows * columns, num_classes)

    def forward(self, images: Images) -> torch.Tensor:
        """Logits [n, num_classes]."""
        logits: torch.Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def feature_size(depth: int, img_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns left of an image after `depth` poolings; raises ConfigError when none would be."""
    padded = [side + 2 * (_first_padding(side) - 1) for side in img_size]
    rows, columns = (side >> depth for side in padded)
    if not (rows and columns):
        fits = min(padded).bit_length() - 1
        remedy = f"use convnet{fits}" if fits >= 3 else "no ConvNet takes less than 8×8: enlarge the images"
        raise ConfigError(
            f"convnet{depth} halves its images {depth} times and needs sides of {1 << depth} pixels or more, "
            f"got {img_size[0]}×{img_size[1]}; {remedy}"
        )
    return rows, columns


def _first_padding(side: int) -> int:
    return 3 if side == 28 else 1
