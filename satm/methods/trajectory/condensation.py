"""The condensation of all trajectory-matching methods.

It draws the random inputs of each outer step, updates the images φ, the labels and the step size α, and can save and
restore its state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeAlias, cast

import torch

from satm import networks
from satm.augment import apply, draw
from satm.engine import FlatNetwork, InnerLoop, OuterVariables, Truncation, flatten, kept_bytes
from satm.errors import ExpertError
from satm.experts import Segment, draw_segment
from satm.matching import TrajectoryLoss
from satm.methods.base import Outcome, Task
from satm.methods.momentum import MomentumSGD
from satm.methods.outer import OuterProblem, OuterRule, OuterUpdate, Redraw, State
from satm.methods.trajectory.acting import Acting
from satm.methods.trajectory.config import TrajectoryConfig
from satm.methods.trajectory.diagnosis import diagnose
from satm.methods.trajectory.guard import Guard, Retry, StepFailed
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.rng import Seed
from satm.types import FlatParams, Images, Labels

Ask: TypeAlias = Callable[[OuterProblem, torch.Generator, Redraw, State], OuterUpdate]
"""An outer rule, or a function with the same arguments that calls an outer rule; see `OuterRule.__call__`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """The rule and the states with which one try at an outer step begins. (If a try fails, the guard tries again.)"""

    ask: Ask  # the outer rule that the try calls
    images_velocity: torch.Tensor  # the state of φ's optimiser; for SGD with momentum the velocity [n, C, H, W]
    label_state: State  # the state of the label rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """The start of the inner loop of one outer step, its length, and the loss that is computed at its end."""

    start: FlatParams  # θ_0 [P], the parameters at which the inner loop starts
    loss: Callable[[FlatParams], torch.Tensor]  # L, a function of θ_N [P] that returns a 0-dimensional tensor
    labels: State  # the state of the label rule for this outer step
    steps: int  # N, the number of inner steps
    truncation: Truncation  # says which inner steps are differentiated
    measured: Mapping[str, float]  # further metrics of this outer step, by name


