"""DSAC: DCC under differentiable siamese augmentation (Lee et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.augment import DSA, STRATEGY
from satm.methods.base import METHODS, Condensation, Task
from satm.methods.checks import check_gradient_matching
from satm.methods.dcc import DCC, DCCConfig
from satm.methods.direct.method import DirectMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class DSACConfig(DCCConfig):
    """DCC with the augmented images A(φ_k, ω) and A(T_k, ω) in place of φ_k and T_k.

    The symbols are those of `DSAConfig` and `DCCConfig`. As in DSA, each class and step has one draw ω, and the
    training of the network between two updates of φ is augmented too.
    """

    augment: str | None = STRATEGY  # augmentations in DSA's notation; null: none, which gives DCC

    def __post_init__(self) -> None:
        DCCConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.augment is not None:
            DSA(self.augment)


def _begin(task: Task, config: DSACConfig) -> Condensation:
    return DCC(task, config, config.augment)


METHODS.add(
    DirectMethod(
        name="dsac",
        summary="gradient matching of all classes together under siamese augmentation (Lee et al. 2022)",
        cite=("lee2022dcc",),
        config=DSACConfig,
        recipe="dm",
        data_settings=lambda traits: {"augment": traits.augment},
        begin=_begin,
        check=check_gradient_matching,
    )
)
