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
    """min_φ E_θ0 Σ_t Σ_k D(∇θ L(φ_k; θ_t), ∇θ L(T_k; θ_t)), θ_{t+1} trained on φ."""

    init: Literal["real", "noise"] = "noise"


METHODS.add(
    DirectMethod(
        name="dc",
        summary="gradient matching (Zhao et al. 2021)",
        config=DCConfig,
        begin=GradientMatching,
        check=check_gradient_matching,
    )
)
