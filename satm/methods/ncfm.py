"""NCFM: dataset distillation with neural characteristic functions (Wang et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from satm.errors import ConfigError, Diverged
from satm.matching import characteristic, characteristic_distance
from satm.methods.adam import AdamMove
from satm.methods.base import METHODS, Task, augment_within
from satm.methods.checks import check_distribution_matching
from satm.methods.dance import DANCE, DANCEConfig
from satm.methods.direct.condensation import Moved, classes_at_once
from satm.methods.direct.frequencies import SHARED, LearnedFrequencies, normal_frequencies
from satm.methods.direct.method import DirectMethod
from satm.methods.dm import AT_ONCE
from satm.methods.momentum import MomentumSGD
from satm.rng import Seed
from satm.types import FlatParams, Images

WEIGHT = 300
"""The factor of the distance in the loss; the factor of the calibration is 1 (NCFM.py in NCFM's code)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NCFMConfig(DANCEConfig):
    """The settings of NCFM, which is DANCE with another distance between synthetic and real features.

    The distance is that of the characteristic functions of the features, and not that of their means:

        min_φ max_ψ Σ_k 300 E_{t ~ p_ψ} √(a (|Φ_k| − |Ψ_k|)² + (1 − a) 2 |Φ_k| |Ψ_k| (1 − cos(∠Φ_k − ∠Ψ_k)))

    Φ_k(t) and Ψ_k(t) are the characteristic functions of the synthetic and of the real features of class k, after each
    feature vector is scaled to length 1. The symbol a stands for `amplitude`. The angle ∠ is the phase of a complex
    number. t is a frequency, and p_ψ is the distribution from which the frequencies are drawn. It is N(0, 1), or a
    mixture given by a network with parameters ψ.

    φ is updated by Adam. The numbers are those of NCFM's code (config/ of gszfwsb/NCFM at de92fb8). That code draws
    t ~ N(0, 1) and learns no ψ.
    """

    outer_steps: int = 20_000
    batch_real: int = 1024
    lr_images: float = 0.004
    momentum_images: float = 0.9  # β₁ of Adam; β₂ is 0.999
    frequencies: int = 4096  # the number of frequencies t for each class in each outer step
    sampler: Literal["normal", "learned"] = "normal"  # t ~ N(0, 1), or a mixture learned so as to raise the distance
    lr_sampler: float = 1e-3  # the learning rate of ψ, the mixture's network; the momentum of ψ is 0.5
    amplitude: float = 0.5  # a, the weight of the amplitudes |Φ_k|, |Ψ_k| in the distance; the phases have 1 − a

    def __post_init__(self) -> None:
        DANCEConfig.__post_init__(self)  # not super(), for the reason given in `DMConfig`
        if self.frequencies < 1:
            raise ConfigError(f"frequencies {self.frequencies}: expected at least 1")
        if self.sampler == "learned" and self.frequencies <= SHARED:
            raise ConfigError(
                f"frequencies {self.frequencies}: sampler=learned needs more than {SHARED}, which share one scale"
            )
        if not 0 <= self.amplitude <= 1:
            raise ConfigError(f"amplitude {self.amplitude}: expected 0 to 1")
        if not (math.isfinite(self.lr_sampler) and self.lr_sampler > 0):
            raise ConfigError(f"lr_sampler {self.lr_sampler}: expected a finite number above 0")


class NCFM(DANCE):
    """The condensation of NCFM.

    Each outer step blends the start and the end of an expert, updates φ 1 + `calibrations` times, and updates ψ once if
    ψ is learned.
    """

    def __init__(self, task: Task, config: NCFMConfig) -> None:
        """Raises ExpertError if the task has no experts."""
        super().__init__(task, config)
        self.settings, self.adam = config, AdamMove(lr=config.lr_images, beta1=config.momentum_images)
        self.velocity = self.adam.at_rest(self.images)
        with torch.no_grad():
            one = torch.zeros((1, 1, *task.data.image_shape), device=task.device)
            self.size = self.embedded(self.parameters(task.seed), one).shape[2]
        rate = MomentumSGD(config.lr_sampler, 0.5)
        learned = config.sampler == "learned"
        own = task.seed.child("sampler")
        self.learned = LearnedFrequencies(self.size, rate, own, task.device) if learned else None
        self._draws, self.slope = task.seed, torch.zeros(())

        embedded = self.embedded

        def seen(images: Images, theta: FlatParams, t: torch.Tensor) -> torch.Tensor:
            return characteristic(F.normalize(embedded(theta, images), dim=2), t)

        def distance(images: Images, t: torch.Tensor, theta: FlatParams, real: Images) -> torch.Tensor:
            both = characteristic_distance(seen(images, theta, t), seen(real, theta, t), config.amplitude)
            return WEIGHT * both

        def compare(
            images: Images, t: torch.Tensor, theta: FlatParams, real: Images
        ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
            towards = (0, 1) if learned else (0,)
            gradients, value = torch.func.grad_and_value(distance, argnums=towards)(images, t, theta, real)
            return gradients, value

        self.compare = self.fused(compare)

    def parameters(self, seed: Seed) -> FlatParams:
        """The parameters θ of this outer step; see `DirectCondensation`. Also stores the seed for `frequencies`."""
        self._draws = seed.child("frequencies")
        return super().parameters(seed)

    @torch.no_grad()
    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """The gradient and the value of the distance of the characteristic functions; see `DirectCondensation`."""
        classes = len(synthetic)
        k = classes_at_once(classes, synthetic.shape[1] + real.shape[1], AT_ONCE)
        found, total, slope = [], theta.new_zeros(()), theta.new_zeros(())
        for some in torch.arange(classes, device=synthetic.device).split(k):
            with torch.enable_grad():
                psi = None if self.learned is None else self.learned.psi.detach().to(theta).requires_grad_()
                t = torch.stack([self.frequencies(psi, int(label)) for label in some]).to(theta)
            (gradient, *of_t), value = self.compare(synthetic[some], t.detach(), theta, real[some])
            if psi is not None:
                slope = slope + torch.autograd.grad(t, psi, of_t[0])[0]
            found.append(gradient)
            total = total + value
        self.slope = slope
        return torch.cat(found), total

    def frequencies(self, psi: torch.Tensor | None, label: int) -> torch.Tensor:
        """The frequencies t [F, D] of class `label` in this outer step: F frequencies, D features.

        `psi` is ψ, or None if the frequencies are drawn from N(0, 1).
        """
        count, seed = self.settings.frequencies, self._draws.child(label)
        if self.learned is None or psi is None:
            return normal_frequencies(count, self.size, seed)
        return self.learned.draw(psi, count, seed)

    def updated(self, at: Moved, gradient: Images) -> tuple[Images, torch.Tensor]:
        """The new φ and the new state of Adam; see `DirectCondensation`."""
        return self.adam(at.images, at.velocity, gradient)

    def follow(self, moved: Moved, seed: Seed) -> Moved:
        """Do the calibrations, and update ψ if it is learned; see `DirectCondensation`."""
        moved = super().follow(moved, seed)
        if self.learned is not None:
            psi, velocity = self.learned.ascended(self.slope)
            if not torch.isfinite(psi).all():
                raise Diverged(f"outer step {self.step + 1}: the sampler's update not finite; lower lr_sampler (--set)")
            self.learned.psi, self.learned.velocity = psi, velocity
        return moved

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that `restore` needs; see `Condensation` in base.py."""
        return super().state() | ({} if self.learned is None else self.learned.state())

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`; see `Condensation` in base.py."""
        super().restore(state)
        if self.learned is not None:
            self.learned.restore(state)


METHODS.add(
    DirectMethod(
        name="ncfm",
        summary="characteristic functions on blends of experts, calibrated by their ends (Wang et al. 2025)",
        cite=("wang2025ncfm",),
        config=NCFMConfig,
        data_settings=augment_within(NCFMConfig, "augment"),
        recipe="dm",
        expert_epochs=NCFMConfig.stored_epochs,
        expert_count=20,
        begin=NCFM,
        check=check_distribution_matching,
    )
)
