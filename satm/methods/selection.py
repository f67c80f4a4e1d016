"""Condensations that choose or assemble their images at once: 0 outer steps."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

from satm.errors import ExpertError
from satm.methods.base import Learnt, Task
from satm.types import FlatParams, Images, Labels


class Selection:
    """The outcome is there from the start; a `Condensation`."""

    step = steps = 0
    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(self, learnt: Learnt) -> None:
        self._learnt = learnt

    def advance(self) -> Mapping[str, float]:
        """Nothing is left to do."""
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        """Nothing is to be kept."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """The same choice was made when this one began."""

    def result(self) -> Learnt:
        """See `Condensation`."""
        return self._learnt


def selected(images: Images, labels: Labels) -> Selection:
    """A set of real images with their classes, and no step size: an evaluation chooses it on the validation split."""
    return Selection(Learnt(images.cpu(), labels.cpu(), "hard", None))


def last_snapshot(task: Task, epochs: int) -> FlatParams:
    """θ [P] of the task's first expert after `epochs` epochs; raises ExpertError where it has fewer."""
    if not task.experts:
        raise ExpertError(f"an expert of {epochs} epochs is needed and there is none; train one (satm experts)")
    return task.experts[0].snapshot(epochs).to(task.device)
