"""The two passes of every sharpness-aware rule: ascend to φ + ε, then take the hypergradient there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch

from satm.engine import Hypergradient
from satm.errors import ConfigError
from satm.methods.outer.length import Length
from satm.methods.outer.problem import OuterProblem, OuterUpdate, State
from satm.methods.outer.rule import Redraw, Rule
from satm.types import Images

RADIUS = 0.02  # r; our choice, the same for every rule (docs/choices.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPasses(Rule):
    """The settings of a rule with two passes: how long ε is, where the second pass starts, and which draws it uses.

    One of `radius` and `rho` decides the length, see `Length`. If neither is given, `radius` is 0.02.

    The second pass starts from θ_τ of the first (trajectory reuse, paper Eq. 9), so it costs N − τ inner steps.
    """

    radius: float | None = None  # r: ‖ε‖₂ = r‖φ‖₂, over the whole set; null: `RADIUS`, or nothing if `rho` is set
    rho: float | None = None  # ρ: ‖ε‖₂ in the unit of the pixels (`ASAM` differs); null if `radius` is set
    ramp: float = 0.0  # s: the length rises from 0 to its value over this share of the outer steps; 0: it is constant

    tau: int | None = None  # τ ≥ ι, the inner step at which the second pass starts; null: ι
    redraw: bool = False  # fresh mini-batches and augmentations in the second pass, instead of those of the first

    def __post_init__(self) -> None:
        if self.radius is None and self.rho is None:
            object.__setattr__(self, "radius", RADIUS)  # so that a stored configuration says the number
        self.perturbation_length()  # raises ConfigError

    def perturbation_length(self) -> Length:
        """See `OuterRule`."""
        return Length(self.radius, self.rho, self.ramp)

    def length_at(self, problem: OuterProblem) -> float:
        """‖ε‖₂ at this outer step."""
        return self.perturbation_length().of(float(problem.at.images.norm()), problem.progress)

    @property
    def passes(self) -> int:
        """See `OuterRule`: two."""
        return 2

    def second_start(self, iota: int) -> int | None:
        """See `OuterRule`: τ."""
        return iota if self.tau is None else self.tau

    def for_any_loop(self) -> Self:
        """See `OuterRule`: τ = ι."""
        return replace(self, tau=None)

    def check(self, inner_steps: int, iota: int) -> None:
        """Raise ConfigError unless ι ≤ τ < N."""
        if self.tau is not None and not iota <= self.tau < inner_steps:
            raise ConfigError(
                f"tau {self.tau}: with {inner_steps} inner steps and a window of {inner_steps - iota}, "
                f"expected {iota} ≤ tau ≤ {inner_steps - 1}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ascent:
    """What the two passes of one outer step found."""

    first: Hypergradient  # at φ, or at φ + noise
    second: Hypergradient  # at φ + ε, from θ_τ
    epsilon: torch.Tensor  # ε [n, C, H, W]
    step_size: torch.Tensor  # ∂F/∂α of the first pass, 0-dimensional

    def rises(self) -> dict[str, float]:
        """How much ε raises F, relative to F(φ); 0 if F(φ) is 0:

            relative_rise           (F(φ + ε) − F(φ))/F(φ)
            relative_rise_linear    ε·∇F(φ)/F(φ), its first order

        F(φ) and ∇F(φ) are those of the first pass, which is at φ + noise, and the second pass starts from its θ_τ.
        `diagnose` measures the rise over whole loops without noise.
        """
        clean = float(self.first.loss)
        rise, linear = float(self.second.loss) - clean, float((self.epsilon * self.first.images).sum())
        return {
            "relative_rise": rise / clean if clean else 0.0,
            "relative_rise_linear": linear / clean if clean else 0.0,
        }

    def update(
        self,
        images: torch.Tensor | None = None,
        *,
        state: State | None = None,
        **measured: float,
    ) -> OuterUpdate:
        """The rule's answer: φ descends the second hypergradient, or `images` [n, C, H, W] if that is given.

        `measured` adds metrics to those that all rules with two passes store.
        """
        return OuterUpdate(
            images=self.second.images if images is None else images,
            labels=self.second.labels,
            step_size=self.step_size,
            perturbation=self.epsilon,
            measured={
                "loss": float(self.first.loss),
                "loss_perturbed": float(self.second.loss),
                **self.rises(),
                "hypergradient_norm": float(self.first.images.norm()),
                "hypergradient_norm_perturbed": float(self.second.images.norm()),
                **measured,
            },
            state=state or {},
        )


def ascend(
    rule: TwoPasses,
    problem: OuterProblem,
    redraw: Redraw,
    perturb: Callable[[torch.Tensor], torch.Tensor] | None = None,
    *,
    noise: torch.Tensor | None = None,
) -> Ascent:
    """Both passes of one outer step:

        g = ∇F(φ + noise)             all N steps, differentiated over the window (paper Eq. 8)
        ε = perturb(g)                the noise is off from here on; by default ‖ε‖₂ g/‖g‖₂
        ∇F(φ + ε)                     steps τ … N − 1 from the stored θ_τ (paper Eq. 9)

    g, ε and `noise` are [n, C, H, W]. The second pass replays the draws of the first, unless `rule.redraw` is set. The
    derivative of α is that of the first pass.
    """
    images: Images = problem.at.images
    at = images if noise is None else images + noise
    tau = rule.second_start(problem.iota)
    assert tau is not None
    first = problem.hypergradient(at, keep=tau)
    epsilon = along(first.images, rule.length_at(problem)) if perturb is None else perturb(first.images)
    again = replace(problem, loop=redraw()) if rule.redraw else problem
    second = again.hypergradient(images + epsilon, first=tau, theta=first.kept, moments=first.kept_moments)
    return Ascent(first=first, second=second, epsilon=epsilon, step_size=problem.step_size_derivative(at, first))


def along(direction: torch.Tensor, length: float) -> torch.Tensor:
    """`length` d/‖d‖₂ for the direction d. The norm is over the whole set. The result is zero if d is zero."""
    norm = direction.norm()
    return length * direction / norm if norm > 0 else torch.zeros_like(direction)
