"""DD: dataset distillation by backpropagation through training (Wang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from satm.errors import ConfigError
from satm.methods.adam import AdamMove
from satm.methods.base import METHODS
from satm.methods.real.config import RealLossConfig
from satm.methods.real.method import RealLossMethod
from satm.methods.real.step_size import SoftplusStepSizes
from satm.methods.trajectory.step_size import StepSizeRule
from satm.methods.trajectory.unrolled import default_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DDConfig(RealLossConfig):
    """F(φ, α) = L_CE(θ_N on real images) with θ_{i+1} = θ_i − α_i ∇L_CE(θ_i, φ[B_i]).

    Every inner step is differentiated. The set φ is split into N/`passes` parts, so the N steps go through all parts
    `passes` times: each inner step uses one part B_i. If a class has fewer than N/`passes` images, there are only as
    many parts as images of a class, and the steps go through them more often. Each step has its own learned step size,
    α_i = softplus(a_i). One Adam optimiser updates φ and the a_i. The default values are those of DD's code
    (base_options.py of ssnl/dataset-distillation at 98e4894).
    """

    inner_steps: int = 30
    outer_steps: int = 19_600  # 400 epochs of CIFAR-10 in batches of 1,024
    lr_images: float = 0.01  # the learning rate of φ and of the a_i
    momentum_images: float = 0.5
    step_size: float = 0.001
    halvings: int = 9  # the learning rate is halved after every 40 of 400 epochs
    update: Literal["sgd", "momentum", "adam"] = "sgd"
    batch_real: int = 1024
    learn_step_size: bool = True
    passes: int = 3  # how often the inner steps go through all parts of the set (more often if the set is small)
    windows: ClassVar[bool] = False  # no shorter window is possible: every inner step is differentiated

    def __post_init__(self) -> None:
        RealLossConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.passes < 1:
            raise ConfigError(f"passes {self.passes}: expected at least 1")
        if self.iota:
            raise ConfigError(f"window {self.window}: dd differentiates every step; set window=null, or take rat-bptt")
        if self.batch_syn is not None:
            raise ConfigError(f"batch_syn {self.batch_syn}: dd's steps see parts of the set in turn; set passes")
        for name in ("lr_step_size", "momentum_step_size", "log_step_size"):
            if (value := getattr(self, name)) != default_of(DDConfig, name):
                raise ConfigError(f"{name} {value}: dd learns its step sizes by the Adam of the images; set lr_images")
        if self.learn_step_size and self.step_size_derivative == "first_order":
            raise ConfigError("step_size_derivative first_order: each step has a step size of its own; set taped")

    def step_size_rule(self) -> StepSizeRule:
        """See `UnrolledConfig`."""
        if not self.learn_step_size:
            return RealLossConfig.step_size_rule(self)
        adam = AdamMove(lr=self.lr_images, beta1=self.momentum_images, beta2=self.second_moment)
        return SoftplusStepSizes(steps=self.inner_steps, adam=adam, minimum=self.min_step_size)

    def alpha_setting(self) -> str | None:
        """See `UnrolledConfig`: `lr_images`, because one Adam moves φ and the a_i."""
        return "lr_images" if self.learn_step_size else None

    def steps_in_turn(self, images: int) -> int:
        """See `RealLossConfig`."""
        return max(1, min(images, self.most_parts()))

    def most_parts(self) -> int:
        """Return the number of parts into which the set is split if each class has enough images."""
        return self.inner_steps // self.passes

    def resized(self, steps: int, window: int, **changes: Any) -> DDConfig:
        """See `UnrolledConfig`. The number of parts stays, so each step sees as many images as before."""
        same = {each.name: getattr(self, each.name) for each in fields(self)} | changes
        return _Resized(**same | {"inner_steps": steps, "window": window, "parts": self.most_parts()})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resized(DDConfig):
    """`DDConfig` with another number of steps on the same parts."""

    parts: int

    def most_parts(self) -> int:
        """See `DDConfig`."""
        return self.parts


METHODS.add(
    RealLossMethod(
        name="dd",
        summary="backpropagation through training, on real images (Wang et al. 2018)",
        cite=("wang2018dd",),
        config=DDConfig,
        whitening=False,
    )
)
