"""DSA: DC under differentiable siamese augmentation (Zhao and Bilen 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.augment import DSA, STRATEGY
from satm.methods.base import METHODS, Condensation, Task
from satm.methods.checks import check_gradient_matching
from satm.methods.dc import DC, DCConfig
from satm.methods.direct.condensation import Init
from satm.methods.direct.method import DirectMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class DSAConfig(DCConfig):
    """DC with the distance D(∇θ L(A(φ_k, ω); θ), ∇θ L(A(T_k, ω); θ)).

    The other symbols are those of `DCConfig`. A is the augmentation. In each step, each class has one random draw ω,
    which is the same for synthetic and real images (siamese). The training of the network between two updates of φ is
    augmented too, with one draw for each image.
    """

    init: Init = "real"
    augment: str | None = STRATEGY  # augmentations in DSA's notation; null: none, which gives DC

    def __post_init__(self) -> None:
        DCConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.augment is not None:
            DSA(self.augment)


def _begin(task: Task, config: DSAConfig) -> Condensation:
    return DC(task, config, config.augment)


METHODS.add(
    DirectMethod(
        name="dsa",
        summary="gradient matching under siamese augmentation (Zhao and Bilen 2021)",
        cite=("zhao2021dsa",),
        config=DSAConfig,
        recipe="dm",
        data_settings=lambda traits: {"augment": traits.augment},
        begin=_begin,
        check=check_gradient_matching,
    )
)
