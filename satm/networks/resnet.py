"""ResNet18 for 32×32 images, as papers on dataset condensation use it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from satm.networks.base import NETWORKS, Network
from satm.networks.batchnorm import batch_normed
from satm.networks.resized import fit_to_32
from satm.types import Images


class ResNet18(nn.Module):
    """A first 3×3 convolution without max pooling, four stages of two basic blocks, and one linear layer.

    The input is images [n, in_chans, H, W] with sides of 32 pixels or more, and the output logits [n, num_classes]. The
    stages have 64, 128, 256 and 512 channels. The convolutions have no bias. The norms are GroupNorm(C, C), which is
    instance norm. For images of 32×32, the maps before the average pooling are 4×4.
    Source: ResNet18 in networks.py of MTT's code (docs/field.md).
    """

    def __init__(self, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 64, kernel_size=3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(64, 64)
        self.layer1 = _stage(64, 64, stride=1)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256, stride=2)
        self.layer4 = _stage(256, 512, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, images: Images) -> torch.Tensor:
        """The logits [n, num_classes] of `images`."""
        x = F.relu(self.norm1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: torch.Tensor = self.classifier(self.pool(x).flatten(1))
        return logits


class BasicBlock(nn.Module):
    """The residual block relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))).

    The first convolution and the shortcut have the stride `stride`. The shortcut is the identity if the stride is 1 and
    the number of channels stays the same.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(channels, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False),
                nn.GroupNorm(channels, channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output [n, channels, H/stride, W/stride] for the input `x` [n, in_channels, H, W]."""
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_channels, channels, stride), BasicBlock(channels, channels, stride=1))


NETWORKS.add(
    Network(
        name="resnet18",
        summary="a 3×3 stem and eight residual blocks with instance norm; for 32×32",
        cite=("he2016resnet",),
        build=ResNet18,
        fit=fit_to_32(pooled=1),
        twin="resnet18bn",
    )
)
NETWORKS.add(
    Network(
        name="resnet18bn",
        summary="resnet18 with batch norm in place of instance norm",
        cite=("he2016resnet",),
        build=batch_normed(ResNet18),
        fit=fit_to_32(pooled=1),
    )
)
