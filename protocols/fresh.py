"""GDumb as an Avalanche strategy: store, and train a fresh network on what is stored.

Imports Avalanche, so it is itself imported where used (`protocols.methods.gdumb`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from protocols.base import State, StreamContext
from protocols.learner import silent_evaluator
from protocols.memory import GivenMemory


class FreshNetworks(SupervisedTemplate):  # type: ignore[misc]
    """`train(experience)` adds its images to the memory and, where `trains(step)`, replaces the model by a new one.

    Unlike in Avalanche's GDumb every network starts from an initialisation of its own, and its optimiser, schedule and
    augmentation are the evaluation recipe's (field notes §3.2). A `Learner`.
    """

    def __init__(self, *, context: StreamContext, trains: Callable[[int], bool] = lambda step: True) -> None:
        super().__init__(
            model=nn.Identity(),  # until the first step has trained one
            optimizer=None,
            eval_mb_size=512,
            evaluator=silent_evaluator(),
        )
        self.memory = GivenMemory(context.arriving)
        self._context, self._trains = context, trains

    @property
    def held(self) -> int:
        """See `Learner`."""
        return len(self.memory.buffer)

    def learn(self, experience: Any) -> nn.Module | None:
        """See `Learner`."""
        self.train(experience, eval_streams=[], pin_memory=False)
        return self.model if self._trains(experience.current_experience) else None

    def skip(self, experience: Any) -> None:
        """See `Learner`."""
        self.memory.post_adapt(self, experience)

    def state(self) -> State:
        """See `Learner`: no step builds on another."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Learner`."""

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Grow the memory; what is trained on is all of it."""
        self.memory.post_adapt(self, self.experience)
        self.adapted_dataset = self.memory.buffer

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Nothing to adapt: the network of each step is new, and so is its optimiser."""

    def training_epoch(self, **kwargs: Any) -> None:
        """The one "epoch" of an experience: the whole training of its network."""
        step = self.experience.current_experience
        if self._trains(step):
            examples, seed = self.memory.examples(), self._context.step_seed(step)
            self.model = self._context.networks.trained(examples, seed, step=step)
            self.device = next(self.model.parameters()).device
