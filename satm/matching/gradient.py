"""Gradient matching (Zhao et al. 2021): the distance between two gradients of one network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from satm.errors import ShapeError

EPSILON = 1e-6  # added to the product of the norms, as in DC's code


def gradient_distance(synthetic: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return D(∇θ L^S, ∇θ L^T) = Σ_layers Σ_i (1 − A_i·B_i / (‖A_i‖ ‖B_i‖ + 1e-6)), 0-dimensional.

    L^S and L^T are the losses on synthetic and on real images. A_i and B_i are the parts of the two gradients that
    belong to output channel i of a layer: row i of the gradient of its weight [out, …], flattened. Parameters of one
    dimension (biases, and the weights of normalisation layers) are left out. The function has no side effects and is
    differentiable in both arguments, also under `torch.func`.

    Raises ShapeError for gradients of different networks.
    Source: DC Eq. 10 and its code, `match_loss` with `dis_metric='ours'` (utils.py at 53f63a6).
    """
    shapes = [tuple(each.shape) for each in synthetic], [tuple(each.shape) for each in real]
    if shapes[0] != shapes[1]:
        raise ShapeError(f"gradients of shapes {shapes[0]} and {shapes[1]}: expected those of one network")
    total = synthetic[0].new_zeros(())
    for one, other in zip(synthetic, real, strict=True):
        if one.ndim > 1:
            a, b = one.flatten(1), other.flatten(1)
            cosine = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + EPSILON)
            total = total + (1 - cosine).sum()
    return total
