"""The settings of the methods whose outer loss is taken on real images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

from satm.augment import DSA
from satm.engine import RULES, FlatNetwork, UpdateRule
from satm.errors import ConfigError
from satm.methods.adam import AdamMove
from satm.methods.base import Task, class_major_labels
from satm.methods.outer.problem import StepSizeDerivative
from satm.methods.real.step_size import FixedStepSize
from satm.methods.start import first_images
from satm.methods.trajectory.step_size import StepSizeRule
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class RealLossConfig(UnrolledConfig):
    """F(φ) = L_CE(θ_N on a batch of real images). θ_0 is a fresh network at every outer step; φ descends by Adam."""

    update: Literal["sgd", "momentum", "adam"]  # how an inner step moves the network
    batch_real: int  # real images of an outer step, all classes together; at most the training set
    augment_real: str | None = None  # DSA's strategy for them; null: none
    learn_step_size: bool = False  # whether α is learned
    lr_step_size: float = 1e-5  # of α, if it is learned
    step_size_derivative: StepSizeDerivative = "taped"
    augment: str | None = None
    # unit: noise, each image of norm 1. The other methods do not have it, so the type is wider than theirs.
    init: Literal["real", "noise", "unit"] = "noise"  # type: ignore[assignment]
    momentum_images: float = 0.9  # β₁ of φ's Adam
    second_moment: float = 0.999  # β₂ of φ's Adam
    clip: float | None = None  # most of ‖∂F/∂φ‖, in units of its running mean; null: no limit
    halvings: int = 0  # how often the learning rates are halved, at equal distances, over the whole run

    def __post_init__(self) -> None:
        UnrolledConfig.__post_init__(self)  # see `TrajectoryConfig`
        if self.batch_real < 1:
            raise ConfigError(f"batch_real {self.batch_real}: expected at least 1 image")
        if not 0 <= self.second_moment < 1:
            raise ConfigError(f"second_moment {self.second_moment}: expected 0 ≤ second_moment < 1")
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"clip {self.clip}: expected a number above 0, or null for no limit")
        if self.halvings < 0:
            raise ConfigError(f"halvings {self.halvings}: expected 0 or more")
        if self.augment_real is not None:
            DSA(self.augment_real)
        if self.engine == "tesla":
            raise ConfigError("engine tesla: it drops paths that the real loss needs; set engine=auto")

    def update_rule(self) -> UpdateRule:
        """See `UnrolledConfig`."""
        return RULES[self.update]

    def images_adam(self) -> AdamMove:
        """How φ moves."""
        return AdamMove(lr=self.lr_images, beta1=self.momentum_images, beta2=self.second_moment, clip=self.clip)

    def share(self, progress: float) -> float:
        """The factor of the learning rates after the share `progress` of the outer steps."""
        return 0.5 ** int((self.halvings + 1) * progress)

    def step_size_rule(self) -> StepSizeRule:
        """See `UnrolledConfig`: α is fixed unless `learn_step_size`."""
        return UnrolledConfig.step_size_rule(self) if self.learn_step_size else FixedStepSize()

    def places(self) -> range:
        """The first differentiated steps ι that an outer step draws from; its inner loop ends with its window."""
        return range(self.iota, self.iota + 1)

    def mean_steps(self) -> float:
        """See `UnrolledConfig`: up to the end of the window, in the mean over its places."""
        places = self.places()
        return (places.start + places.stop - 1) / 2 + self.inner_steps - self.iota

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """See `UnrolledConfig`."""
        images = first_images(task, "noise" if self.init == "unit" else self.init)
        if self.init == "unit":
            images = images / images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return images, class_major_labels(len(task.data.classes), task.ipc)

    def steps_in_turn(self, images: int) -> int:
        """Into how many parts the images are split that inner steps see in turn; 0: mini-batches are drawn."""
        return 0

    def images_at_once(self, images: int) -> int:
        """See `UnrolledConfig`."""
        return math.ceil(UnrolledConfig.images_at_once(self, images) / max(1, self.steps_in_turn(images)))

    def alpha_setting(self) -> str | None:
        """See `UnrolledConfig`."""
        return "lr_step_size" if self.learn_step_size else None

    def images_a_step(self, images: int) -> float:
        """Images that pass a network forwards and backwards in one outer step, given how many the set has.

        A differentiated step costs three more. Real images pass once.
        """
        batch = self.images_at_once(images)
        window = self.inner_steps - self.iota
        return batch * (self.mean_steps() + 3 * window) * self.outer.passes + self.batch_real

    def at_most(self, steps: int) -> Self:
        """The same settings with at most `steps` outer steps."""
        return replace(self, outer_steps=min(self.outer_steps, steps))
