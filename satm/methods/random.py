"""`random`: real images drawn at random, the same number from each class. It is the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from satm.data import ImageData
from satm.methods.base import METHODS, Condensation, Method, Task, class_major_labels
from satm.methods.selection.condensation import selected
from satm.rng import Seed
from satm.types import Images


def random_images(data: ImageData, ipc: int, seed: Seed) -> Images:
    """Draw `ipc` different training images of each class at random.

    Returns preprocessed images [K·ipc, C, H, W] in class-major order: all images of class 0 first, then those of class
    1, and so on. K is the number of classes.
    """
    generator = seed.generator()
    chosen = []
    for label in range(len(data.classes)):
        members = (data.train.labels == label).nonzero().squeeze(1)
        chosen.append(members[torch.randperm(len(members), generator=generator)[:ipc]])
    return data.train.batch(torch.cat(chosen))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomConfig:
    """The settings of `random`. There are none."""


def _begin(task: Task, config: RandomConfig) -> Condensation:
    images = random_images(task.data, task.seen_ipc, task.seed.child("random"))
    return selected(task.parametrisation.encode(images), class_major_labels(len(task.data.classes), task.ipc))


METHODS.add(
    Method(
        name="random",
        summary="real images drawn at random, without a learned step size",
        cite=("satm",),
        config=RandomConfig,
        recipe="dm",
        decodes=True,
        expert_count=1,
        begin=_begin,
    )
)
