"""A condensation whose outer loss is the cross-entropy of θ_N on a batch of real images."""

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
    """A `Condensation` without experts. One outer step:

    1. draws a fresh network θ_0, a batch of real images, and a place for the window: the inner loop ends with it;
    2. asks the outer rule for the direction in which φ descends F(φ) = L_CE(θ_N(φ) on the real batch);
    3. moves φ by Adam and α by its `StepSizeRule`.
    """

    @property
    def settings(self) -> RealLossConfig:
        """The configuration."""
        return cast("RealLossConfig", self.config)

    def check(self) -> None:
        """See `TrajectoryCondensation`: nothing is needed."""

    def at_rest(self) -> torch.Tensor:
        """See `TrajectoryCondensation`."""
        return self.settings.images_adam().at_rest(self.images)

    def aim(self, labels: State, seed: Seed) -> Aim:
        """See `TrajectoryCondensation`."""
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
        """See `TrajectoryCondensation`: by Adam."""
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
        within = torch.arange(n, device=self.images.device) % self.task.seen_ipc  # the position within its class
        return [(within % parts == step % parts).nonzero().squeeze(1) for step in range(steps)]

    def rate(self) -> float | None:
        """See `TrajectoryCondensation`: none, because networks of an evaluation are trained by another rule."""
        return None