class TrajectoryCondensation:
    """A `Condensation` that matches expert trajectories. Each outer step does the following:

    1. It draws a segment θ_t → θ_{t+M} of an expert, and mini-batches and augmentations for N inner steps. θ_t are the
       expert's parameters after t epochs.
    2. It calls the outer rule, which returns the derivatives of the matching loss
       F(φ) = ‖θ_N(φ) − θ_{t+M}‖²/‖θ_t − θ_{t+M}‖². θ_N(φ) are the parameters after the N inner steps on φ. A
       sharpness-aware rule takes the derivative with respect to φ at a perturbed φ.
    3. It moves φ against its derivative by SGD with momentum, the labels by their `LabelRule`, and the step size α by
       its `StepSizeRule`.

    The guard (guard.py) checks the result, and tries a failed outer step again. A subclass may override `beginning`.
    The tensors of the state are replaced by new ones and never changed in place, so that a failed try changes nothing.
    """

    def __init__(self, task: Task, config: UnrolledConfig, rule: OuterRule | None = None) -> None:
        """Start a condensation of `task` under `config`. If `rule` is given, it replaces the outer rule of `config`."""
        self.task = task
        self._run_under(config, config.outer.over(config.outer_steps) if rule is None else rule)
        self.step, self.steps = 0, config.outer_steps
        self.check()
        # The initial weights of this network do not matter, because no inner loop starts from them.
        plan = networks.plan_for(task.architecture, task.data)
        self.network = plan.create(task.seed.child("net")).to(task.device)
        images, labels = config.begin_with(task, FlatNetwork(self.network))
        self.images: Images = images.to(task.device)
        self.images_velocity = self.at_rest()
        self.label_state = self.label_rule.init(labels.to(task.device))
        self.step_size_state = self.step_size_rule.init(config.step_size, task.device)
        self.outer_state = self.rule.init(self.images)
        self.engine, _ = config.choose_engine(self.network, task.data.image_shape, self.seen_count)
        self.notes: Mapping[str, str] = {"engine": str(self.engine), **self._perturbation()}
        self._policy = self.engine.policy(self.network, task.notify)

    def check(self) -> None:
        """Raise ExpertError if the task has no experts, or experts with fewer epochs than the method needs."""
        check_experts(self.task, self.matching)

    def at_rest(self) -> torch.Tensor:
        """The state of φ's optimiser before the first move."""
        return torch.zeros_like(self.images)

    def _run_under(self, config: UnrolledConfig, rule: OuterRule, *, full_batches_only: bool = False) -> None:
        """Set the configuration, the rules, the optimiser of φ and the guard, which decide how an outer step is run."""
        self.config, self.rule, self.full_batches_only = config, rule, full_batches_only
        self.images_sgd = MomentumSGD(config.lr_images, config.momentum_images)
        self.label_rule = config.label_rule()
        self.step_size_rule = config.step_size_rule()
        self.guard = Guard(config.guard, step_size=config.step_size)
        self.acting = Acting(rule, config.outer_steps)

    def _perturbation(self) -> dict[str, str]:
        """A note, by name, about the length of the rule's perturbation at the start; empty if the rule has none."""
        length = self.rule.perturbation_length()
        if length is None:
            return {}
        return {"perturbation": f"perturbation {length.spell(float(self.images.norm()))} of {self.rule.rule}"}

    def under(self, config: UnrolledConfig, *, full_batches_only: bool = False) -> Self:
        """A copy of this condensation, in the same state, that runs its outer steps under `config`.

        The outer steps of the copy do not change this condensation. Both share the network, the engine and the experts.
        The copy has a new guard, which has no earlier state to which it could return. If `full_batches_only` is true,
        the copy leaves out the smaller mini-batch at the end of a pass over the images. `config` must have the same
        kinds of outer rule, label rule and step-size rule, because the copied state belongs to these rules.
        """
        other = copy(self)
        other._run_under(config, config.outer.over(config.outer_steps), full_batches_only=full_batches_only)
        return other

    @property
    def seen_count(self) -> int:
        """The number of images that the network sees. Several of them may come from one stored image of φ."""
        return len(self.images) * self.task.parametrisation.each

    def kept_activations(self) -> int:
        """The bytes of the activations that a differentiated inner step keeps; 0 if no step keeps any.

        One inner step is computed to find this out.
        """
        step, size = self._policy.step, self.config.images_at_once(self.seen_count)
        if not self.engine.kept_steps or step is None or step.halves is None:
            return 0
        images = self.images.new_zeros(size, *self.task.data.image_shape)
        label = self.label_rule.targets(self.label_state)[:1]
        labels = label.expand(size, *label.shape[1:]).contiguous()
        return kept_bytes(step.halves.gradient(flatten(self.network.parameters()).detach(), images, labels)[1])

    @property
    def labels(self) -> Labels:
        """The present labels: classes, probabilities or logits, according to the label rule."""
        return self.label_state["labels"]

    @property
    def step_size(self) -> torch.Tensor:
        """The present step size α: 0-dimensional, or [N] if each inner step has its own."""
        return self.step_size_state["step_size"]

    def advance(self) -> Mapping[str, float]:
        """Do one outer step, and return its metrics; see `Condensation`."""
        return self.guard.advance(self)

    def beginning(self, retry: Retry) -> Beginning:
        """The rule and the states with which the try `retry` at an outer step begins.

        A subclass can override this method to call the outer rule more than once, or to keep some images unchanged.
        """
        return Beginning(ask=self.rule, images_velocity=self.images_velocity, label_state=self.label_state)

    def attempt(self, retry: Retry) -> dict[str, float]:
        """Try the next outer step, and return its metrics; see `Retryable` in guard.py."""
        seed = retry.seed(self.task.seed.child("outer", self.step))
        start = self.beginning(retry)
        aim = self.aim(start.label_state, seed)
        problem, labels = self._problem(aim, seed), aim.labels
        redraw = partial(self._draw_loop, seed.child("loop", 2).generator(), steps=aim.steps)
        with seed.child("layers").forked():  # fixes torch's global random state, which dropout uses
            update = start.ask(problem, seed.child("noise").generator(), redraw, self.outer_state)
            measured = {**update.measured, **aim.measured}
            if self.config.diagnostics_every and self.step % self.config.diagnostics_every == 0:
                measured |= diagnose(problem, update.perturbation)
        derivatives = {"the images": update.images, "the labels": update.labels, "the step size": update.step_size}
        self.guard.check_start(measured, derivatives)
        if self.config.accepts(measured["loss"]):
            measured |= self._descend(update, start.images_velocity, labels, retry.scale)
        else:
            self.images_velocity, self.label_state = start.images_velocity, start.label_state
            measured |= {"step_size": float(self.step_size.mean()), "event.skipped_at_loss": measured["loss"]}
        measured |= self.finish(aim)
        idle = self.acting.see(self.step, measured)
        if idle is not None:
            self.task.notify(idle)
        self.step += 1
        return measured

    def finish(self, aim: Aim) -> Mapping[str, float]:
        """Keep what a successful outer step leaves behind besides its moves, and return its further metrics by name.

        `aim` is the `Aim` of the outer step. Here there is nothing to keep. A subclass can override this method.
        """
        return {}

    def _descend(
        self, update: OuterUpdate, images_velocity: torch.Tensor, labels: State, scale: float
    ) -> dict[str, float]:
        """Move φ, the labels and α, with all moves multiplied by `scale`. Returns the metrics of the moves.

        Raises StepFailed if the guard does not allow the moves. Nothing is changed then.
        """
        images, images_velocity = self.move_images(images_velocity, update.images, scale)
        step_size = self.step_size_rule.descend(self.step_size_state, update.step_size, scale)
        labels = self.label_rule.descend(labels, update.labels, scale)
        measured = self.guard.check_move(self.images, images, self.step_size, step_size["step_size"], labels)
        self.images, self.images_velocity, self.label_state = images, images_velocity, labels
        self.outer_state = self.rule.moved(update.state, images)
        self.step_size_state = self.step_size_rule.projected(step_size)
        measured["step_size"] = float(self.step_size.mean())  # α after this step; the metric `loss` is F before it
        if not torch.equal(self.step_size, step_size["step_size"]):
            measured["event.step_size_projected_from"] = float(step_size["step_size"].mean())
        return measured

    def move_images(self, velocity: torch.Tensor, gradient: torch.Tensor, scale: float) -> tuple[Images, torch.Tensor]:
        """φ after a move against `gradient`, and the new state of φ's optimiser. `scale` multiplies the move."""
        return self.images_sgd(self.images, velocity, gradient, scale)

    def advice(self, failed: StepFailed, retry: Retry) -> str:
        """Which settings the user can change after the failure `failed`; see `Retryable` in guard.py."""
        config, alpha = self.config, float(self.step_size.mean())
        of_alpha = config.alpha_setting()
        rates = "lower " + " or ".join(
            f"{name} ({getattr(config, name):g})" for name in dict.fromkeys(("lr_images", of_alpha)) if name is not None
        )
        match failed.what:
            case "update_ratio":
                most = config.lr_images * retry.scale * failed.limit / failed.value
                return f"lower lr_images ({config.lr_images:g}) below about {most:.1g}"
            case "step_size_growth" if of_alpha == "lr_step_size":
                return f"lower lr_step_size ({config.lr_step_size:g}), or learn its logarithm (log_step_size=true)"
            case _ if failed.at_start:
                start = f"the inner loop diverges at step size {alpha:.3g}: "
                if self.step == 0:
                    return f"{start}lower step_size ({config.step_size:g}) or inner_steps ({config.inner_steps})"
                return f"{start}{rates}, or inner_steps ({config.inner_steps})"
            case _:
                return rates

    @property
    def matching(self) -> TrajectoryConfig:
        """The configuration, with the type of methods that use segments of experts."""
        return cast("TrajectoryConfig", self.config)

    def _draw_segment(self, generator: torch.Generator) -> Segment:
        starts = self.matching.starts_at(self.step)
        return draw_segment(
            self.task.experts,
            epochs=self.matching.expert_epochs,
            starts=starts.stop,
            first=starts.start,
            generator=generator,
            device=self.task.device,
        )

    def aim(self, labels: State, seed: Seed) -> Aim:
        """Draw the start of the inner loop and the loss at its end for one outer step. All draws come from `seed`."""
        segment = self._draw_segment(seed.child("segment").generator())
        seen = self.task.parametrisation.decode(self.images)
        return Aim(
            start=segment.start,
            loss=TrajectoryLoss(segment.start, segment.target, self.matching.first_matched(len(segment.target))),
            labels=self.label_rule.taught(labels, FlatNetwork(self.network), segment.target, seen),
            steps=self.config.inner_steps,
            truncation=self.config.truncation(),
            measured={"expert": float(segment.expert), "start_epoch": float(segment.epoch)},
        )

    def _problem(self, aim: Aim, seed: Seed) -> OuterProblem:
        return OuterProblem(
            loop=self._draw_loop(seed.child("loop").generator(), steps=aim.steps),
            at=OuterVariables(self.images, self.label_rule.targets(aim.labels), self.step_size),
            theta_start=aim.start,
            loss=aim.loss,
            policy=self._policy,
            parametrisation=self.task.parametrisation,
            truncation=aim.truncation,
            progress=self.step / self.steps,
            derivative=self.config.step_size_derivative,
        )

    def _draw_loop(
        self, generator: torch.Generator, count: int | None = None, *, steps: int | None = None
    ) -> InnerLoop:
        """Draw an inner loop: N mini-batches and N augmentations, which are fixed from then on.

        `count` is the number of stored images that the loop trains on; None: all. `steps` is N; None: the number of
        inner steps of the configuration.
        """
        n = self.seen_count if count is None else count * self.task.parametrisation.each
        batches = self._draw_batches(n, self.config.inner_steps if steps is None else steps, generator)
        transforms: list[Callable[[Images], Images]] = [_identity] * len(batches)
        if self.config.augment is not None:
            for step, batch in enumerate(batches):
                drawn = draw(
                    self.config.augment, n if batch is None else len(batch), self.task.data.image_shape, generator
                )
                transforms[step] = partial(apply, draw=drawn)
        rule = self.config.update_rule()
        return InnerLoop(network=self.network, batches=tuple(batches), transforms=tuple(transforms), rule=rule)

    def _draw_batches(self, n: int, steps: int, generator: torch.Generator) -> list[torch.Tensor | None]:
        """Draw the mini-batches of `steps` inner steps, each as the indices of its images; None means all n images.

        The mini-batches pass over all n images in a random order, and then again in a new random order.
        """
        size = min(self.config.batch_syn or n, n)
        batches: list[torch.Tensor | None] = [None] * steps
        if size < n:
            queue: list[torch.Tensor] = []
            for step in range(steps):
                queue = queue or list(torch.randperm(n, generator=generator).split(size))
                if self.full_batches_only:
                    queue = [batch for batch in queue if len(batch) == size]
                batches[step] = queue.pop(0).to(self.task.device)
        return batches

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that `restore` needs, by name; see `Condensation`."""
        return {
            "step": torch.tensor(self.step),
            "images": self.images.cpu(),
            "images_velocity": self.images_velocity.cpu(),
            **{name: value.cpu() for name, value in self.step_size_state.items()},
            **{name: value.cpu() for name, value in self.label_state.items()},
            **{f"outer.{name}": value.cpu() for name, value in self.outer_state.items()},
            **self.acting.state(),
            **self.guard.state(),
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`; see `Condensation`.

        A tensor that is missing in `state` keeps its initial value. This happens with the option `--from`, by which a
        new run begins at the saved state of another run: that run may have had other rules, which have other tensors.
        """
        device = self.task.device
        self.step = int(state["step"])
        self.images = state["images"].to(device)
        self.images_velocity = state["images_velocity"].to(device)
        self.step_size_state = {n: state.get(n, value).to(device) for n, value in self.step_size_state.items()}
        self.label_state = {n: state.get(n, value).to(device) for n, value in self.label_state.items()}
        self.outer_state = {n: state.get(f"outer.{n}", value).to(device) for n, value in self.outer_state.items()}
        self.acting.restore(state)
        self.guard.restore(state)

    def rate(self) -> float | None:
        """The learned step size, with which an evaluation can train.

        A subclass may return None. An evaluation then chooses its learning rate.
        """
        return float(self.step_size)

    def result(self) -> Outcome:
        """The synthetic set after the outer steps done so far; see `Condensation`.

        If the outer rule averages φ over the outer steps, the images of the set are this average. φ itself is then
        returned as a second set with the name `raw`.
        """
        labels, kind, step_size = self.labels.cpu(), self.label_rule.kind, self.rate()
        learnt = Outcome(self.images.cpu(), labels, kind, step_size)
        averaged = self.rule.averaged(self.outer_state)
        return learnt if averaged is None else Outcome(averaged.cpu(), labels, kind, step_size, {"raw": learnt})


def check_experts(task: Task, config: TrajectoryConfig) -> None:
    """Raise ExpertError if `task` has no experts, or if an expert has fewer epochs than `config` needs."""
    stored = min((expert.epochs for expert in task.experts), default=-1)
    if stored < config.stored_epochs():
        have = "there are no experts" if stored < 0 else f"an expert has {stored}"
        raise ExpertError(
            f"{config.epochs_asked()} need experts of {config.stored_epochs()} epochs, {have}; train them on, or "
            "lower one of these"
        )


def _identity(images: Images) -> Images:
    return images
