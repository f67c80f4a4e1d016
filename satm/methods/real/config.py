"""The settings of the methods that compute their outer loss on real images."""

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
from satm.methods.real.window import RandomPlace, WindowRule
from satm.methods.start import first_images
from satm.methods.trajectory.step_size import StepSizeRule
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class RealLossConfig(UnrolledConfig):
    """The settings of a method with the outer loss F(φ) = L_CE(θ_N on a batch of real images).

    θ_N are the parameters at the end of the inner loop on the synthetic images φ. Every outer step starts its inner
    loop at a fresh network θ_0. φ is updated by Adam.
    """

    update: Literal["sgd", "momentum", "adam"]  # how an inner step updates the parameters of the network
    batch_real: int  # the number of real images in an outer step, of all classes together; at most the training set
    augment_real: str | None = None  # DSA's strategy for the real images; null: they are not augmented
    learn_step_size: bool = False  # whether the step size α of the inner loop is learned
    lr_step_size: float = 1e-5  # the learning rate of α, if α is learned
    step_size_derivative: StepSizeDerivative = "taped"
    augment: str | None = None
    # The value `unit` means noise with each image scaled to norm 1. Only the methods with a loss on real images allow
    # it, so the type of this field is wider than the type in `UnrolledConfig`.
    init: Literal["real", "noise", "unit"] = "noise"  # type: ignore[assignment]
    momentum_images: float = 0.9  # β₁ of the Adam that updates φ
    second_moment: float = 0.999  # β₂ of the Adam that updates φ
    clip: float | None = None  # the limit of ‖∂F/∂φ‖, as a multiple of the running mean of ‖∂F/∂φ‖; null: no limit
    halvings: int = 0  # the number of times that the learning rates are halved, at equal intervals of the whole run

    def __post_init__(self) -> None:
        # This comes first, because the base class would name the values of τ that fit a window at the end of the loop.
        if getattr(self.outer, "tau", None) is not None and not self.window_rule().fixed:
            raise ConfigError("outer.tau: the window of this method has no fixed place; set outer.tau=null")
        UnrolledConfig.__post_init__(self)  # `super()` does not work in a dataclass with slots
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
        """The rule by which an inner step updates the network, chosen by `update`; see `UnrolledConfig`."""
        return RULES[self.update]

    def images_adam(self) -> AdamMove:
        """The Adam that updates φ in an outer step."""
        return AdamMove(lr=self.lr_images, beta1=self.momentum_images, beta2=self.second_moment, clip=self.clip)

    def share(self, progress: float) -> float:
        """The factor of the learning rates after the share `progress` (0 … 1) of the outer steps."""
        return 0.5 ** int((self.halvings + 1) * progress)

    def step_size_rule(self) -> StepSizeRule:
        """How α is learned: not at all, unless `learn_step_size` is true; see `UnrolledConfig`."""
        return UnrolledConfig.step_size_rule(self) if self.learn_step_size else FixedStepSize()

    def window_rule(self) -> WindowRule:
        """The rule that chooses the window of an outer step. Here it is always the end of the inner loop."""
        return RandomPlace(first=self.iota, last=self.iota, size=self.inner_steps - self.iota)

    def largest_window(self) -> int:
        """The largest window of an outer step; see `UnrolledConfig`."""
        return self.window_rule().largest

    def mean_steps(self) -> float:
        """The mean number of inner steps of an outer step, with those of probes; see `UnrolledConfig`.

        An inner loop has ι steps before its window and then the steps of the window.
        """
        return self.window_rule().mean_steps()

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """The images and labels before the first outer step; see `UnrolledConfig`."""
        images = first_images(task, "noise" if self.init == "unit" else self.init)
        if self.init == "unit":
            images = images / images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return images, class_major_labels(len(task.data.classes), task.ipc)

    def steps_in_turn(self, images: int) -> int:
        """The number of parts into which a set of `images` images is split, so that inner steps use the parts in turn.

        0, as here, means that the set is not split: mini-batches are drawn at random.
        """
        return 0

    def images_at_once(self, images: int) -> int:
        """The number of images that the network sees in one inner step; see `UnrolledConfig`."""
        return math.ceil(UnrolledConfig.images_at_once(self, images) / max(1, self.steps_in_turn(images)))

    def alpha_setting(self) -> str | None:
        """The name of the setting with the learning rate of α; None if α is fixed. See `UnrolledConfig`."""
        return "lr_step_size" if self.learn_step_size else None

    def images_a_step(self, images: int) -> float:
        """The number of images that pass a network forwards and backwards in one outer step.

        `images` is the number of images of the synthetic set. In every inner step each image of the mini-batch is
        counted once; in a differentiated inner step it is counted three more times, for the cost of the derivative.
        Each real image is counted once.
        """
        batch = self.images_at_once(images)
        window = self.inner_steps - self.iota
        return batch * (self.mean_steps() + 3 * window) * self.outer.passes + self.batch_real

    def at_most(self, steps: int) -> Self:
        """The same settings with at most `steps` outer steps."""
        return replace(self, outer_steps=min(self.outer_steps, steps))
