"""The weight of the memory in the loss of a replay batch.

This module imports Avalanche, so import it inside functions.
"""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch.nn import functional as F


class ReplayWeight(SupervisedPlugin):  # type: ignore[misc]
    """Replaces the loss of each batch that has images of earlier steps by (1 − w) CE(stream) + w CE(memory).

    Each CE is the mean over its images. The images of the memory are those whose class, the most likely one of a soft
    target, is not among the classes of the current step.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Set `strategy.loss`."""
        targets = strategy.mb_y
        hard = targets if targets.ndim == 1 else targets.argmax(1)
        current = torch.tensor(list(strategy.experience.classes_in_this_experience), device=hard.device)
        stream = torch.isin(hard, current)
        if stream.all():
            return
        losses = F.cross_entropy(strategy.mb_output, targets, reduction="none")
        strategy.loss = (1 - self.weight) * losses[stream].mean() + self.weight * losses[~stream].mean()
