"""Gradient matching: distances between two gradients of one network (DC, Zhao et al. 2021; IDC, Kim et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch

from satm.errors import ShapeError

GradientDistance: TypeAlias = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], torch.Tensor]
"""(∇θ L^S, ∇θ L^T), each in the order of `.parameters()` → a distance, 0-dimensional. It has no side effects and is
differentiable in both arguments, also under `torch.func`. It raises ShapeError for gradients of different networks."""

EPSILON = 1e-6  # added to the product of the norms, as in DC's code


def gradient_distance(synthetic: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return D(∇θ L^S, ∇θ L^T) = Σ_layers Σ_i (1 − A_i·B_i / (‖A_i‖ ‖B_i‖ + 1e-6)), 0-dimensional.

    L^S and L^T are the losses on synthetic and on real images. A_i and B_i are the parts of the two gradients that
    belong to output channel i of a layer: row i of the gradient of its weight [out, …], flattened. Parameters of one
    dimension (biases, and the weights of normalisation layers) are left out. See `GradientDistance` for the other
    properties.
    Source: DC Eq. 10 and its code, `match_loss` with `dis_metric='ours'` (utils.py at 53f63a6).
    """
    total = synthetic[0].new_zeros(())
    for one, other in _weights(synthetic, real, dimensions=2):
        a, b = one.flatten(1), other.flatten(1)
        cosine = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1) + EPSILON)
        total = total + (1 - cosine).sum()
    return total


def squared_distance(synthetic: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return Σ_layers ‖A − B‖², 0-dimensional, over the layers with a convolution.

    A and B are the parts of ∇θ L^S and ∇θ L^T that belong to the convolution's weight [out, in, …]. Linear layers,
    biases and normalisation layers are left out. See `GradientDistance` for the other properties.
    Source: IDC's code, `matchloss` and `dist` with `metric='mse'` (condense.py at ceac95a).
    """
    total = synthetic[0].new_zeros(())
    for one, other in _weights(synthetic, real, dimensions=3):
        total = total + (one - other).square().sum()
    return total


def absolute_distance(synthetic: Sequence[torch.Tensor], real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return Σ_layers Σ |A − B|, 0-dimensional: `squared_distance` with absolute values (IDC's `metric='l1'`)."""
    total = synthetic[0].new_zeros(())
    for one, other in _weights(synthetic, real, dimensions=3):
        total = total + (one - other).abs().sum()
    return total


def _weights(
    synthetic: Sequence[torch.Tensor], real: Sequence[torch.Tensor], *, dimensions: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the pairs of gradients of the parameters with at least so many dimensions."""
    shapes = [tuple(each.shape) for each in synthetic], [tuple(each.shape) for each in real]
    if shapes[0] != shapes[1]:
        raise ShapeError(f"gradients of shapes {shapes[0]} and {shapes[1]}: expected those of one network")
    return ((one, other) for one, other in zip(synthetic, real, strict=True) if one.ndim >= dimensions)
