"""What every trajectory-matching method shares: drawing an outer problem, updating φ and α, saving and measuring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch

from satm import networks
from satm.augment import DSA, apply, draw
from satm.engine import (
    Compile,
    Engine,
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
)
from satm.errors import ConfigError, ExpertError
from satm.experts import draw_segment
from satm.experts.segment import start_epochs
from satm.matching import TrajectoryLoss
from satm.methods.base import Learnt, Task, class_major_labels
from satm.methods.guard import Guard, GuardConfig, Retry, StepFailed
from satm.methods.outer import OuterProblem, OuterRule
from satm.methods.random import random_images
from satm.types import FlatParams, Images


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryConfig:
    """Matching training trajectories: the symbols of the paper's Table 11 and what MTT's code adds to them."""

    outer_steps: int  # updates of φ
    inner_steps: int  # N, SGD steps on the synthetic set
    expert_epochs: int  # M, expert epochs a segment spans
    max_start_epoch: int  # T
    start_epochs: Literal["below", "up_to"] = "below"  # t < T as MTT's code draws, or t ≤ T as the paper writes
    window: int | None = None  # N − ι differentiated steps; null: int(N/3), at least 1 (paper §5.2)
    batch_syn: int | None = None  # synthetic images an inner step; null: all
    lr_images: float  # outer learning rate of φ
    momentum_images: float = 0.5  # of φ's SGD; not printed, MTT's
    lr_step_size: float  # λ of Eq. 10
    momentum_step_size: float = 0.0  # Eq. 10 as printed has none
    step_size: float = 0.01  # α at the start: the experts' learning rate (MTT)
    min_step_size: float = 1e-5  # α is projected to at least this
    log_step_size: bool = False  # learn log α instead of α
    init: Literal["real", "noise"] = "real"  # φ at the start: random training images, or N(0, 1)
    augment: str | None = "color_crop_cutout_flip_scale_rotate"  # DSA in the inner loop
    diagnostics_every: int = 50  # outer steps between measurements of sharpness and α's exact derivative; 0: never
    engine: Engine = "auto"  # how the inner loop is differentiated; prefer-higher: the reference while memory allows
    compile: Compile = "auto"  # whether inner steps are compiled; auto: where there is enough work
    precision: Precision = "float32"  # of the network's products and convolutions in the inner loop
    guard: GuardConfig = field(default_factory=GuardConfig)  # which outer steps fail, and how often one is tried again

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
        self.truncation().first_taped(self.inner_steps)
        if self.augment is not None:
            DSA(self.augment)

    def truncation(self) -> LastSteps:
        """The window over the inner loop."""
        return LastSteps(max(1, self.inner_steps // 3) if self.window is None else self.window)

    def starts(self) -> int:
        """How many start epochs t there are."""
        return start_epochs(self.max_start_epoch, inclusive=self.start_epochs == "up_to")

    def stored_epochs(self) -> int:
        """The last epoch an expert needs: the largest t plus M."""
        return self.starts() - 1 + self.expert_epochs


class TrajectoryCondensation:
    """Outer steps of trajectory matching under a rule; a `Condensation`."""

    def __init__(self, task: Task, config: TrajectoryConfig, rule: OuterRule) -> None:
        self.task, self.config, self.rule = task, config, rule
        self.step, self.steps = 0, config.outer_steps
        self.guard = Guard(config.guard, step_size=config.step_size)
        stored = min((expert.epochs for expert in task.experts), default=-1)
        if stored < config.stored_epochs():
            have = "there are no experts" if stored < 0 else f"an expert has {stored}"
            raise ExpertError(
                f"max_start_epoch {config.max_start_epoch} and expert_epochs {config.expert_epochs} need experts of "
                f"{config.stored_epochs()} epochs, {have}; train them on, or lower one of the two"
            )
        data, device = task.data, task.device
        if config.init == "real":
            images = random_images(data, task.ipc, task.seed.child("init"))
        else:
            shape = (len(data.classes) * task.ipc, *data.image_shape)
            images = torch.randn(shape, generator=task.seed.child("init").generator())
        self.images: Images = images.to(device)
        self.labels = class_major_labels(len(data.classes), task.ipc).to(device)
        self.step_size = torch.tensor(config.step_size, device=device)
        self.images_velocity = torch.zeros_like(self.images)
        self.step_size_velocity = torch.zeros_like(self.step_size)
        # Its weights never matter: every pass starts from an expert's snapshot.
        self.network = networks.create(
            task.architecture, num_classes=len(data.classes), image_shape=data.image_shape, seed=task.seed.child("net")
        ).to(device)
        self.engine = choose_engine(
            config.engine,
            config.compile,
            config.precision,
            network=self.network,
            image_shape=data.image_shape,
            work=self._work(),
        )
        self.notes: Mapping[str, str] = {"engine": str(self.engine)}
        self._policy = self.engine.policy(self.network, task.notify)

    def _work(self) -> InnerWork:
        config, data = self.config, self.task.data
        flops, activation_bytes = forward_cost(self.network, data.image_shape)
        window = config.inner_steps - config.truncation().first_taped(config.inner_steps)
        second = self.rule.second_pass(config.inner_steps)
        return InnerWork(
            flops=flops,
            activation_bytes=activation_bytes,
            batch=min(config.batch_syn or len(self.images), len(self.images)),
            steps=config.inner_steps + second,
            taped=window + min(window, second),
            window=window,
            outer_steps=config.outer_steps,
        )

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`."""
        return self.guard.advance(self)

    def attempt(self, retry: Retry) -> dict[str, float]:
        """See `Retryable`."""
        seed = retry.seed(self.task.seed.child("outer", self.step))
        segment = draw_segment(
            self.task.experts,
            epochs=self.config.expert_epochs,
            starts=self.config.starts(),
            generator=seed.child("segment").generator(),
            device=self.task.device,
        )
        problem = OuterProblem(
            loop=self._draw_loop(seed.child("loop").generator()),
            at=Learned(self.images, self.labels, self.step_size),
            theta_start=segment.start,
            loss=TrajectoryLoss(segment.start, segment.target),
            policy=self._policy,
            truncation=self.config.truncation(),
        )
        redraw = partial(self._draw_loop, seed.child("loop", 2).generator())
        with seed.child("layers").forked():  # dropout knows no generator
            update = self.rule(problem, seed.child("noise").generator(), redraw)
            measured = {**update.measured, "expert": float(segment.expert), "start_epoch": float(segment.epoch)}
            if self.config.diagnostics_every and self.step % self.config.diagnostics_every == 0:
                measured |= diagnose(problem, update.perturbation)
        self.guard.check_start(measured, {"the images": update.images, "the step size": update.step_size})
        self._descend(update.images, update.step_size, measured, retry.scale)
        self.step += 1
        return measured

    def _descend(self, images: torch.Tensor, step_size: torch.Tensor, measured: dict[str, float], scale: float) -> None:
        """v ← μ v + g; φ ← φ − lr v; α likewise, then projected to α ≥ α_min (an event where that changed it).

        The moves are multiplied by `scale`. Nothing is changed where the guard refuses them: then StepFailed is raised.
        """
        config = self.config
        images_velocity = config.momentum_images * self.images_velocity + images
        moved_images = self.images - scale * config.lr_images * images_velocity
        if config.log_step_size:
            step_size = step_size * self.step_size  # dF/d log α
        step_size_velocity = config.momentum_step_size * self.step_size_velocity + step_size
        move = scale * config.lr_step_size * step_size_velocity
        moved = self.step_size * (-move).exp() if config.log_step_size else self.step_size - move
        measured |= self.guard.check_move(self.images, moved_images, self.step_size, moved)
        self.images, self.images_velocity = moved_images, images_velocity
        self.step_size, self.step_size_velocity = moved.clamp(min=config.min_step_size), step_size_velocity
        measured["step_size"] = float(self.step_size)  # α after this step, as the loss is before it
        if float(moved) < config.min_step_size:
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

    def _draw_loop(self, generator: torch.Generator) -> InnerLoop:
        """N mini-batches and N augmentations, drawn now and fixed."""
        n = len(self.images)
        size = min(self.config.batch_syn or n, n)
        batches: list[torch.Tensor | None] = [None] * self.config.inner_steps
        if size < n:
            queue: list[torch.Tensor] = []
            for step in range(self.config.inner_steps):
                queue = queue or list(torch.randperm(n, generator=generator).split(size))
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
        self.guard.restore(state)

    def result(self) -> Learnt:
        """See `Condensation`."""
        return Learnt(self.images.cpu(), self.labels.cpu(), "hard", float(self.step_size))


