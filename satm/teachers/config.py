"""How a teacher is trained in each profile, and how its labels are used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from satm.augment import STRATEGY, named, within
from satm.errors import ConfigError
from satm.training import SGDConfig
from satm.types import Augment


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    """The architecture of a teacher and its training: SGD with momentum, with a learning rate that drops once.

    The numbers are ours. RDED downloads trained teachers, and no file of its repository trains one. The learning rate
    was chosen on validation images of the data set `digits` (docs/choices.md).

    Raises ConfigError for a value out of its range, UnknownName for an unknown augmentation.
    """

    architecture: str | None = None  # None: the set's own network, a ConvNet, with batch norm instead of instance norm
    epochs: int = 50
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128
    drop_at: float = 0.8  # the learning rate is divided by 10 after this fraction of the epochs
    augment: str | None = STRATEGY  # a strategy of DSA (differentiable Siamese augmentation); None: no augmentation
    seed: int = 0  # separate from the condensation seed, so that all sets of a data set use the same teacher

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"teacher.epochs {self.epochs}: expected at least 1")
        if not 0 < self.drop_at <= 1:
            raise ConfigError(f"teacher.drop_at {self.drop_at}: expected a fraction, 0 < drop_at ≤ 1")
        self.sgd()
        _ = self.augmentation

    def sgd(self) -> SGDConfig:
        """The configuration of the training loop. Raises ConfigError for wrong numbers."""
        return SGDConfig(
            epochs=self.epochs,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            milestones=(math.ceil(self.drop_at * self.epochs),),
        )

    @property
    def augmentation(self) -> Augment | None:
        """The augmentation of the training batches; None if there is none."""
        return None if self.augment is None else named(self.augment)

    def on(self, architecture: str, augment: str | None) -> TeacherConfig:
        """The same training for the network `architecture`, with an augmentation that is limited to `augment`.

        `augment` is a strategy of DSA: operations that this strategy does not have are left out of the training's
        augmentation. None: nothing is left out.
        """
        kept = self.augment if augment is None or self.augment is None else within(self.augment, augment)
        return replace(self, architecture=architecture, augment=kept)


TEACHERS: Mapping[str, TeacherConfig] = {
    "paper": TeacherConfig(),
    "cpu": TeacherConfig(epochs=10),
    "smoke": TeacherConfig(epochs=5, batch_size=64),
}
"""The training of a teacher in each profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherLabels:
    """Labels that a teacher gives: every training batch is labelled after it is augmented and mixed.

    The target of an image is softmax(teacher's logits / T). The loss is `distillation_loss`, multiplied by T² if the
    network is trained by SGD (`evaluation.Recipe.criterion`).
    """

    temperature: float = 20.0  # T; the value that RDED uses with CutMix (argument.py:205-208 at 3f6453d)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(
                f"temperature {self.temperature:g} of the teacher's labels: expected a finite number above 0, as 20 "
                "(--temperature)"
            )

    def spell(self) -> str:
        """The teacher and T as text, for the name of a recipe."""
        return f"teacher {self.teacher.architecture or 'of the set'}, T {self.temperature:g}"
