"""`online-replay`: one network that sees each real image once, with replay from an online memory and cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from protocols.base import PROTOCOLS, ClassIncremental, StreamContext
from protocols.online.learner import SCALES, OnlineConfig, OnlineLearner
from satm.types import Images


class OnlineReplay(OnlineLearner):
    """An `OnlineLearner` with the mean cross-entropy over the images of stream and memory, after augmentation.

    The augmentation is that of the recipe. The logits of all K classes are in the loss and can be predicted.
    """

    def __init__(self, context: StreamContext, config: OnlineConfig) -> None:
        super().__init__(context, config)
        self.network = context.start

    def loss(self, images: Images, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """See `OnlineLearner`."""
        return F.cross_entropy(self.network(self.augmented(images, generator)), labels)

    def judged(self, seen: Sequence[int]) -> nn.Module:
        """See `OnlineLearner`. It is the network itself."""
        return self.network.eval()


PROTOCOLS.add(
    ClassIncremental(
        name="online-replay",
        summary="each real image once, replay from a memory that changes with the stream, cross-entropy (ours)",
        begin=OnlineReplay,
        config=OnlineConfig,
        reads="real",
        memory=False,
        online=True,
        builds_on=True,
        scales=SCALES,
    )
)
