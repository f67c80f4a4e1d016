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

RADIUS = 0.02  # the default of the radius r; our choice, the same for every rule (docs/choices.md)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPasses(Rule):
    """The settings of a rule with two passes: the length of ε, the start of the second pass, and the draws it uses.

    The first pass computes the hypergradient at the images φ and, from it, a perturbation ε. The second pass computes
    the hypergradient at φ + ε. The length of ε follows from `radius` or from `rho`, see `Length`. If neither is given,
    `radius` is 0.02.

    The second pass starts at θ_τ, the parameters that the first pass had reached at inner step τ (trajectory reuse,
    paper Eq. 9). It therefore costs N − τ inner steps, where N is the length of the inner loop. The window is the last
    part of the inner loop, which is differentiated, and ι is its first step.
    """

    radius: float | None = None  # r: ‖ε‖₂ = r‖φ‖₂, over the whole set; null: `RADIUS`, or unused if `rho` is set
    rho: float | None = None  # ρ: ‖ε‖₂ in the unit of the pixels (in `ASAM`: ‖T⁻¹ε‖₂); null if `radius` is set
    ramp: float = 0.0  # s: ‖ε‖₂ rises from 0 to its value during this share of the outer steps; 0: it is constant

    tau: int | None = None  # τ ≥ ι, the inner step at which the second pass starts; null: τ = ι
    redraw: bool = False  # True: new mini-batches and augmentations in the second pass; False: those of the first

    def __post_init__(self) -> None:
        if self.radius is None and self.rho is None:
            object.__setattr__(self, "radius", RADIUS)  # so that a stored configuration holds the number
        self.perturbation_length()  # raises ConfigError if radius, rho or ramp is wrong

    def perturbation_length(self) -> Length:
        """The length of ε; see `OuterRule`."""
        return Length(self.radius, self.rho, self.ramp)

    def length_at(self, problem: OuterProblem) -> float:
        """The length of the perturbation in the outer step `problem`: ‖ε‖₂ or, in `ASAM` with `rho`, ‖T⁻¹ε‖₂."""
        return self.perturbation_length().of(float(problem.at.images.norm()), problem.progress)

    @property
    def passes(self) -> int:
        """The number of passes, two; see `OuterRule`."""
        return 2

    def second_start(self, iota: int) -> int | None:
        """The inner step τ at which the second pass starts; see `OuterRule`."""
        return iota if self.tau is None else self.tau

    def for_any_loop(self) -> Self:
        """The same rule with τ = ι, which fits every inner loop; see `OuterRule`."""
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
    """The results of the two passes of one outer step."""

    first: Hypergradient  # F and its derivatives at φ, or at φ + noise
    second: Hypergradient  # F and its derivatives at φ + ε, of a pass that starts at θ_τ
    epsilon: torch.Tensor  # the perturbation ε [n, C, H, W]
    step_size: torch.Tensor  # ∂F/∂α of the first pass, with the shape of α

    def rises(self) -> dict[str, float]:
        """How much ε raises F, relative to F(φ). Both numbers are 0 if F(φ) is 0:

            relative_rise           (F(φ + ε) − F(φ))/F(φ)
            relative_rise_linear    ε·∇F(φ)/F(φ), the first-order approximation of relative_rise

        F(φ) and ∇F(φ) are the results of the first pass. If the rule adds noise in the first pass, they are values at
        φ + noise. F(φ + ε) is the result of the second pass, which starts at θ_τ of the first pass. `diagnose` in
        satm/methods/trajectory/diagnosis.py measures the rise with whole inner loops and without noise.
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
        """The `OuterUpdate` that the rule returns.

        φ descends the hypergradient of the second pass, or `images` [n, C, H, W] if this argument is given. `state` is
        the rule's state for its next call. `measured` are metrics that are stored in addition to those that all rules
        with two passes store.
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
    """Run both passes of one outer step and return their results:

        g = ∇F(φ + noise)             all N inner steps, differentiated over the window (paper Eq. 8)
        ε = perturb(g)                from here on, no noise is added
        ∇F(φ + ε)                     inner steps τ … N − 1 from the stored θ_τ (paper Eq. 9)

    g, ε and `noise` are [n, C, H, W]. If `noise` is None, none is added. If `perturb` is None, ε is g scaled to the
    length that `rule` sets. The second pass uses the same mini-batches and augmentations as the first pass, unless
    `rule.redraw` is set. The derivative of F with respect to α is that of the first pass.
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
    """Return d scaled to the norm `length` over the whole set, for d = `direction`. If d is zero, return zero."""
    norm = direction.norm()
    return length * direction / norm if norm > 0 else torch.zeros_like(direction)
