"""AlexNet for 32×32 images, as papers on dataset condensation use it."""

from __future__ import annotations

import torch
from torch import nn

from satm.networks.base import NETWORKS, Network
from satm.networks.resized import fit_to_32
from satm.types import Images


class AlexNet(nn.Module):
    """Five convolutions with biases, three max poolings and one linear layer, without norms and without dropout.

    The input is images [n, in_chans, H, W] with sides of 32 pixels or more, and the output logits [n, num_classes]. The
    average pooling before the linear layer gives maps of 4×4. It changes nothing for images of 32×32. For larger images
    it keeps the input of the linear layer at the same size.
    Source: AlexNet in networks.py of MTT's code (docs/field.md).
    """

    def __init__(self, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_chans, 128, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(128, 192, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 192, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(192, 192, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Linear(192 * 4 * 4, num_classes)

    def forward(self, images: Images) -> torch.Tensor:
        """The logits [n, num_classes] of `images`."""
        logits: torch.Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


NETWORKS.add(
    Network(
        name="alexnet",
        summary="five convolutions, three max poolings, no norm; for 32×32",
        cite=("krizhevsky2012alexnet",),
        build=AlexNet,
        fit=fit_to_32(pooled=4),
    )
)
