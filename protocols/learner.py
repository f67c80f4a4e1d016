"""A learner that trains with Avalanche's own training loop.

This module imports Avalanche, which takes long. So import this module only inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

from evaluation.train import raise_if_stopping
from protocols.base import State, StreamContext
from protocols.memory import GivenMemory
from satm.progress import Bar
from satm.training import SGDConfig
from satm.types import Augment, Images


def silent_evaluator() -> EvaluationPlugin:
    """An evaluator that measures and prints nothing. It has a logger only because Avalanche warns without one."""
    return EvaluationPlugin(loggers=[BaseLogger()])


class Augmented(nn.Module):
    """A network that augments its images, in training only. It is the model that an Avalanche strategy trains."""

    generator: torch.Generator | None = None  # the source of the random draws; `_Pace` sets it before each step

    def __init__(self, network: nn.Module, augment: Augment | None) -> None:
        super().__init__()
        self.network, self.augment = network, augment

    def forward(self, images: Images) -> torch.Tensor:
        """The logits [b, K] of images [b, C, H, W]."""
        if self.training and self.augment is not None:
            assert self.generator is not None
            images = self.augment(images, self.generator)
        logits: torch.Tensor = self.network(images)
        return logits


class _Pace(SupervisedPlugin):  # type: ignore[misc]
    """Sets the learning rate of each epoch and the generator of each step's augmentation, and moves the progress bar.

    If the user asks to stop, this plug-in raises Interrupted before the next batch.
    """

    def __init__(self, context: StreamContext, sgd: Callable[[int], SGDConfig]) -> None:
        super().__init__()
        self.context, self.sgd = context, sgd
        self.bar: Bar | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        seed = self.context.step_seed(strategy.experience.current_experience)
        strategy.model.generator = seed.child("augmentation").generator()

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        config = self.sgd(strategy.experience.current_experience)
        for group in strategy.optimizer.param_groups:
            group["lr"] = config.lr_at(strategy.clock.train_exp_epochs)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        raise_if_stopping(self.context.networks.progress)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.advance(loss=float(strategy.loss.detach()))


class AvalancheLearner:
    """A `Learner` that trains by an Avalanche strategy.

    The momentum of the optimiser starts at zero in every step. So of all that the earlier steps have computed, a step
    depends only on the weights and the memory. If a strategy keeps more tensors from step to step, a subclass must
    extend `state` and `restore`.

    Args:
        context: the stream.
        sgd: (number of a step, counted from 0) → the settings of the optimiser for this step.
        make: builds the strategy from the arguments that all strategies share (model, optimizer, device, …).
        memory: the buffer of the strategy; None for a strategy without a memory.
        before: called before each step with the strategy and the number of the step.
        remember: called for each skipped step (see `Learner.skip`) with the strategy and the experience of the step. It
            must update everything that the strategy keeps outside `memory`.
        size: (strategy) → the number of images that the strategy keeps. It is needed if the strategy keeps images
            outside `memory`.
    """

    def __init__(
        self,
        context: StreamContext,
        sgd: Callable[[int], SGDConfig],
        make: Callable[..., Any],
        *,
        memory: GivenMemory | None = None,
        before: Callable[[Any, int], None] = lambda strategy, step: None,
        remember: Callable[[Any, Any], None] = lambda strategy, experience: None,
        size: Callable[[Any], int] | None = None,
    ) -> None:
        first = sgd(0)
        self._context, self._memory = context, memory
        self._before, self._remember, self._size = before, remember, size
        self._pace = _Pace(context, sgd)
        self._epochs = first.epochs
        model = Augmented(context.start, context.networks.recipe.augmentation)
        optimizer = torch.optim.SGD(
            model.parameters(), lr=first.lr, momentum=first.momentum, weight_decay=first.weight_decay
        )
        self.strategy = make(
            model=model,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=first.batch_size,
            train_epochs=first.epochs,
            eval_mb_size=512,
            device=context.networks.device,
            plugins=[self._pace],
            evaluator=silent_evaluator(),
        )

    @property
    def held(self) -> int:
        """See `Learner`."""
        if self._size is not None:
            return self._size(self.strategy)
        return 0 if self._memory is None else len(self._memory.buffer)

    def learn(self, experience: Any) -> nn.Module:
        """See `Learner`."""
        step = experience.current_experience
        self._before(self.strategy, step)
        name = f"step {step + 1}: {len(experience.dataset)} images"
        with self._context.networks.progress.bar(name, self._epochs) as self._pace.bar:
            # No pinned memory: torch pins only memory of the CPU, and the examples may already be on the accelerator.
            self.strategy.train(experience, eval_streams=[], pin_memory=False, reset_optimizer_state=True)
        network: nn.Module = self.strategy.model.network
        return network

    def skip(self, experience: Any) -> None:
        """See `Learner`."""
        self._remember(self.strategy, experience)
        if self._memory is not None:
            self._memory.take(experience.current_experience)

    def state(self) -> State:
        """See `Learner`. The state consists of the weights of the network and the state of the memory."""
        weights = self.strategy.model.network.state_dict().items()
        state = {f"network/{name}": value.detach().cpu().clone() for name, value in weights}
        return state | ({} if self._memory is None else self._memory.state())

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Learner`."""
        weights = {name.removeprefix("network/"): value for name, value in state.items() if "network/" in name}
        self.strategy.model.network.load_state_dict(weights)
        if self._memory is not None:
            self._memory.restore(state)
