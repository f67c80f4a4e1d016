"""Outer rules: from a hypergradient to the direction that φ and α move in.

A rule is handed an `OuterProblem`, F at one expert segment with every draw fixed, and asks it for as many
hypergradients as it needs. Rules know nothing of experts, data or momentum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch

from satm.engine import Hypergradient, HypergradientPolicy, InnerLoop, Learned, Truncation
from satm.errors import ConfigError
from satm.types import FlatParams, Images

NoiseReading: TypeAlias = Literal["variance", "std", "relative"]


@dataclass(frozen=True, kw_only=True)
class OuterProblem:
    """F(φ) = L(θ_N(φ)): one segment, its inner loop with all draws fixed, and how it is differentiated."""

    loop: InnerLoop
    at: Learned
    theta_start: FlatParams
    loss: Callable[[FlatParams], torch.Tensor]
    policy: HypergradientPolicy
    truncation: Truncation

    def hypergradient(
        self, images: Images, *, first: int = 0, theta: FlatParams | None = None, keep: int | None = None
    ) -> Hypergradient:
        """F's derivatives at `images`; from step `first` on, starting at `theta`, when asked (Eq. 9)."""
        return self.policy(
            self.loop,
            self.at._replace(images=images),
            self.theta_start if theta is None else theta,
            self.loss,
            self.truncation,
            first=first,
            keep=keep,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterUpdate:
    """What a rule decided."""

    images: torch.Tensor  # the direction φ descends, [n, C, H, W]
    step_size: torch.Tensor  # α's derivative, 0-dimensional
    perturbation: torch.Tensor  # ε [n, C, H, W], for the sharpness L(φ + ε) − L(φ)
    measured: Mapping[str, float]


class OuterRule(Protocol):
    """One way to turn hypergradients into a direction."""

    def second_pass(self, steps: int) -> int:
        """How many of an inner loop's `steps` are run a second time."""

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop]
    ) -> OuterUpdate:
        """The direction at `problem`; `redraw` gives the same loop with fresh mini-batches and augmentations."""


def smoothing_noise(images: Images, gamma: float, reading: NoiseReading, generator: torch.Generator) -> torch.Tensor:
    """φ^Δ [n, C, H, W], one draw an image, in proportion to the norm of each image φ_j (paper §4.1, Alg. 1 line 7).

    With D = C·H·W values an image, N(0, γ‖φ_j‖ I) is read as
    `variance`: a covariance, as printed, each value with std √(γ‖φ_j‖); `std`: a standard deviation γ‖φ_j‖ of each
    value; `relative`: a std of γ‖φ_j‖/√D, so that E‖φ^Δ_j‖ ≈ γ‖φ_j‖.
    """
    norms: torch.Tensor = images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    match reading:
        case "variance":
            std = (gamma * norms).sqrt()
        case "std":
            std = gamma * norms
        case "relative":
            std = gamma * norms / math.sqrt(images[0].numel())
    # Drawn on the CPU in float32, so that every device and precision sees the same noise.
    noise = torch.randn(images.shape, generator=generator)
    return std * noise.to(device=images.device, dtype=images.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharpnessAware:
    """SATM's rule, Algorithm 1 lines 7 to 20.

    ∇F(φ + φ^Δ) over the window (Eq. 8) → ε = ρ ∇F/‖∇F‖₂ over all of φ at once → noise off → ∇F(φ + ε) over the steps
    τ … N − 1 from the stored θ_τ of the first pass (Eq. 9, where line 16 differs from it). φ descends the second
    hypergradient; α takes Eq. 10 of the first trajectory. The second pass replays the draws of the first.
    """

    rho: float  # ρ: ‖ε‖₂ over the whole set
    gamma: float  # γ: strength of the smoothing noise
    noise: NoiseReading
    tau: int  # τ: the step of the first pass that the second starts at
    redraw: bool = False  # fresh mini-batches and augmentations for the second pass

    def __post_init__(self) -> None:
        if not (0 <= self.rho < math.inf and 0 <= self.gamma < math.inf):
            raise ConfigError(f"rho {self.rho}, gamma {self.gamma}: expected finite numbers of 0 or more")

    def second_pass(self, steps: int) -> int:
        """N − τ."""
        return steps - self.tau

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop]
    ) -> OuterUpdate:
        """See `OuterRule`."""
        images = problem.at.images
        delta = smoothing_noise(images, self.gamma, self.noise, generator)
        first = problem.hypergradient(images + delta, keep=self.tau)
        norm = first.images.norm()
        epsilon = self.rho * first.images / norm if norm > 0 else torch.zeros_like(images)
        if self.redraw:
            problem = _with_loop(problem, redraw())
        second = problem.hypergradient(images + epsilon, first=self.tau, theta=first.kept)
        return OuterUpdate(
            images=second.images,
            step_size=first.step_size,
            perturbation=epsilon,
            measured={
                "loss": float(first.loss),
                "loss_perturbed": float(second.loss),
                "hypergradient_norm": float(norm),
                "hypergradient_norm_perturbed": float(second.images.norm()),
                "noise_ratio": float(delta.norm() / images.norm()),
            },
        )


def _with_loop(problem: OuterProblem, loop: InnerLoop) -> OuterProblem:
    return OuterProblem(
        loop=loop,
        at=problem.at,
        theta_start=problem.theta_start,
        loss=problem.loss,
        policy=problem.policy,
        truncation=problem.truncation,
    )
