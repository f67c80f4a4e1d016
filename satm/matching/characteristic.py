"""Characteristic functions (NCFM, Wang et al. 2025): their values at given frequencies, and a distance between them."""

from __future__ import annotations

import torch

SMALLEST = 1e-12  # least value of the phase part, as in NCFM's code: a square root has no derivative at 0


def characteristic(features: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """Return Φ_k(t) = mean_x e^{i⟨t, x⟩} for each class k and each frequency t: real and imaginary part, [K, F, 2].

    `features` [K, n, D] holds the n points x of each class. `frequencies` [K, F, D] holds the F frequencies t of each
    class.
    """
    angles = frequencies @ features.transpose(1, 2)
    return torch.stack([angles.cos().mean(dim=2), angles.sin().mean(dim=2)], dim=2)


def characteristic_distance(synthetic: torch.Tensor, real: torch.Tensor, amplitude: float) -> torch.Tensor:
    """Return Σ_k mean_t √(a (|Φ| − |Ψ|)² + (1 − a) 2 (|Φ| |Ψ| − Re Φ Ψ*)), 0-dimensional.

    k are the classes and t the frequencies. Φ = `synthetic` and Ψ = `real` are results of `characteristic`, [K, F, 2];
    Ψ* is the complex conjugate. The symbol a stands for `amplitude`, the weight of the difference in amplitude; 1 − a
    is the weight of the difference in phase, because |Φ| |Ψ| − Re Φ Ψ* = |Φ| |Ψ| (1 − cos of the angle between Φ and
    Ψ). For a = 1/2 the root is √(|Φ − Ψ|² / 2).
    """
    one, other = synthetic.square().sum(dim=2).sqrt(), real.square().sum(dim=2).sqrt()
    phase = 2 * (one * other - (synthetic * real).sum(dim=2))
    squares = amplitude * (one - other).square() + (1 - amplitude) * phase.clamp(min=SMALLEST)
    return squares.clamp(min=SMALLEST**2).sqrt().mean(dim=1).sum()
