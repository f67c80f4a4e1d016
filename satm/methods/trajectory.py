"""What every trajectory-matching method shares: drawing an outer problem, updating φ and α, saving and measuring."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from satm import networks
from satm.augment import DSA, apply, draw
from satm.compilation import FORMERLY, Compilation
from satm.engine import (
    Engine,
    EngineChoice,
    FlatNetwork,
    InnerLoop,
    InnerWork,
    LastSteps,
    Learned,
    Precision,
    choose_engine,
    exact_step_size_derivative,
    first_order_step_size_derivative,
    forward_cost,
    make_step,
    sgd_path,
)
from satm.errors import ConfigError, ExpertError
from satm.experts import draw_segment
from satm.experts.segment import start_epochs
from satm.matching import TrajectoryLoss
from satm.methods.base import Learnt, Task, class_major_labels
from satm.methods.guard import Guard, GuardConfig, Retry, StepFailed
from satm.methods.labels import HardLabels, LabelRule
from satm.methods.outer import SGD, AnyOuter, OuterProblem, OuterRule, OuterUpdate
from satm.methods.outer.problem import StepSizeDerivative
from satm.methods.random import random_images
from satm.methods.start import noise_images
from satm.types import FlatParams, Images, Labels


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


class TrajectoryCondensation:
    """Outer steps of trajectory matching under the configuration's rule, or `rule`; a `Condensation`."""

    only_full_batches = False  # for whoever measures: leave out the smaller batch that ends a pass over the images

    def __init__(self, task: Task, config: TrajectoryConfig, rule: OuterRule | None = None) -> None:
        self.task, self.config = task, config
        self.rule: OuterRule = config.outer.over(config.outer_steps) if rule is None else rule
        self.step, self.steps = 0, config.outer_steps
        self.guard = Guard(config.guard, step_size=config.step_size)
        stored = min((expert.epochs for expert in task.experts), default=-1)
        if stored < config.stored_epochs():
            have = "there are no experts" if stored < 0 else f"an expert has {stored}"
            raise ExpertError(
                f"{config.epochs_asked()} need experts of {config.stored_epochs()} epochs, {have}; train them on, or "
                "lower one of these"
            )
        data, device = task.data, task.device
        # Its weights never matter: every pass starts from an expert's snapshot.
        self.network = networks.create(
            task.architecture, num_classes=len(data.classes), image_shape=data.image_shape, seed=task.seed.child("net")
        ).to(device)
        images, labels = config.begin_with(task, FlatNetwork(self.network))
        self.images: Images = images.to(device)
        self.label_rule = config.label_rule()
        self.label_state = self.label_rule.init(labels.to(device))
        self.outer_state = self.rule.init(self.images)
        self.step_size = torch.tensor(config.step_size, device=device)
        self.images_velocity = torch.zeros_like(self.images)
        self.step_size_velocity = torch.zeros_like(self.step_size)
        self.engine, _ = config.choose_engine(self.network, data.image_shape, len(self.images))
        self.notes: Mapping[str, str] = {"engine": str(self.engine)}
        self._policy = self.engine.policy(self.network, task.notify)

    @property
    def labels(self) -> Labels:
        """As they stand, of the label rule's kind."""
        return self.label_state["labels"]

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`."""
        return self.guard.advance(self)

    def attempt(self, retry: Retry) -> dict[str, float]:
        """See `Retryable`."""
        seed = retry.seed(self.task.seed.child("outer", self.step))
        starts = self.config.starts_at(self.step)
        segment = draw_segment(
            self.task.experts,
            epochs=self.config.expert_epochs,
            starts=starts.stop,
            first=starts.start,
            generator=seed.child("segment").generator(),
            device=self.task.device,
        )
        labels = self.label_rule.taught(self.label_state, FlatNetwork(self.network), segment.target, self.images)
        problem = OuterProblem(
            loop=self._draw_loop(seed.child("loop").generator()),
            at=Learned(self.images, self.label_rule.targets(labels), self.step_size),
            theta_start=segment.start,
            loss=TrajectoryLoss(segment.start, segment.target),
            policy=self._policy,
            truncation=self.config.truncation(),
            derivative=self.config.step_size_derivative,
        )
        redraw = partial(self._draw_loop, seed.child("loop", 2).generator())
        with seed.child("layers").forked():  # dropout knows no generator
            update = self.rule(problem, seed.child("noise").generator(), redraw, self.outer_state)
            measured = {**update.measured, "expert": float(segment.expert), "start_epoch": float(segment.epoch)}
            if self.config.diagnostics_every and self.step % self.config.diagnostics_every == 0:
                measured |= diagnose(problem, update.perturbation)
        derivatives = {"the images": update.images, "the labels": update.labels, "the step size": update.step_size}
        self.guard.check_start(measured, derivatives)
        if self.config.accepts(measured["loss"]):
            self._descend(update, labels, measured, retry.scale)
        else:
            measured |= {"step_size": float(self.step_size), "event.skipped_at_loss": measured["loss"]}
        self.step += 1
        return measured

    def _descend(
        self, update: OuterUpdate, labels: Mapping[str, torch.Tensor], measured: dict[str, float], scale: float
    ) -> None:
        """v ← μ v + g; φ ← φ − lr v; α likewise, then projected to α ≥ α_min (an event where that changed it).

        The labels move by their own rule, all moves are multiplied by `scale`. Nothing is changed where the guard
        refuses them: then StepFailed is raised.
        """
        config, step_size = self.config, update.step_size
        images_velocity = config.momentum_images * self.images_velocity + update.images
        moved_images = self.images - scale * config.lr_images * images_velocity
        if config.log_step_size:
            step_size = step_size * self.step_size  # dF/d log α
        step_size_velocity = config.momentum_step_size * self.step_size_velocity + step_size
        move = scale * config.lr_step_size * step_size_velocity
        moved = self.step_size * (-move).exp() if config.log_step_size else self.step_size - move
        moved_labels = self.label_rule.descend(labels, update.labels, scale)
        measured |= self.guard.check_move(self.images, moved_images, self.step_size, moved, moved_labels)
        self.images, self.images_velocity, self.label_state = moved_images, images_velocity, moved_labels
        self.outer_state = self.rule.moved(update.state, moved_images)
        self.step_size, self.step_size_velocity = moved.clamp(min=config.min_step_size), step_size_velocity
        measured["step_size"] = float(self.step_size)  # α after this step, as the loss is before it
        if not torch.equal(self.step_size, moved):
            measured["event.step_size_projected_from"] = float(moved)

    def advice(self, failed: StepFailed, retry: Retry) -> str:
        """See `Retryable`."""
        config, alpha = self.config, float(self.step_size)
        rates = f"lower lr_images ({config.lr_images:g}) or lr_step_size ({config.lr_step_size:g})"
        match failed.what:
            case "update_ratio":
                most = config.lr_images * retry.scale * failed.limit / failed.value
                return f"lower lr_images ({config.lr_images:g}) below about {most:.1g}"
            case "step_size_growth":
                return f"lower lr_step_size ({config.lr_step_size:g}), or learn its logarithm (log_step_size=true)"
            case _ if failed.at_start:
                start = f"the inner loop diverges at step size {alpha:.3g}: "
                if self.step == 0:
                    return f"{start}lower step_size ({config.step_size:g}) or inner_steps ({config.inner_steps})"
                return f"{start}{rates}, or inner_steps ({config.inner_steps})"
            case _:
                return rates

    def _draw_loop(self, generator: torch.Generator, count: int | None = None) -> InnerLoop:
        """N mini-batches and N augmentations for `count` images, all by default, drawn now and fixed."""
        n = len(self.images) if count is None else count
        size = min(self.config.batch_syn or n, n)
        batches: list[torch.Tensor | None] = [None] * self.config.inner_steps
        if size < n:
            queue: list[torch.Tensor] = []
            for step in range(self.config.inner_steps):
                queue = queue or list(torch.randperm(n, generator=generator).split(size))
                if self.only_full_batches:
                    queue = [batch for batch in queue if len(batch) == size]
                batches[step] = queue.pop(0).to(self.task.device)
        transforms: list[Callable[[Images], Images]] = [_identity] * self.config.inner_steps
        if self.config.augment is not None:
            for step, batch in enumerate(batches):
                count = n if batch is None else len(batch)
                drawn = draw(self.config.augment, count, self.task.data.image_shape, generator)
                transforms[step] = partial(apply, draw=drawn)
        return InnerLoop(network=self.network, batches=tuple(batches), transforms=tuple(transforms))

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        return {
            "step": torch.tensor(self.step),
            "images": self.images.cpu(),
            "step_size": self.step_size.cpu(),
            "images_velocity": self.images_velocity.cpu(),
            "step_size_velocity": self.step_size_velocity.cpu(),
            **{name: value.cpu() for name, value in self.label_state.items()},
            **{f"outer.{name}": value.cpu() for name, value in self.outer_state.items()},
            **self.guard.state(),
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        device = self.task.device
        self.step = int(state["step"])
        self.images = state["images"].to(device)
        self.step_size = state["step_size"].to(device)
        self.images_velocity = state["images_velocity"].to(device)
        self.step_size_velocity = state["step_size_velocity"].to(device)
        # What a state of another rule does not know (`--from` under other settings) stays as at the start.
        self.label_state = {name: state.get(name, value).to(device) for name, value in self.label_state.items()}
        self.outer_state = {
            name: state.get(f"outer.{name}", value).to(device) for name, value in self.outer_state.items()
        }
        self.guard.restore(state)

    def result(self) -> Learnt:
        """See `Condensation`; a rule that averages hands out the average, φ itself beside it as `raw`."""
        labels, kind, step_size = self.labels.cpu(), self.label_rule.kind, float(self.step_size)
        learnt = Learnt(self.images.cpu(), labels, kind, step_size)
        averaged = self.rule.averaged(self.outer_state)
        return learnt if averaged is None else Learnt(averaged.cpu(), labels, kind, step_size, {"raw": learnt})


def _identity(images: Images) -> Images:
    return images


def diagnose(problem: OuterProblem, perturbation: torch.Tensor | None) -> dict[str, float]:
    """On clean φ: sharpness L(φ + ε) − L(φ), and α's derivative by Eq. 10 and exactly (the paper's Figures 2 and 3).

    No sharpness where the rule does not ascend. All run the N steps from the segment's start under the problem's draws.
    """
    at = problem.at
    clean = _final(problem, at)
    leaf = clean.requires_grad_()
    loss = problem.loss(leaf)
    (outer_gradient,) = torch.autograd.grad(loss, leaf)
    first_order = first_order_step_size_derivative(outer_gradient, problem.theta_start, clean.detach(), at.step_size)
    exact = exact_step_size_derivative(problem.loop, at, problem.theta_start, problem.loss, step=problem.policy.step)
    measured = {}
    if perturbation is not None:
        perturbed = _final(problem, at._replace(images=at.images + perturbation))
        measured["sharpness"] = float(problem.loss(perturbed) - loss.detach())
    return measured | {
        "loss_clean": float(loss.detach()),
        "step_size_derivative": float(first_order),
        "step_size_derivative_exact": float(exact),
    }


def _final(problem: OuterProblem, at: Learned) -> FlatParams:
    """θ_N: N plain steps, in full precision whatever the policy's is."""
    step = make_step(problem.loop.network, criterion=problem.loop.criterion)
    ((_, theta),) = deque(sgd_path(step, problem.loop, at, problem.theta_start, range(problem.loop.steps)), maxlen=1)
    return theta


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
