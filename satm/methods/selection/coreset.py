"""Coresets: real images of each class, chosen by their features in an expert network."""

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

BATCH = 512  # images embedded at once

Choice: TypeAlias = Callable[[torch.Tensor, int], torch.Tensor]
"""Given the features [m, D] of a class and a number n: the indices [n] int64 of n different rows, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoresetConfig:
    """Features are what the first expert feeds to its last linear layer, after `expert_epochs` epochs of training."""

    expert_epochs: int = 50  # MTT's experts

    def __post_init__(self) -> None:
        if self.expert_epochs < 0:
            raise ConfigError(f"expert_epochs {self.expert_epochs}: expected 0 or more")

    def stored_epochs(self) -> int:
        """Epochs that the expert needs."""
        return self.expert_epochs


def coreset(task: Task, config: CoresetConfig, choose: Choice) -> Condensation:
    """Select training images of each class, class-major, in the order that `choose` returns.

    They are as many as networks see, so with `factor:2` four of them share a stored image.
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
