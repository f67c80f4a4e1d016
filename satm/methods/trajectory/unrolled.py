"""The settings of every method that differentiates an unrolled inner loop, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

from torch import nn

from satm.augment import DSA
from satm.engine import (
    PLAIN_SGD,
    Engine,
    EngineChoice,
    FlatNetwork,
    InnerWork,
    LastSteps,
    Precision,
    UpdateRule,
    choose_engine,
)
from satm.errors import ConfigError
from satm.machine.compilation import FORMERLY, Compilation
from satm.machine.cost import forward_cost
from satm.methods.base import Task, class_major_labels
from satm.methods.momentum import MomentumSGD
from satm.methods.outer import SGD, AnyOuter
from satm.methods.outer.problem import StepSizeDerivative
from satm.methods.start import first_images
from satm.methods.trajectory.guard import GuardConfig
from satm.methods.trajectory.labels import HardLabels, LabelRule
from satm.methods.trajectory.step_size import LogStepSize, PlainStepSize, StepSizeRule
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class UnrolledConfig:
    """The outer loop around an inner loop of N steps: the symbols of the paper's Table 11, and MTT's further settings.

    A method is a subclass. It may have other defaults, settings of its own, and other versions of the methods below.
    """

    outer_steps: int  # updates of φ
    inner_steps: int  # N, SGD steps on the synthetic set
    window: int | None = None  # N − ι differentiated steps; null: the method's own: N, or a third of it (SATM)
    batch_syn: int | None = None  # synthetic images that the network sees in one inner step; null: all
    lr_images: float  # outer learning rate of φ
    momentum_images: float = 0.5  # μ of φ's SGD; the paper prints none, this is MTT's
    lr_step_size: float  # λ of Eq. 10
    momentum_step_size: float = 0.5  # μ of α's SGD; MTT's
    step_size_derivative: StepSizeDerivative = "exact"  # or first_order (Eq. 10), or taped: through the window only
    step_size: float = 0.01  # α at the start: the experts' learning rate (MTT)
    min_step_size: float = 1e-5  # α is projected to at least this
    log_step_size: bool = False  # learn log α instead of α
    init: Literal["real", "noise"] = "real"  # φ at the start: random training images, or N(0, 1)
    augment: str | None = "color_crop_cutout_flip_scale_rotate"  # DSA in the inner loop
    diagnostics_every: int = 50  # outer steps between measurements of sharpness and α's exact derivative; 0: never
    engine: Engine = "auto"  # how the inner loop is differentiated; prefer-higher: the reference if memory allows
    # Whether inner steps and the training of the experts are compiled; auto: if there is enough work.
    compile: Compilation = field(default="auto", metadata=FORMERLY)
    precision: Precision = "float32"  # of the network's products and convolutions in the inner loop
    guard: GuardConfig = field(default_factory=GuardConfig)  # which outer steps fail, and how often one is tried again
    outer: AnyOuter = field(default_factory=SGD)  # the outer optimiser; `--outer` names another
    windows: ClassVar[bool] = True  # whether the window may be shorter than the inner loop

    def __post_init__(self) -> None:
        if self.inner_steps < 1:
            raise ConfigError(f"inner_steps {self.inner_steps}: expected at least 1")
        for name in ("outer_steps", "diagnostics_every"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 0 or more")
        for name in ("lr_images", "lr_step_size", "step_size", "min_step_size"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ConfigError(f"{name} {getattr(self, name)}: expected a finite number above 0")
        for name in ("momentum_images", "momentum_step_size"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 0 ≤ momentum < 1")
        if self.batch_syn is not None and self.batch_syn < 1:
            raise ConfigError(f"batch_syn {self.batch_syn}: expected at least 1 image, or null for all")
        if self.step_size < self.min_step_size:
            raise ConfigError(f"step_size {self.step_size} lies below min_step_size {self.min_step_size}; raise it")
        self.outer.check(self.inner_steps, self.iota)
        if self.augment is not None:
            DSA(self.augment)

    def truncation(self) -> LastSteps:
        """Which inner steps are differentiated: the last `window`."""
        return LastSteps(self.default_window() if self.window is None else self.window)

    def default_window(self) -> int:
        """The window if `window` is null: the whole inner loop."""
        return self.inner_steps

    @property
    def iota(self) -> int:
        """ι = N − window."""
        return self.truncation().first_taped(self.inner_steps)

    def resized(self, steps: int, window: int, **changes: Any) -> Self:
        """The same settings with `steps` inner steps, `window` of them differentiated, and `changes`; for timings."""
        return replace(self, inner_steps=steps, window=window, **changes)

    def mean_steps(self) -> float:
        """The inner steps of an outer step, in the mean: N."""
        return self.inner_steps

    def update_rule(self) -> UpdateRule:
        """How an inner step moves the network: by plain SGD."""
        return PLAIN_SGD

    def own_outer(self) -> AnyOuter:
        """The method's default outer optimiser."""
        return default_outer(type(self))

    def label_rule(self) -> LabelRule:
        """How the images are labelled: by classes."""
        return HardLabels()

    def step_size_rule(self) -> StepSizeRule:
        """How α is learned: by SGD with momentum on α, or on log α."""
        kind = LogStepSize if self.log_step_size else PlainStepSize
        return kind(sgd=MomentumSGD(self.lr_step_size, self.momentum_step_size), minimum=self.min_step_size)

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """The images [K·ipc, C, H, W] and labels before the first outer step."""
        labels = class_major_labels(len(task.data.classes), task.ipc)
        return first_images(task, self.init), labels

    def choose_engine(
        self, network: nn.Module, image_shape: tuple[int, int, int], images: int
    ) -> tuple[EngineChoice, InnerWork]:
        """How inner loops of `network` on `images` images are differentiated, and the work of an outer step."""
        flops, activation_bytes = forward_cost(network, image_shape)
        window = self.inner_steps - self.iota
        more = self.outer.passes - 1
        later = self.inner_steps - (self.outer.second_start(self.iota) or 0)  # inner steps of each of these passes
        forward = self.inner_steps if self.step_size_derivative == "exact" and self.iota else 0  # α's, in forward mode
        work = InnerWork(
            flops=flops,
            activation_bytes=activation_bytes,
            batch=self.images_at_once(images),
            steps=self.inner_steps + more * later + forward,
            taped=window + more * min(window, later) + forward,
            window=window,
            outer_steps=self.outer_steps,
            kept=self.update_rule().kept,
        )
        choice = choose_engine(
            self.engine, self.compile, self.precision, network=network, image_shape=image_shape, work=work
        )
        return choice, work

    def images_at_once(self, images: int) -> int:
        """The synthetic images that the network sees in one inner step, given how many the set has."""
        return min(self.batch_syn or images, images)

    def alpha_setting(self) -> str | None:
        """The setting that is the learning rate of α; None if α is fixed."""
        return "lr_step_size"

    def accepts(self, loss: float) -> bool:
        """Whether an outer step with this matching loss is applied. If not, it is skipped."""
        return True


def default_outer(config: type[UnrolledConfig]) -> AnyOuter:
    """A method's default outer optimiser."""
    rule: AnyOuter = default_of(config, "outer")
    return rule


def default_of(config: type[UnrolledConfig], name: str) -> Any:
    """The default of a setting; `MISSING` if it has none."""
    (setting,) = (each for each in fields(config) if each.name == name)
    return setting.default if setting.default_factory is MISSING else setting.default_factory()
