"""TGDD: distribution matching along expert trajectories, with a constraint on the classes (Ran et al. 2026)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from satm.errors import ConfigError
from satm.methods.base import METHODS, Task, augment_within
from satm.methods.checks import check_distribution_matching
from satm.methods.dance import DANCE, DANCEConfig
from satm.methods.direct.method import DirectMethod
from satm.rng import Seed
from satm.types import FlatParams, Images


@dataclass(frozen=True, slots=True, kw_only=True)
class TGDDConfig(DANCEConfig):
    """DM on a snapshot of an expert, plus the cross-entropy at a snapshot that is the same or a little later.

        s uniform in 0 … T, e uniform in s … min(s + `interval` − 1, T), E one of the experts, T = `expert_epochs`
        φ descends Σ_k (‖mean ψ_s(A(φ_k, ω)) − mean ψ_s(A(T_k, ω))‖² + w mean L_CE(A(φ_k, ω); θ^E_e))

    φ_k and T_k are the synthetic and the real images of class k (the T of `expert_epochs` is a number of epochs). ψ_s
    is the network with the parameters θ^E_s and without its last layer. A is the augmentation, and ω is its random
    draw, the same in both terms. w is `weight`. The default values are those of TGDD's code (TGDD.py and arguments/ of
    FlyFinley/TGDD at 39ac9c2). If `weight` is 0, this is DM on snapshots of experts.
    """

    interval: int = 7  # the number of epochs from which e is drawn, beginning at s
    weight: float = 1.0  # w, the weight of the cross-entropy beside the distance of the means
    calibrations: int = 0  # DANCE's updates by the cross-entropy alone; TGDD has none

    def __post_init__(self) -> None:
        DANCEConfig.__post_init__(self)  # not super(), for the reason given in `DMConfig`
        if self.interval < 1:
            raise ConfigError(f"interval {self.interval}: expected at least 1 epoch")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"weight {self.weight}: expected a finite number of 0 or more")
        if self.calibrations:
            raise ConfigError(
                f"calibrations {self.calibrations}: tgdd adds the cross-entropy to the distance; set weight instead"
            )

    def images_a_step(self, classes: int, ipc: int) -> float:
        """See `DirectConfig`."""
        return DANCEConfig.images_a_step(self, classes, ipc) + (classes * ipc if self.weight else 0)


class TGDD(DANCE):
    """A condensation by TGDD. Each outer step draws two snapshots of one expert, and φ is updated once."""

    def __init__(self, task: Task, config: TGDDConfig) -> None:
        """Raise ExpertError if the task has no experts."""
        self.settings = config
        super().__init__(task, config)

    def chosen(self, seed: Seed) -> tuple[FlatParams, FlatParams]:
        """Return the snapshots θ^E_s [P] and θ^E_e [P] of this outer step."""
        generator, last = seed.generator(), self.settings.expert_epochs

        def draw(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (), generator=generator))

        expert = self.task.experts[draw(0, len(self.task.experts) - 1)]
        first = draw(0, last)
        later = draw(first, min(first + self.settings.interval - 1, last))
        return expert.snapshot(first).to(self.images), expert.snapshot(later).to(self.images)

    @torch.no_grad()
    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """See `DirectCondensation`: the squared distance of the mean features, plus w times the mean of L_CE."""
        gradient, total = super().matched(theta, synthetic, real)
        if not self.settings.weight:
            return gradient, total
        constraint, value = self.cross_entropy(synthetic, self.second)
        return gradient + self.settings.weight * constraint, total + self.settings.weight * value


METHODS.add(
    DirectMethod(
        name="tgdd",
        summary="distribution matching on snapshots of experts, with their cross-entropy (Ran et al. 2026)",
        cite=("ran2026tgdd",),
        config=TGDDConfig,
        data_settings=augment_within(TGDDConfig, "augment"),
        recipe="dm",
        expert_epochs=TGDDConfig.stored_epochs,
        expert_count=5,
        begin=TGDD,
        check=check_distribution_matching,
    )
)
