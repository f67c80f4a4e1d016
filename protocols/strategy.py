"""GDumb as an Avalanche strategy: store, and at each experience train a fresh network on what is stored.

Imports Avalanche, so it is itself imported where used (`protocols.gdumb`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import BaseLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from protocols.memory import CondensedMemory
from protocols.stored import Stored


class CondensedGDumb(SupervisedTemplate):  # type: ignore[misc]
    """`train(experience)` adds its images to the memory and replaces the model by `train_fresh(step, stored)`.

    Unlike Avalanche's GDumb, every step starts from a new initialisation and the optimiser, its schedule and the
    augmentation are the caller's, so the numbers are those of the evaluation recipe (field notes §3.2).
    """

    def __init__(self, *, memory_size: int, train_fresh: Callable[[int, Stored], nn.Module]) -> None:
        super().__init__(
            model=nn.Identity(),  # until the first step has trained one
            optimizer=None,
            eval_mb_size=512,
            # The base logger writes nothing; without any, Avalanche warns on every run.
            evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[BaseLogger()]),
        )
        self.memory = CondensedMemory(memory_size)
        self._train_fresh = train_fresh

    def store(self, experience: Any) -> None:
        """Take the images of `experience` into the memory, without training."""
        self.memory.post_adapt(self, experience)

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Grow the memory; what is trained on is all of it."""
        self.store(self.experience)
        self.adapted_dataset = self.memory.buffer

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Nothing to adapt: the network of each step is new, and so is its optimiser."""

    def training_epoch(self, **kwargs: Any) -> None:
        """The one "epoch" of an experience: the whole training of its network."""
        self.model = self._train_fresh(self.experience.current_experience, self.memory.examples())
        self.device = next(self.model.parameters()).device

    def accuracies(self, stream: Any) -> tuple[float, ...]:
        """Fraction of each experience of the test stream that the present network classifies rightly."""
        # Not pinned: the examples may lie on the accelerator already.
        found = self.eval(stream, pin_memory=False)
        return tuple(
            found[f"Top1_Acc_Exp/eval_phase/{stream.name}_stream/Exp{experience.current_experience:03}"]
            for experience in stream
        )
