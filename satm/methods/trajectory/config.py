"""The settings that every trajectory-matching method shares, and what the answers to them follow from."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from torch import nn

from satm.augment import DSA
from satm.engine import (
    Engine,
    EngineChoice,
    FlatNetwork,
    InnerWork,
    LastSteps,
    Precision,
    choose_engine,
)
from satm.errors import ConfigError
from satm.experts.segment import start_epochs
from satm.machine.compilation import FORMERLY, Compilation
from satm.machine.cost import forward_cost
from satm.methods.base import Task, class_major_labels
from satm.methods.outer import SGD, AnyOuter
from satm.methods.outer.problem import StepSizeDerivative
from satm.methods.random import random_images
from satm.methods.start import noise_images
from satm.methods.trajectory.guard import GuardConfig
from satm.methods.trajectory.labels import HardLabels, LabelRule
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryConfig:
    """Matching training trajectories: the symbols of the paper's Table 11 and what MTT's code adds to them.

    A method is a subclass: other defaults, settings of its own, and the methods below that answer for them.
    """

    outer_steps: int  # updates of φ
    inner_steps: int  # N, SGD steps on the synthetic set
    expert_epochs: int  # M, expert epochs a segment spans
    max_start_epoch: int  # T
    start_epochs: Literal["below", "up_to"] = "below"  # t < T as MTT's code draws, or t ≤ T as the paper writes
    window: int | None = None  # N − ι differentiated steps; null: as the method has it, all of them but for SATM's
    batch_syn: int | None = None  # synthetic images an inner step; null: all
    lr_images: float  # outer learning rate of φ
    momentum_images: float = 0.5  # of φ's SGD; not printed, MTT's
    lr_step_size: float  # λ of Eq. 10
    momentum_step_size: float = 0.5  # of α's SGD; MTT's
    step_size_derivative: StepSizeDerivative = "exact"  # or first_order (Eq. 10), or taped: through the window alone
    step_size: float = 0.01  # α at the start: the experts' learning rate (MTT)
    min_step_size: float = 1e-5  # α is projected to at least this
    log_step_size: bool = False  # learn log α instead of α
    init: Literal["real", "noise"] = "real"  # φ at the start: random training images, or N(0, 1)
    augment: str | None = "color_crop_cutout_flip_scale_rotate"  # DSA in the inner loop
    diagnostics_every: int = 50  # outer steps between measurements of sharpness and α's exact derivative; 0: never
    engine: Engine = "auto"  # how the inner loop is differentiated; prefer-higher: the reference while memory allows
    # Whether inner steps, and the training of the experts, are compiled; auto: where there is enough work.
    compile: Compilation = field(default="auto", metadata=FORMERLY)
    precision: Precision = "float32"  # of the network's products and convolutions in the inner loop
    guard: GuardConfig = field(default_factory=GuardConfig)  # which outer steps fail, and how often one is tried again
    outer: AnyOuter = field(default_factory=SGD)  # the outer optimiser; --outer names another

    def __post_init__(self) -> None:
        for name in ("inner_steps", "expert_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected at least 1")
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
        self.starts()
        self.outer.check(self.inner_steps, self.iota)
        if self.augment is not None:
            DSA(self.augment)

    def truncation(self) -> LastSteps:
        """The window over the inner loop."""
        return LastSteps(self.default_window() if self.window is None else self.window)

    def default_window(self) -> int:
        """The method's own window: all of the inner loop."""
        return self.inner_steps

    @property
    def iota(self) -> int:
        """ι = N − window."""
        return self.truncation().first_taped(self.inner_steps)

    def starts(self) -> int:
        """How many start epochs t there are."""
        return start_epochs(self.max_start_epoch, inclusive=self.start_epochs == "up_to")

    def stored_epochs(self) -> int:
        """The last epoch an expert needs: the largest t plus M."""
        return self.starts() - 1 + self.expert_epochs

    def epochs_asked(self) -> str:
        """The settings that `stored_epochs` follows from, in words."""
        return f"max_start_epoch {self.max_start_epoch} and expert_epochs {self.expert_epochs}"

    def own_outer(self) -> AnyOuter:
        """The outer optimiser of the method where it is told no other."""
        return default_outer(type(self))

    def starts_at(self, step: int) -> range:
        """The start epochs that outer step `step` draws from."""
        return range(self.starts())

    def label_rule(self) -> LabelRule:
        """What the images are labelled with."""
        return HardLabels()

    def begin_with(self, task: Task, network: FlatNetwork) -> tuple[Images, Labels]:
        """The images and labels before the first outer step."""
        labels = class_major_labels(len(task.data.classes), task.ipc)
        if self.init == "noise":
            return noise_images(task.data, task.ipc, task.seed.child("init")), labels
        return random_images(task.data, task.ipc, task.seed.child("init")), labels

    def choose_engine(
        self, network: nn.Module, image_shape: tuple[int, int, int], images: int
    ) -> tuple[EngineChoice, InnerWork]:
        """How inner loops on `network` and a set of `images` are differentiated, and how much work an outer step is."""
        flops, activation_bytes = forward_cost(network, image_shape)
        window = self.inner_steps - self.iota
        tau = self.outer.second_start(self.iota)
        second = 0 if tau is None else self.inner_steps - tau
        forward = self.inner_steps if self.step_size_derivative == "exact" and self.iota else 0  # α's, in forward mode
        work = InnerWork(
            flops=flops,
            activation_bytes=activation_bytes,
            batch=min(self.batch_syn or images, images),
            steps=self.inner_steps + second + forward,
            taped=window + min(window, second) + forward,
            window=window,
            outer_steps=self.outer_steps,
        )
        choice = choose_engine(
            self.engine, self.compile, self.precision, network=network, image_shape=image_shape, work=work
        )
        return choice, work

    def accepts(self, loss: float) -> bool:
        """Whether an outer step of this loss may change anything."""
        return True


def default_outer(config: type[TrajectoryConfig]) -> AnyOuter:
    """The outer optimiser of a method that is told no other."""
    rule: AnyOuter = default_of(config, "outer")
    return rule


def default_of(config: type[TrajectoryConfig], name: str) -> Any:
    """What a setting is where it is not given; `MISSING` where it must be."""
    (setting,) = (each for each in fields(config) if each.name == name)
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def set_method(method: str, settings: object) -> str:
    """What a set's name says of how it was made: `mtt`, or `mtt+sam` under another outer optimiser than its own."""
    if not isinstance(settings, TrajectoryConfig) or settings.outer.rule == settings.own_outer().rule:
        return method
    return f"{method}+{settings.outer.rule}"
