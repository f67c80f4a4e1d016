"""k-centre (Wolf 2011; Sener and Savarese 2018, Algorithm 1): real images that cover their class."""

from __future__ import annotations

from functools import partial

import torch

from satm.methods.base import METHODS, Method
from satm.methods.checks import check_features
from satm.methods.selection.coreset import CoresetConfig, coreset


def spread(features: torch.Tensor, count: int) -> torch.Tensor:
    """Return the indices [count] of rows of `features` [m, D] that cover all rows: every row is near a chosen row.

    The first choice is the row nearest to the mean. Each next choice is the row with the largest distance to its
    nearest chosen row. In the end, the largest such distance is at most twice as large as with the best possible
    choice. Of equal rows, the first is chosen.
    """
    chosen = [(features - features.mean(dim=0)).square().sum(dim=1).argmin()]
    nearest = torch.full_like(features[:, 0], torch.inf)
    for _ in range(count - 1):
        nearest = nearest.minimum((features - features[chosen[-1]]).square().sum(dim=1))
        nearest[chosen[-1]] = -1.0  # not chosen twice, even if all other rows are equal to chosen ones
        chosen.append(nearest.argmax())
    return torch.stack(chosen)


METHODS.add(
    Method(
        name="kcenter",
        summary="real images that cover their class (Sener and Savarese 2018)",
        cite=("sener2018coreset",),
        config=CoresetConfig,
        recipe="dm",
        decodes=True,
        expert_epochs=CoresetConfig.stored_epochs,
        expert_count=1,
        check=check_features,
        begin=partial(coreset, choose=spread),
    )
)
