"""GDumb as an Avalanche strategy: it stores the images, and trains a new network on all stored images.

This module imports Avalanche, which takes long. So import this module only inside functions, as
`protocols.methods.gdumb` does.
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
    """A `Learner` that trains a new network on the whole memory.

    The images of each step are added to the memory. If `trains(step)` is true, a new network is then trained. In
    Avalanche's own GDumb, the networks of all steps have the same initial weights. Here each network has its own
    initial weights, and the evaluation recipe sets the optimiser, the schedule and the augmentation (docs/field.md).
    """

    def __init__(self, *, context: StreamContext, trains: Callable[[int], bool] = lambda step: True) -> None:
        super().__init__(
            model=nn.Identity(),  # replaced when the first network is trained
            optimizer=None,
            eval_mb_size=512,
            evaluator=silent_evaluator(),
        )
        self.memory = GivenMemory(context.arriving, context.buffer, context.each)
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
        """See `Learner`. The state is empty, because no step continues the training of another step."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Learner`."""

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Add the images of the step to the memory, and make the whole memory the training data of the step."""
        self.memory.post_adapt(self, self.experience)
        self.adapted_dataset = self.memory.buffer

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Do nothing. In other strategies, this method adapts the network of the step before; here each one is new."""

    def training_epoch(self, **kwargs: Any) -> None:
        """Train the network of this step for all epochs of the recipe.

        Avalanche calls this method once for each step, because its own number of epochs is 1 here.
        """
        step = self.experience.current_experience
        if self._trains(step):
            examples, seed = self.memory.examples(), self._context.step_seed(step)
            self.model = self._context.networks.trained(examples, seed, step=step)
            self.device = next(self.model.parameters()).device
