"""A pool of networks that are trained on the synthetic set while it is learned (FRePo, Zhou et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from satm.methods.adam import AdamMove
from satm.rng import Seed
from satm.types import FlatParams


class Member(NamedTuple):
    """One network of a pool."""

    theta: FlatParams  # θ [P], its parameters
    moments: torch.Tensor  # [2P + 2], the state of its Adam
    age: int  # the number of its training steps, counted from `NetworkPool`'s first age


class NetworkPool:
    """Networks of different ages, which are trained by Adam, one step at a time.

    A network whose age is above `updates` is not trained again: a fresh network of age 0 takes its place. At the start
    all networks are fresh, but network i of m has the age i · ⌊`updates`/m⌋, so that they are not all replaced at the
    same time. Source: lib/datadistillation/frepo.py of yongchao97/FRePo at 9b98c65.

    `fresh` gives the parameters [P] of a fresh network, given a seed.
    """

    def __init__(
        self, size: int, updates: int, adam: AdamMove, fresh: Callable[[Seed], FlatParams], seed: Seed
    ) -> None:
        self.updates, self.adam, self.fresh = updates, adam, fresh
        first = [self.begin(seed.child(i), age=i * (updates // size)) for i in range(size)]
        self._thetas = torch.stack([each.theta for each in first])
        self._moments = torch.stack([each.moments for each in first])
        self._ages = torch.tensor([each.age for each in first])

    def __len__(self) -> int:
        return len(self._ages)

    def __getitem__(self, index: int) -> Member:
        return Member(self._thetas[index], self._moments[index], int(self._ages[index]))

    def begin(self, seed: Seed, *, age: int = 0) -> Member:
        """Return a fresh network."""
        theta = self.fresh(seed)
        return Member(theta, self.adam.at_rest(theta), age)

    def after_a_step(self, index: int, gradient: Callable[[FlatParams], FlatParams], seed: Seed) -> Member:
        """Return network `index` after its next training step, or a fresh network drawn from `seed` in its place.

        `gradient` gives the gradient [P] of the training loss at θ. The pool itself is not changed.
        """
        theta, moments, age = self[index]
        if age > self.updates:
            return self.begin(seed)
        return Member(*self.adam(theta, moments, gradient(theta)), age + 1)

    def replace(self, index: int, member: Member) -> None:
        """Put `member` in the place of network `index`."""
        self._thetas[index], self._moments[index], self._ages[index] = member.theta, member.moments, member.age

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that `restore` needs."""
        held = {"pool": self._thetas, "pool_moments": self._moments, "pool_ages": self._ages}
        return {name: value.cpu().clone() for name, value in held.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`."""
        device = self._thetas.device
        self._thetas, self._moments = (state[name].to(device, copy=True) for name in ("pool", "pool_moments"))
        self._ages = state["pool_ages"].clone()
