"""Characteristic functions (NCFM, Wang et al. 2025): values at given frequencies, and the distance of two of them."""

from __future__ import annotations

import torch

SMALLEST = 1e-12  # of the phase part, as in NCFM's code; a square root has no derivative at 0


def characteristic(features: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """Φ(t) = mean_x e^{i⟨t, x⟩} for each frequency t: its real and its imaginary part, [K, F, 2].

    `features` [K, n, D] are the points x of each class, `frequencies` [K, F, D] are its t.
    """
    angles = frequencies @ features.transpose(1, 2)
    return torch.stack([angles.cos().mean(dim=2), angles.sin().mean(dim=2)], dim=2)


def characteristic_distance(synthetic: torch.Tensor, real: torch.Tensor, amplitude: float) -> torch.Tensor:
    """Σ_k mean_t √(a (|Φ| − |Ψ|)² + (1 − a) 2 (|Φ| |Ψ| − Re Φ Ψ*)), 0-dimensional.

    Φ = `synthetic` and Ψ = `real` are values of `characteristic`, [K, F, 2]. a = `amplitude` is the share of the
    amplitudes. The rest is the share of the phases: |Φ| |Ψ| − Re Φ Ψ* = |Φ| |Ψ| (1 − cos of the angle between them).
    At a = 1/2 it is √(|Φ − Ψ|² / 2).
    """
    one, other = synthetic.square().sum(dim=2).sqrt(), real.square().sum(dim=2).sqrt()
    phase = 2 * (one * other - (synthetic * real).sum(dim=2))
    squares = amplitude * (one - other).square() + (1 - amplitude) * phase.clamp(min=SMALLEST)
    return squares.clamp(min=SMALLEST**2).sqrt().mean(dim=1).sum()
