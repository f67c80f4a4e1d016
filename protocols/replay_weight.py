"""Weights the loss of the memory's images against the loss of the stream's images in one training batch.

This module imports Avalanche, which takes long. So import this module only inside functions.
"""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch.nn import functional as F


class ReplayWeight(SupervisedPlugin):  # type: ignore[misc]
    """Replaces the loss of a batch by (1 − w) CE(stream) + w CE(memory). A batch without memory images keeps its loss.

    w is `weight`. CE(stream) is the mean cross-entropy over the images of the batch that have a class of the current
    step. CE(memory) is the mean cross-entropy over all other images of the batch, which come from the memory. If an
    image has a soft target, its class is the most likely class of this target.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Set `strategy.loss` to the weighted loss. Avalanche calls this before it differentiates the loss."""
        targets = strategy.mb_y
        hard = targets if targets.ndim == 1 else targets.argmax(1)
        current = torch.tensor(list(strategy.experience.classes_in_this_experience), device=hard.device)
        stream = torch.isin(hard, current)
        if stream.all():
            return
        losses = F.cross_entropy(strategy.mb_output, targets, reduction="none")
        strategy.loss = (1 - self.weight) * losses[stream].mean() + self.weight * losses[~stream].mean()
