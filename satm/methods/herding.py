"""Herding (Welling 2009; as iCaRL chooses exemplars, Rebuffi et al. 2017, Algorithm 4)."""

from __future__ import annotations

from functools import partial

import torch

from satm.methods.base import METHODS, Method
from satm.methods.checks import check_features
from satm.methods.selection.coreset import CoresetConfig, coreset


def herd(features: torch.Tensor, count: int) -> torch.Tensor:
    """Rows [count] of `features` [m, D] whose running mean follows the mean of all.

    Row k is argmin_i ‖μ − (f_i + Σ_{j<k} f_j) / k‖ over the rows not yet chosen; the first of equals.
    """
    mean, summed = features.mean(dim=0), torch.zeros_like(features[0])
    squares = features.square().sum(dim=1)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = []
    for k in range(1, count + 1):
        # ‖kμ − Σ − f_i‖² without its constant.
        distance = squares - 2 * features @ (k * mean - summed)
        best = distance.where(free, torch.inf).argmin()
        chosen.append(best)
        free[best] = False
        summed = summed + features[best]
    return torch.stack(chosen)


METHODS.add(
    Method(
        name="herding",
        summary="real images whose features' mean follows their class's (Welling 2009)",
        config=CoresetConfig,
        expert_epochs=CoresetConfig.stored_epochs,
        expert_count=1,
        check=check_features,
        begin=partial(coreset, choose=herd),
    )
)
