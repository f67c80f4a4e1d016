"""VGG11 for 32×32 images, as papers on dataset condensation use it."""

from __future__ import annotations

import torch
from torch import nn

from satm.networks.base import NETWORKS, Network
from satm.networks.batchnorm import batch_normed
from satm.networks.resized import fit_to_32
from satm.types import Images

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # the channels of the convolutions in each stage


class VGG11(nn.Module):
    """Eight times [3×3 convolution with bias, instance norm, ReLU] in five stages, then one linear layer.

    The input is images [n, in_chans, H, W] with sides of 32 pixels or more, and the output logits [n, num_classes].
    Each stage ends with a max pooling. The norm is GroupNorm(C, C), which is instance norm. The average pooling before
    the linear layer gives maps of 1×1. It changes nothing for images of 32×32. For larger images it keeps the input of
    the linear layer at the same size.
    Source: VGG11 in networks.py of MTT's code (docs/field.md).
    """

    def __init__(self, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_chans
        for stage in STAGES:
            for width in stage:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.GroupNorm(width, width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, images: Images) -> torch.Tensor:
        """The logits [n, num_classes] of `images`."""
        logits: torch.Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


NETWORKS.add(
    Network(
        name="vgg11",
        summary="eight convolutions with instance norm in five stages; for 32×32",
        cite=("simonyan2014vgg",),
        build=VGG11,
        fit=fit_to_32(pooled=1),
        twin="vgg11bn",
    )
)
NETWORKS.add(
    Network(
        name="vgg11bn",
        summary="vgg11 with batch norm in place of instance norm",
        cite=("simonyan2014vgg",),
        build=batch_normed(VGG11),
        fit=fit_to_32(pooled=1),
    )
)
