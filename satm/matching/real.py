"""The loss on real images (Wang et al. 2018): how well a network that was trained on the synthetic set does on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from satm.functional import FlatNetwork
from satm.types import FlatParams, Images, Labels


@dataclass(frozen=True)
class RealLoss:
    """L(θ) = mean L_CE(x, y; θ) over one batch of real images x [b, C, H, W] with labels y [b]."""

    network: FlatNetwork
    images: Images
    labels: Labels

    def __call__(self, theta: FlatParams) -> torch.Tensor:
        """The loss at θ [P], 0-dimensional."""
        return F.cross_entropy(self.network(theta, self.images), self.labels)
