"""Distribution matching (Zhao and Bilen 2023): the distance between two sets of embeddings."""

from __future__ import annotations

import torch


def distribution_distance(synthetic: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return Σ_k ‖mean of ψ(S_k) − mean of ψ(T_k)‖², 0-dimensional (DM Eq. 5, a maximum mean discrepancy).

    S_k and T_k are the synthetic and the real images of class k, and ψ is the embedding. `synthetic` [K, n, D] holds
    ψ(S_k), and `real` [K, m, D] holds ψ(T_k). n and m may differ.
    """
    return (synthetic.mean(dim=1) - real.mean(dim=1)).square().sum()
