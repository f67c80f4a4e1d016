"""Herding (Welling 2009), in the form in which iCaRL chooses exemplars (Rebuffi et al. 2017, Algorithm 4)."""

from __future__ import annotations

from functools import partial

import torch

from satm.methods.base import METHODS, Method
from satm.methods.checks import check_features
from satm.methods.selection.coreset import CoresetConfig, coreset


def herd(features: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices [count] of chosen rows of `features` [m, D].

    Rows are chosen one after another. Each choice brings the mean of the rows chosen so far as near as possible to the
    mean μ of all rows. The k-th choice is argmin_i ‖μ − (f_i + s) / k‖ over the rows f_i that are not chosen yet, where
    s is the sum of the rows chosen before. Of equal rows, the first is chosen.
    """
    mean, summed = features.mean(dim=0), torch.zeros_like(features[0])
    squares = features.square().sum(dim=1)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = []
    for k in range(1, count + 1):
        # ‖kμ − s − f_i‖² without the part that does not depend on i.
        distance = squares - 2 * features @ (k * mean - summed)
        best = distance.where(free, torch.inf).argmin()
        chosen.append(best)
        free[best] = False
        summed = summed + features[best]
    return torch.stack(chosen)


METHODS.add(
    Method(
        name="herding",
        summary="real images whose mean features are near those of their class (Welling 2009)",
        cite=("welling2009herding",),
        config=CoresetConfig,
        recipe="dm",
        decodes=True,
        expert_epochs=CoresetConfig.stored_epochs,
        expert_count=1,
        check=check_features,
        begin=partial(coreset, choose=herd),
    )
)
