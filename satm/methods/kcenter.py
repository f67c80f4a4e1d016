"""k-centre (Wolf 2011; Sener and Savarese 2018, Algorithm 1): real images that leave none of their class far away."""

from __future__ import annotations

from functools import partial

import torch

from satm.methods.base import METHODS, Method
from satm.methods.checks import check_features
from satm.methods.selection.coreset import CoresetConfig, coreset


def spread(features: torch.Tensor, count: int) -> torch.Tensor:
    """Rows [count] of `features` [m, D]: the one nearest the mean, then ever the one farthest from all chosen.

    The greedy rule is a 2-approximation of the smallest radius; the first of equals wins.
    """
    chosen = [(features - features.mean(dim=0)).square().sum(dim=1).argmin()]
    nearest = torch.full_like(features[:, 0], torch.inf)
    for _ in range(count - 1):
        nearest = nearest.minimum((features - features[chosen[-1]]).square().sum(dim=1))
        nearest[chosen[-1]] = -1.0  # never twice, whatever equals it
        chosen.append(nearest.argmax())
    return torch.stack(chosen)


METHODS.add(
    Method(
        name="kcenter",
        summary="real images that leave none of their class far away (Sener and Savarese 2018)",
        config=CoresetConfig,
        expert_epochs=CoresetConfig.stored_epochs,
        expert_count=1,
        check=check_features,
        begin=partial(coreset, choose=spread),
    )
)
