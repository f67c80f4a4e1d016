"""`random`: real images drawn without replacement, the same number a class; the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from satm.data import ImageData
from satm.methods.base import Learnt, Method, Task, class_major_labels
from satm.rng import Seed
from satm.types import Images


def random_images(data: ImageData, ipc: int, seed: Seed) -> Images:
    """[K·ipc, C, H, W] training images in the preprocessed space, class-major, `ipc` distinct ones a class."""
    generator = seed.generator()
    chosen = []
    for label in range(len(data.classes)):
        members = (data.train.labels == label).nonzero().squeeze(1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:ipc]])
    return data.train.batch(torch.cat(chosen))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomConfig:
    """Nothing to set."""


class _RandomDraw:
    """The draw is the whole condensation: 0 outer steps."""

    step = steps = 0
    notes: Mapping[str, str] = MappingProxyType({})

    def __init__(self, task: Task, config: RandomConfig) -> None:
        self._images = random_images(task.data, task.ipc, task.seed.child("random"))
        self._labels = class_major_labels(len(task.data.classes), task.ipc)

    def advance(self) -> Mapping[str, float]:
        return {}

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        pass

    def result(self) -> Learnt:
        return Learnt(self._images.cpu(), self._labels, "hard", None)


METHOD = Method(
    name="random",
    summary="real images drawn at random; the step size is chosen on the validation split when evaluated",
    config=RandomConfig,
    expert_epochs=lambda config: None,
    begin=_RandomDraw,
)