def _identity(images: Images) -> Images:
    return images


def diagnose(problem: OuterProblem, perturbation: torch.Tensor) -> dict[str, float]:
    """On clean φ: sharpness L(φ + ε) − L(φ), and α's derivative by Eq. 10 and exactly (the paper's Figures 2 and 3).

    All run the N steps from the segment's start under the problem's draws.
    """
    at = problem.at
    clean = _final(problem, at)
    perturbed = _final(problem, at._replace(images=at.images + perturbation))
    leaf = clean.requires_grad_()
    loss = problem.loss(leaf)
    (outer_gradient,) = torch.autograd.grad(loss, leaf)
    first_order = first_order_step_size_derivative(outer_gradient, problem.theta_start, clean.detach(), at.step_size)
    exact = exact_step_size_derivative(problem.loop, at, problem.theta_start, problem.loss)
    return {
        "sharpness": float(problem.loss(perturbed) - loss.detach()),
        "loss_clean": float(loss.detach()),
        "step_size_derivative": float(first_order),
        "step_size_derivative_exact": float(exact),
    }


def _final(problem: OuterProblem, at: Learned) -> FlatParams:
    """θ_N without derivatives: N plain steps."""
    network = FlatNetwork(problem.loop.network)
    theta = problem.theta_start
    for step in range(problem.loop.steps):
        theta = theta.detach().requires_grad_()
        loss = problem.loop.loss(partial(network, theta), step, at)
        theta = theta - at.step_size * torch.autograd.grad(loss, theta)[0]
    return theta.detach()
