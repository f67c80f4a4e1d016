"""A condensation that computes its outer loss on a batch of real images, after an inner loop on synthetic images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch

from satm import networks
from satm.augment import apply, draw
from satm.engine import FlatNetwork, LastSteps, OuterVariables, flatten, inner_path, make_step
from satm.matching import RealLoss
from satm.methods.base import Task
from satm.methods.outer import OuterRule, OuterUpdate, State
from satm.methods.real.config import RealLossConfig
from satm.methods.real.judged import JudgedLoss
from satm.methods.trajectory.condensation import Aim, TrajectoryCondensation
from satm.methods.trajectory.guard import StepFailed
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.rng import Seed
from satm.types import FlatParams, Images

WINDOW = "window."  # in a saved state, names with this prefix belong to the state of the window rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RealAim(Aim):
    """The `Aim` of an outer step with a loss on real images."""

    window: State  # the state of the window rule in this outer step


class RealLossCondensation(TrajectoryCondensation):
    """A `Condensation` that needs no experts. Each outer step does the following:

    1. It draws a fresh network with parameters θ_0, a batch of real images, and the window, which is the part of the
       inner loop that is differentiated (`WindowRule`). The inner loop ends with the last step of the window.
    2. It calls the outer rule, which returns the direction in which the synthetic images φ move in order to lower
       F(φ) = L_CE(θ_N(φ) on the real batch). θ_N(φ) are the parameters at the end of the inner loop on φ.
    3. It moves φ by Adam, and the step size α by its `StepSizeRule`.
    """

    def __init__(self, task: Task, config: RealLossConfig, rule: OuterRule | None = None) -> None:
        """Start a condensation of `task` under `config`; see `TrajectoryCondensation`."""
        super().__init__(task, config, rule)
        self.window_state = self.window_rule.init()

    def _run_under(self, config: UnrolledConfig, rule: OuterRule, *, full_batches_only: bool = False) -> None:
        super()._run_under(config, rule, full_batches_only=full_batches_only)
        self.window_rule = self.settings.window_rule()

    @property
    def settings(self) -> RealLossConfig:
        """The configuration, with the type of methods with a loss on real images."""
        return cast("RealLossConfig", self.config)

    def check(self) -> None:
        """Check nothing, because no experts are needed; see `TrajectoryCondensation`."""

    def at_rest(self) -> torch.Tensor:
        """The state of Adam before the first move of φ; see `TrajectoryCondensation`."""
        return self.settings.images_adam().at_rest(self.images)

    def aim(self, labels: State, seed: Seed) -> RealAim:
        """Draw the fresh network, the real batch and the window of an outer step; see `TrajectoryCondensation`."""
        norms = partial(self._gradient_norms, labels, seed.child("probe"))
        window = self.window_rule.draw(self.window_state, seed.child("place"), norms)
        loss = self._draw_loss(seed.child("real").generator())
        return RealAim(
            start=self._draw_network(seed),
            loss=JudgedLoss(loss) if self.window_rule.judges else loss,
            labels=labels,
            steps=window.place + window.size,
            truncation=LastSteps(window.size),
            measured=window.measured,
            window=window.state,
        )

    def _draw_network(self, seed: Seed) -> FlatParams:
        fresh = networks.plan_for(self.task.architecture, self.task.data).create(seed.child("network"))
        return flatten(fresh.parameters()).detach().to(self.images)

    def _draw_loss(self, generator: torch.Generator) -> RealLoss:
        config, data = self.settings, self.task.data
        chosen = torch.randperm(len(data.train), generator=generator)[: config.batch_real]
        images, classes = data.train.batch(chosen)
        if config.augment_real is not None:
            images = apply(images, draw(config.augment_real, len(images), data.image_shape, generator))
        network = FlatNetwork(self.network.train())
        return RealLoss(network, images.to(self.images), classes.to(self.images.device))

    def _gradient_norms(self, labels: State, seed: Seed) -> torch.Tensor:
        """Run a probe: a whole inner loop on φ from a fresh network, which nothing is differentiated through.

        Returns the norms ‖g_i‖ [N] of the gradients of its steps, on the CPU. Raises StepFailed if one is not finite.
        """
        loop = self._draw_loop(seed.child("loop").generator())
        how = self.task.parametrisation
        at = OuterVariables(how.decode(self.images), how.spread(self.label_rule.targets(labels)), self.step_size)
        step = self._policy.step or make_step(self.network)
        with seed.child("layers").forked():  # fixes torch's global random state, which dropout uses
            path = inner_path(step, loop, at, self._draw_network(seed), range(loop.steps))
            norms = torch.stack([gradient.norm() for i, _, gradient in path if i < loop.steps]).cpu()
        if not (finite := torch.isfinite(norms)).all():
            raise StepFailed("not_finite", int((~finite).sum()), "gradients of the probe not finite", at_start=True)
        return norms

    def finish(self, aim: Aim) -> Mapping[str, float]:
        """Tell the window rule how well the trained network did on the real batch; see `TrajectoryCondensation`."""
        if not isinstance(aim.loss, JudgedLoss):
            return {}
        hits, images = aim.loss.hits, len(aim.loss.loss.labels)
        assert hits is not None  # every outer rule computes the loss
        self.window_state = self.window_rule.judged(cast("RealAim", aim).window, hits, images)
        return {"real_accuracy": 100 * hits / images}

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        return {**super().state(), **{WINDOW + name: value for name, value in self.window_state.items()}}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        super().restore(state)
        self.window_state = {name: state.get(WINDOW + name, value) for name, value in self.window_state.items()}

    def move_images(self, velocity: torch.Tensor, gradient: torch.Tensor, scale: float) -> tuple[Images, torch.Tensor]:
        """φ after a move by Adam, and the new state of Adam; see `TrajectoryCondensation`."""
        return self.settings.images_adam()(self.images, velocity, gradient, scale)

    def _descend(
        self, update: OuterUpdate, images_velocity: torch.Tensor, labels: State, scale: float
    ) -> dict[str, float]:
        share = self.settings.share(self.step / self.steps)
        return super()._descend(update, images_velocity, labels, scale * share)

    def _draw_batches(self, n: int, steps: int, generator: torch.Generator) -> list[torch.Tensor | None]:
        parts = min(self.settings.steps_in_turn(self.seen_count), self.task.seen_ipc)
        if parts < 2:
            return super()._draw_batches(n, steps, generator)
        within = torch.arange(n, device=self.images.device) % self.task.seen_ipc  # an image's position in its class
        return [(within % parts == step % parts).nonzero().squeeze(1) for step in range(steps)]

    def rate(self) -> float | None:
        """None: the set has no learned step size for evaluations.

        α suits only the update rule of the inner loop, and an evaluation trains its networks by another rule.

        See `TrajectoryCondensation`.
        """
        return None
