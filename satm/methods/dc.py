"""DC: dataset condensation with gradient matching (Zhao, Mopuri and Bilen 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from satm.methods.base import METHODS
from satm.methods.checks import check_gradient_matching
from satm.methods.direct.gradient_matching import GradientMatching, GradientMatchingConfig
from satm.methods.direct.method import DirectMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class DCConfig(GradientMatchingConfig):
    """Matches the gradients of synthetic and real images, class by class:

        min_φ E_θ0 Σ_t Σ_k D(∇θ L(φ_k; θ_t), ∇θ L(T_k; θ_t))

    φ_k and T_k are the synthetic and the real images of class k. L is the cross-entropy, and D is `gradient_distance`.
    θ_0 is a fresh network, and θ_{t+1} is θ_t trained further on φ.
    """

    init: Literal["real", "noise"] = "noise"


METHODS.add(
    DirectMethod(
        name="dc",
        summary="gradient matching (Zhao et al. 2021)",
        cite=("zhao2021dc",),
        config=DCConfig,
        recipe="dc",
        begin=GradientMatching,
        check=check_gradient_matching,
    )
)
