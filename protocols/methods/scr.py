"""`scr`: supervised contrastive replay (Mai et al. 2021) on an online memory. SSD is judged with this learner.

Source: agents/scr.py, agents/base.py (`evaluate`), models/resnet.py (`SupConResNet`) and utils/loss.py of SSD's code
(github.com/vimar-gu/SSD at 7fe1000), which extends SCR's own (github.com/RaptorMai/online-continual-learning).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from protocols.base import PROTOCOLS, ClassIncremental, StreamContext
from protocols.online.learner import SCALES, OnlineConfig, OnlineLearner
from satm.errors import ConfigError
from satm.networks.features import features, last_linear
from satm.types import Images

_FAR = 1e4  # a squared distance of two vectors of length 1 is at most 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SCRConfig(OnlineConfig):
    """The settings of `OnlineConfig`, and those of the contrastive loss. Raises ConfigError for a wrong value."""

    temperature: float = 0.07  # τ
    projection: int = 128  # the length of the vectors z that the loss compares

    def __post_init__(self) -> None:
        OnlineConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature {self.temperature}: expected a finite number above 0")
        if self.projection < 1:
            raise ConfigError(f"projection {self.projection}: expected 1 or more")


class ContrastiveNetwork(nn.Module):
    """z = h / ‖h‖ with h = W₂ relu(W₁ f + b₁) + b₂, for the features f [n, D] of images. h has `projection` values."""

    def __init__(self, network: nn.Module, projection: int) -> None:
        super().__init__()
        width = last_linear(network).in_features
        self.encoder = features(network)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection))

    def forward(self, images: Images) -> torch.Tensor:
        """The vectors z [n, projection] of images [n, C, H, W]."""
        return F.normalize(self.head(self.encoder(images)))


class NearestMean(nn.Module):
    """The classifier of nearest class means: the logit of class k is −‖f/‖f‖ − μ_k‖², or −10⁴ without a mean."""

    means: torch.Tensor  # [c, D], the means μ of `classes`

    def __init__(self, encoder: nn.Module, means: torch.Tensor, classes: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.encoder, self.classes, self.num_classes = encoder, list(classes), num_classes
        self.register_buffer("means", means)

    def forward(self, images: Images) -> torch.Tensor:
        """The logits [n, K] of images [n, C, H, W]."""
        found = F.normalize(self.encoder(images))
        logits = found.new_full((len(images), self.num_classes), -_FAR)
        squares = found.square().sum(1, keepdim=True) + self.means.square().sum(1)
        logits[:, self.classes] = 2 * found @ self.means.T - squares  # the square written out needs no [n, c, D]
        return logits


class ContrastiveReplay(OnlineLearner):
    """An `OnlineLearner` with `contrastive_loss` on two views of each image: itself, and augmented by the recipe.

    An image is judged by the nearest class mean: the mean of the normalised features of the class's images in the
    memory, normalised again. A class without an image in the memory is not predicted. (SCR's code gives such a class a
    random vector.)
    """

    def __init__(self, context: StreamContext, config: SCRConfig) -> None:
        super().__init__(context, config)
        self._temperature = config.temperature
        with context.step_seed(0).child("projection").forked():
            self.network = ContrastiveNetwork(context.start, config.projection).to(context.networks.device)

    def loss(self, images: Images, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """See `OnlineLearner`. Each view has a forward pass of its own, as in SCR's code."""
        views = self.network(images), self.network(self.augmented(images, generator))
        return contrastive_loss(torch.cat(views), labels.repeat(2), temperature=self._temperature)

    @torch.no_grad()
    def judged(self, seen: Sequence[int]) -> nn.Module:
        """See `OnlineLearner`. It is the classifier of nearest class means."""
        encoder = self.network.eval().encoder
        assert isinstance(encoder, nn.Module)
        images, labels = self.memory.held()
        found = torch.cat([F.normalize(encoder(part)) for part in images.split(512)])
        classes = sorted(set(labels.tolist()) & set(seen))
        means = F.normalize(torch.stack([found[labels == label].mean(0) for label in classes]))
        return NearestMean(encoder, means, classes, self._context.networks.plan.num_classes)


def contrastive_loss(z: torch.Tensor, labels: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """The supervised contrastive loss, 0-dimensional (Khosla et al. 2020, Eq. 2):

        L = mean_i −1/|P(i)| Σ_{p ∈ P(i)} log( exp(z_i·z_p/τ) / Σ_{a ≠ i} exp(z_i·z_a/τ) )

    z [n, d] are vectors of length 1, one for each view of each image, and `labels` [n] their classes. P(i) are the
    other vectors with the class of i; every class must have at least two. τ is `temperature`.
    """
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = z @ z.T / temperature
    log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    positive = (labels[:, None] == labels) & ~itself
    return -((log_share * positive).sum(1) / positive.sum(1)).mean()


PROTOCOLS.add(
    ClassIncremental(
        name="scr",
        summary="each real image once, contrastive replay and nearest class means (Mai et al. 2021); SSD's learner",
        begin=ContrastiveReplay,
        config=SCRConfig,
        reads="real",
        memory=False,
        online=True,
        builds_on=True,
        scales=SCALES,
    )
)
