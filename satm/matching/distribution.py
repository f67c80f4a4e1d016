"""Distribution matching (Zhao and Bilen 2023): the distance between two sets of embeddings."""

from __future__ import annotations

import torch


def distribution_distance(synthetic: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Σ_classes ‖mean of ψ(S_k) − mean of ψ(T_k)‖², 0-dimensional; DM Eq. 5, the maximum mean discrepancy of means.

    `synthetic` [K, n, D] and `real` [K, m, D] hold embeddings by class; n and m may differ.
    """
    return (synthetic.mean(dim=1) - real.mean(dim=1)).square().sum()
