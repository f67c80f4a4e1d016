"""Random smoothing: descent of the mean hypergradient at noisy images (Duchi, Bartlett and Wainwright 2012)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from satm.errors import ConfigError
from satm.methods.outer.check import not_negative
from satm.methods.outer.noise import NoiseReading, smoothing_noise
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import OUTER, OuterOptimiser, Redraw, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Smooth(Rule):
    """φ descends an estimate of the gradient of the smoothed loss, E F(φ + φ^Δ), from k draws of the noise:

        φ^Δ_s ~ N(0, γ‖φ_j‖ I) for each image j and s = 1 … k     (see `smoothing_noise`)
        φ descends 1/k Σ_s ∇F(φ + φ^Δ_s)

    φ and φ^Δ_s are [n, C, H, W]. The noise has a strength that follows φ, and it is held fixed in the derivative. The
    labels and α descend the means of their derivatives at the same k points. The mini-batches and augmentations are the
    same at all of them. The rule costs k passes over the whole inner loop.

    The noise is that of SATM's first pass (Gao et al. 2025, Algorithm 1). With k = 1 and the same generator, the
    direction of this rule is the direction of SATM's ε, to the bit. SATM with ε = 0 is another rule, because its second
    pass has no noise: if the window is the whole inner loop, it is plain descent. With γ = 0 and k = 1 this rule is
    `SGD` to the bit. γ is ours, the same as SATM's.
    """

    rule: Literal["smooth"] = "smooth"
    gamma: float = 0.1  # γ, the strength of the noise; its meaning depends on `noise`
    noise: NoiseReading = "relative"  # how N(0, γ‖φ_j‖ I) is understood; see `smoothing_noise`
    draws: int = 1  # k, the number of draws of the noise in an outer step

    def __post_init__(self) -> None:
        not_negative(gamma=self.gamma)
        if self.draws < 1:
            raise ConfigError(f"draws {self.draws}: expected at least 1")

    @property
    def passes(self) -> int:
        """The number of passes, k; see `OuterRule`."""
        return self.draws

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """Return the update of one outer step; see `OuterRule`. The measured loss is the mean over the k draws."""
        phi = problem.at.images
        images, labels, step_sizes, losses, ratios = [], [], [], [], []
        for _ in range(self.draws):
            delta = smoothing_noise(phi, self.gamma, self.noise, generator)
            found = problem.hypergradient(phi + delta)
            images.append(found.images)
            labels += [] if found.labels is None else [found.labels]
            step_sizes.append(problem.step_size_derivative(phi + delta, found))
            losses.append(float(found.loss))
            ratios.append(float(delta.norm() / phi.norm()))
        direction = _mean(images)
        return OuterUpdate(
            images=direction,
            labels=_mean(labels) if labels else None,
            step_size=_mean(step_sizes),
            measured={
                "loss": sum(losses) / self.draws,
                "hypergradient_norm": float(direction.norm()),
                "noise_ratio": sum(ratios) / self.draws,
            },
            state=state,
        )


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(values).mean(dim=0)


OUTER.add(
    OuterOptimiser(
        name="smooth",
        summary="the mean hypergradient at noisy images (Duchi et al. 2012)",
        cite=("duchi2012smoothing",),
        config=Smooth,
    )
)
