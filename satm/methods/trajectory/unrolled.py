"""The settings of every method that differentiates through an inner loop, and the values that follow from them."""

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
    """The settings of an outer loop that learns the synthetic images φ through an inner loop of N training steps.

    They include the hyper-parameters of the paper's Table 11 and further settings of MTT. A subclass holds the settings
    of a condensation method. It may have other defaults and further settings, and may override the functions of this
    class.
    """

    outer_steps: int  # the number of updates of φ
    inner_steps: int  # N, the number of training steps on the synthetic set in the inner loop
    window: int | None = None  # N − ι, the number of differentiated steps; null: N, or int(N/3) for the SATM methods
    batch_syn: int | None = None  # the number of synthetic images that the network sees in one inner step; null: all
    lr_images: float  # the learning rate of φ in the outer loop
    momentum_images: float = 0.5  # μ of the SGD that updates φ; MTT's value, because the paper prints none
    lr_step_size: float  # λ of Eq. 10, the learning rate of α
    momentum_step_size: float = 0.5  # μ of the SGD that updates α; MTT's value
    step_size_derivative: StepSizeDerivative = "exact"  # ∂F/∂α; see `OuterProblem.step_size_derivative`
    step_size: float = 0.01  # the step size α at the start; the learning rate of the experts, as in MTT
    min_step_size: float = 1e-5  # α_min; after each outer step α is raised to this value if it is below
    log_step_size: bool = False  # True: log α is learned; False: α is learned
    init: Literal["real", "noise"] = "real"  # φ at the start: random training images, or noise from N(0, 1)
    augment: str | None = "color_crop_cutout_flip_scale_rotate"  # the strategy of DSA in the inner loop; null: none
    diagnostics_every: int = 50  # outer steps from one measurement of sharpness and exact ∂F/∂α to the next; 0: none
    engine: Engine = "auto"  # how the inner loop is differentiated; prefer-higher: engine `higher` if memory allows
    # Whether the inner steps and the training of the experts are compiled; auto: they are if there is enough work.
    # `FORMERLY` holds the names of these values in older stored configurations.
    compile: Compilation = field(default="auto", metadata=FORMERLY)
    precision: Precision = "float32"  # of the network's matrix products and convolutions in the inner loop
    guard: GuardConfig = field(default_factory=GuardConfig)  # when an outer step fails, and how often it is retried
    outer: AnyOuter = field(default_factory=SGD)  # the outer optimiser; the option `--outer` replaces it
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
        """The rule that says which inner steps are differentiated: the last `window` steps."""
        return LastSteps(self.default_window() if self.window is None else self.window)

    def default_window(self) -> int:
        """The window if `window` is null: the whole inner loop."""
        return self.inner_steps

    @property
    def iota(self) -> int:
        """ι = N − window, the first differentiated inner step."""
        return self.truncation().first_taped(self.inner_steps)

    def largest_window(self) -> int:
        """The largest number of inner steps that one pass of an outer step differentiates. Here it is always w."""
        return self.inner_steps - self.iota

    def resized(self, steps: int, window: int, **changes: Any) -> Self:
        """The same settings with `steps` inner steps, `window` differentiated steps and `changes`; used for timings."""
        return replace(self, inner_steps=steps, window=window, **changes)

    def mean_steps(self) -> float:
        """The mean number of inner steps that an outer step takes in its first pass. Here it is always N."""
        return self.inner_steps

    def update_rule(self) -> UpdateRule:
        """The rule by which an inner step updates the network's parameters: plain SGD."""
        return PLAIN_SGD

    def own_outer(self) -> AnyOuter:
        """The outer optimiser that the method uses if the user chooses none."""
        return default_outer(type(self))

    def label_rule(self) -> LabelRule:
        """The rule that labels the synthetic images: here with their classes."""
        return HardLabels()

    def step_size_rule(self) -> StepSizeRule:
        """The rule that learns α: SGD with momentum on α, or on log α."""
        kind = LogStepSize if self.log_step_size else PlainStepSize
        return kind(sgd=MomentumSGD(self.lr_step_size, self.momentum_step_size), minimum=self.min_step_size)

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """The images [K·ipc, C, H, W] and the labels before the first outer step.

        `network` is a network of the task's architecture, for subclasses that need it for the labels or the images.
        """
        labels = class_major_labels(len(task.data.classes), task.ipc)
        return first_images(task, self.init), labels

    def choose_engine(
        self, network: nn.Module, image_shape: tuple[int, int, int], images: int
    ) -> tuple[EngineChoice, InnerWork]:
        """Choose how inner loops of `network` on `images` images are differentiated.

        Returns the choice, and the estimate of the work of an outer step on which the choice is based.
        """
        flops, activation_bytes = forward_cost(network, image_shape)
        window = self.inner_steps - self.iota
        more = self.outer.passes - 1
        later = self.inner_steps - (self.outer.second_start(self.iota) or 0)  # the inner steps of each later pass
        # If the window is shorter than the inner loop, the exact ∂F/∂α needs a further pass, in forward mode.
        forward = self.inner_steps if self.step_size_derivative == "exact" and self.iota else 0
        work = InnerWork(
            flops=flops,
            activation_bytes=activation_bytes,
            batch=self.images_at_once(images),
            steps=self.inner_steps + more * later + forward,
            taped=window + more * min(window, later) + forward,
            window=self.largest_window(),
            outer_steps=self.outer_steps,
            kept=self.update_rule().kept,
        )
        choice = choose_engine(
            self.engine, self.compile, self.precision, network=network, image_shape=image_shape, work=work
        )
        return choice, work

    def images_at_once(self, images: int) -> int:
        """The number of images that the network sees in one inner step. `images` is the number of all images."""
        return min(self.batch_syn or images, images)

    def alpha_setting(self) -> str | None:
        """The name of the setting that is the learning rate of α; None if α is fixed."""
        return "lr_step_size"

    def accepts(self, loss: float) -> bool:
        """Whether an outer step with the matching loss `loss` is applied: here always.

        If not, the outer step is counted, but it moves neither the images nor the labels nor α.
        """
        return True


def default_outer(config: type[UnrolledConfig]) -> AnyOuter:
    """The default outer optimiser of the method with the configuration class `config`."""
    rule: AnyOuter = default_of(config, "outer")
    return rule


def default_of(config: type[UnrolledConfig], name: str) -> Any:
    """The default of the setting `name` of the class `config`; `dataclasses.MISSING` if it has none."""
    (setting,) = (each for each in fields(config) if each.name == name)
    return setting.default if setting.default_factory is MISSING else setting.default_factory()
