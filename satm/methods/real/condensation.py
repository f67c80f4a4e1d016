"""A condensation that computes its outer loss on a batch of real images, after an inner loop on synthetic images."""

from __future__ import annotations

from typing import cast

import torch

from satm import networks
from satm.augment import apply, draw
from satm.engine import FlatNetwork, flatten
from satm.matching import RealLoss
from satm.methods.outer import OuterUpdate, State
from satm.methods.real.config import RealLossConfig
from satm.methods.trajectory.condensation import Aim, TrajectoryCondensation
from satm.rng import Seed
from satm.types import Images


class RealLossCondensation(TrajectoryCondensation):
    """A `Condensation` that needs no experts. Each outer step does the following:

    1. It draws a fresh network with parameters θ_0, a batch of real images, and the place of the window, which is the
       part of the inner loop that is differentiated. The inner loop ends with the last step of the window.
    2. It calls the outer rule, which returns the direction in which the synthetic images φ move in order to lower
       F(φ) = L_CE(θ_N(φ) on the real batch). θ_N(φ) are the parameters at the end of the inner loop on φ.
    3. It moves φ by Adam, and the step size α by its `StepSizeRule`.
    """

    @property
    def settings(self) -> RealLossConfig:
        """The configuration, with the type of methods with a loss on real images."""
        return cast("RealLossConfig", self.config)

    def check(self) -> None:
        """Check nothing, because no experts are needed; see `TrajectoryCondensation`."""

    def at_rest(self) -> torch.Tensor:
        """The state of Adam before the first move of φ; see `TrajectoryCondensation`."""
        return self.settings.images_adam().at_rest(self.images)

    def aim(self, labels: State, seed: Seed) -> Aim:
        """Draw the fresh network, the real batch and the window of an outer step; see `TrajectoryCondensation`."""
        config, data = self.settings, self.task.data
        places = config.places()
        place = int(torch.randint(places.start, places.stop, (), generator=seed.child("place").generator()))
        fresh = networks.plan_for(self.task.architecture, data).create(seed.child("network"))
        generator = seed.child("real").generator()
        chosen = torch.randperm(len(data.train), generator=generator)[: config.batch_real]
        images, classes = data.train.batch(chosen)
        if config.augment_real is not None:
            images = apply(images, draw(config.augment_real, len(images), data.image_shape, generator))
        network = FlatNetwork(self.network.train())
        return Aim(
            start=flatten(fresh.parameters()).detach().to(self.images),
            loss=RealLoss(network, images.to(self.images), classes.to(self.images.device)),
            labels=labels,
            steps=place + config.inner_steps - config.iota,
            measured={"window_start": float(place)},
        )

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
