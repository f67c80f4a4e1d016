"""A condensation by trajectory matching: drawing an outer problem, updating φ and α, saving and restoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch

from satm import networks
from satm.augment import apply, draw
from satm.engine import FlatNetwork, InnerLoop, OuterVariables
from satm.errors import ExpertError
from satm.experts import draw_segment
from satm.matching import TrajectoryLoss
from satm.methods.base import Outcome, Task
from satm.methods.outer import OuterProblem, OuterRule, OuterUpdate
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.diagnosis import diagnose
from satm.methods.trajectory.guard import Guard, Retry, StepFailed
from satm.types import Images, Labels


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
            at=OuterVariables(self.images, self.label_rule.targets(labels), self.step_size),
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

    def result(self) -> Outcome:
        """See `Condensation`; a rule that averages hands out the average, φ itself beside it as `raw`."""
        labels, kind, step_size = self.labels.cpu(), self.label_rule.kind, float(self.step_size)
        learnt = Outcome(self.images.cpu(), labels, kind, step_size)
        averaged = self.rule.averaged(self.outer_state)
        return learnt if averaged is None else Outcome(averaged.cpu(), labels, kind, step_size, {"raw": learnt})


def _identity(images: Images) -> Images:
    return images
