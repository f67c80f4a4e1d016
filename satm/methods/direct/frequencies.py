"""The frequencies at which NCFM compares characteristic functions: a normal distribution, or a learned mixture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from satm.engine import FlatNetwork, flatten
from satm.methods.momentum import MomentumSGD
from satm.rng import Seed

SHARED = 16
"""The number of frequencies that have the same σ in a learned mixture (NCFM's code, SampleNet.py)."""


def normal_frequencies(count: int, size: int, seed: Seed) -> torch.Tensor:
    """Draw frequencies t [count, size] from N(0, 1), on the CPU."""
    return torch.randn((count, size), generator=seed.generator())


class LearnedFrequencies:
    """A learned scale mixture of normal distributions: t = σ_ψ(z) ⊙ n with z, n ~ N(0, 1).

    ⊙ multiplies entry by entry. σ_ψ is a network with the parameters ψ [P]: three linear layers of `size` units, each
    followed by batch normalisation and an activation (the last one is tanh). `SHARED` frequencies have the same z. ψ is
    trained so that the distance F at these frequencies grows: v ← μ v − ∂F/∂ψ, ψ ← ψ − lr v, with lr and μ of `sgd`.
    """

    def __init__(self, size: int, sgd: MomentumSGD, seed: Seed, device: torch.device) -> None:
        self.size, self.sgd = size, sgd
        with seed.forked():
            layers: list[nn.Module] = []
            for last in (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh()):
                layers += [nn.Linear(size, size), nn.BatchNorm1d(size, track_running_stats=False), last]
            network = nn.Sequential(*layers).to(device)
        self.scale = FlatNetwork(network)
        self.psi = flatten(network.parameters()).detach()
        self.velocity = torch.zeros_like(self.psi)

    def draw(self, psi: torch.Tensor, count: int, seed: Seed) -> torch.Tensor:
        """Draw frequencies t [count, size]. They are a differentiable function of ψ = `psi` [P]."""
        noise = normal_frequencies(-(-count // SHARED), self.size, seed.child("scales")).to(psi)
        sigma: torch.Tensor = self.scale(psi, noise).repeat_interleave(SHARED, dim=0)[:count]
        return sigma * normal_frequencies(count, self.size, seed).to(psi)

    def ascended(self, slope: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new ψ and its velocity v, given ∂F/∂ψ = `slope` [P]. The object itself is not changed."""
        return self.sgd(self.psi, self.velocity, -slope)

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that `restore` needs."""
        return {"psi": self.psi.cpu(), "psi_velocity": self.velocity.cpu()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`."""
        self.psi, self.velocity = (state[name].to(self.psi.device) for name in ("psi", "psi_velocity"))
