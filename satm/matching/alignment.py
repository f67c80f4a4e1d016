"""Feature alignment (CAFE, Wang et al. 2022): the losses between the features of synthetic and of real images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F


def alignment_distance(
    synthetic: Sequence[torch.Tensor], real: Sequence[torch.Tensor], weights: Sequence[float]
) -> torch.Tensor:
    """Return Σ_l w_l Σ_k ‖s_lk − r_lk‖², 0-dimensional.

    l are the layers and k the classes. s_lk and r_lk are the mean outputs of layer l for the synthetic and for the real
    images of class k. `synthetic` and `real` hold one tensor [K, D_l] for each layer, and `weights` its w_l.
    Source: `criterion_middle` of CAFE's code (distill.py of kaiwang960112/CAFE at b718ff5).
    """
    layers = zip(synthetic, real, weights, strict=True)
    return torch.stack([weight * (one - other).square().sum() for one, other, weight in layers]).sum()


def discrimination_loss(centres: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return −Σ_k Σ_i log p_ki, 0-dimensional, with p_ki = e^⟨f_ki, c_k⟩ / Σ_j e^⟨f_ki, c_j⟩.

    f_ki are the features of real image i of class k, `real` [K, b, D]. c_k are the mean features of the synthetic
    images of class k, `centres` [K, D]. So the centres classify the real images, and p_ki is the probability of the
    right class. The sum is over all real images, as in CAFE's code (`criterion_sum` in distill.py).
    """
    logits = real.flatten(0, 1) @ centres.T
    labels = torch.arange(len(real), device=real.device).repeat_interleave(real.shape[1])
    return F.cross_entropy(logits, labels, reduction="sum")
