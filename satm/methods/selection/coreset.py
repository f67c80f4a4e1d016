"""Coresets: real images of each class, selected by the features that an expert network computes from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from satm import networks
from satm.engine import FlatNetwork
from satm.errors import ConfigError
from satm.methods.base import Condensation, Task
from satm.methods.selection.condensation import ClassByClass, last_snapshot
from satm.types import Images

BATCH = 512  # the number of images for which features are computed together

Choice: TypeAlias = Callable[[torch.Tensor, int], torch.Tensor]
"""A function that selects images of one class by their features.

It takes the features [m, D] of the m images of a class, and a number n. It returns the indices [n] int64 of n different
images, the best image first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoresetConfig:
    """The settings of a coreset.

    The features of an image are what the last linear layer of a trained network gets as its input. This network is the
    task's first expert, after `expert_epochs` epochs of its training.
    """

    expert_epochs: int = 50  # as many as the experts of MTT have

    def __post_init__(self) -> None:
        if self.expert_epochs < 0:
            raise ConfigError(f"expert_epochs {self.expert_epochs}: expected 0 or more")

    def stored_epochs(self) -> int:
        """The number of epochs that the expert needs."""
        return self.expert_epochs


def coreset(task: Task, config: CoresetConfig, choose: Choice) -> Condensation:
    """A condensation that selects training images of each class with `choose`.

    The images are in class-major order (all of class 0 first), and within a class in the order that `choose` returns.
    The coreset selects as many images as networks will see. With the parametrisation `factor:2`, one stored image holds
    four selected images, so four times as many images are selected as are stored.
    """
    data = task.data
    network = networks.plan_for(task.architecture, data).create(task.seed.child("net")).to(task.device)
    FlatNetwork(network).load(last_snapshot(task, config.expert_epochs))
    embed = networks.features(network).eval()

    @torch.no_grad()
    def of_class(label: int) -> Images:
        members = (data.train.labels == label).nonzero().squeeze(1)
        parts = [embed(data.train.batch(part)[0].to(task.device)) for part in members.split(BATCH)]
        chosen = members[choose(torch.cat(parts), task.seen_ipc).cpu()]
        return task.parametrisation.encode(data.train.batch(chosen)[0])

    return ClassByClass(task, of_class)
