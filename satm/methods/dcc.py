"""DCC: dataset condensation with contrastive signals (Lee et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from satm.errors import ConfigError
from satm.methods.base import METHODS, Task
from satm.methods.checks import check_gradient_matching
from satm.methods.dc import DC, DCConfig
from satm.methods.direct.condensation import Init
from satm.methods.direct.method import DirectMethod
from satm.types import FlatParams, Images


@dataclass(frozen=True, slots=True, kw_only=True)
class DCCConfig(DCConfig):
    """DC with one gradient of all classes together (class-collective), after a warm-up with a gradient for each class:

        min_φ E_θ0 Σ_t D(mean_k ∇θ L(φ_k; θ_t), mean_k ∇θ L(T_k; θ_t))

    The symbols are those of `DCConfig`. A feature that all classes share raises the logit of class k in the gradient of
    class k, and lowers it in the gradients of the other classes. In the mean over the classes these parts largely
    cancel. What tells one class from another, the contrastive signal, remains.

    In the warm-up φ descends DC's loss, Σ_k D. These are the first `warmup_updates` updates of φ with each of the first
    `warmup_networks` networks.

    The defaults are those of DCC's code (main.py of Saehyung-Lee/DCC at 5073a44).
    """

    init: Init = "real"
    warmup_networks: int = 250  # the number of networks, from the first one, that have a warm-up
    warmup_updates: int = 10  # the updates of φ with such a network that match the gradient of each class

    def __post_init__(self) -> None:
        DCConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        for name in ("warmup_networks", "warmup_updates"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 0 (no warm-up) or more")

    def at_most(self, steps: int) -> Self:
        """See `DirectConfig`: with fewer networks, of which the same share has a warm-up."""
        fewer = DCConfig.at_most(self, steps)
        return replace(fewer, warmup_networks=self.warmup_networks * fewer.networks // self.networks)

    def collective(self, step: int) -> bool:
        """Whether update number `step` of φ, counted from 0, compares one gradient of all classes together."""
        network, update = divmod(step, self.updates)
        return network >= self.warmup_networks or update >= self.warmup_updates


class DCC(DC):
    """The condensation of DCC or, with `augment`, of DSAC."""

    def __init__(self, task: Task, config: DCCConfig, augment: str | None = None) -> None:
        super().__init__(task, config, augment)
        self.settings = config

    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """See `DirectCondensation`.

        After the warm-up the second value is K D for the K classes, so that the measured `loss`, a K-th of it, is D.
        """
        collective = self.settings.collective(self.step)
        gradient, total = self.class_gradients(theta, synthetic, real, collective=collective)
        return gradient, total * len(synthetic) if collective else total


METHODS.add(
    DirectMethod(
        name="dcc",
        summary="gradient matching of all classes together, after a warm-up (Lee et al. 2022)",
        cite=("lee2022dcc",),
        config=DCCConfig,
        recipe="dc",
        begin=DCC,
        check=check_gradient_matching,
    )
)
