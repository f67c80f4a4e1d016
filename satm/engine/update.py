"""The update rules of the inner loop: how a step moves θ along its gradient. Each is a value without state of its own.

What is solved, the `InnerLoop` with its rule, is apart from how it is differentiated, the `HypergradientPolicy`. A rule
is a pure function of tensors, and every policy differentiates it exactly, the moments that it keeps included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

import torch

from satm.errors import ConfigError
from satm.types import FlatParams

Moments: TypeAlias = tuple[FlatParams, ...]
"""What a rule keeps from one step to the next: vectors [P]."""


class Point(NamedTuple):
    """Where the inner loop is before a step. Also a cotangent or a tangent of that."""

    theta: FlatParams  # θ_i [P]
    moments: Moments = ()


class Pulled(NamedTuple):
    """The cotangents before an update, given those after it. The cotangent of the gradient g is −`share` · `along`."""

    point: Point  # of θ and of the moments, without the paths through g
    share: torch.Tensor  # 0-dimensional
    along: FlatParams  # [P]
    step_size: torch.Tensor | None  # of α, 0-dimensional; None: it is −⟨g, along⟩


class UpdateRule(ABC):
    """One way to move θ: (θ, moments) and the gradient g [P] give the next (θ, moments)."""

    __slots__ = ()
    name: ClassVar[str]
    moments: ClassVar[int]
    """How many vectors [P] it keeps."""

    def start(self, theta: FlatParams) -> Point:
        """The point at which an inner loop starts: all moments are zero."""
        return Point(theta, tuple(torch.zeros_like(theta) for _ in range(self.moments)))

    @abstractmethod
    def update(self, at: Point, gradient: FlatParams, step_size: torch.Tensor, step: int) -> Point:
        """The point after step `step` (0, 1, …) of size α = `step_size`. Differentiable in every tensor."""

    @property
    def kept(self) -> int:
        """How many vectors [P] a policy that goes backwards keeps of each differentiated step."""
        return 2 + self.moments  # θ, g and the moments

    def pulled_back(
        self, at: Point, gradient: FlatParams | None, step_size: torch.Tensor, step: int, after: Point
    ) -> Pulled:
        """The cotangents before this update, given those `after` it. `gradient` may be None if `kept` is 1."""
        assert gradient is not None
        leaves = [each.detach().requires_grad_() for each in (at.theta, *at.moments, gradient, step_size)]
        with torch.enable_grad():
            moved = self.update(Point(leaves[0], tuple(leaves[1:-2])), leaves[-2], leaves[-1], step)
        theta, *moments, along, alpha = torch.autograd.grad(
            [moved.theta, *moved.moments], leaves, [after.theta, *after.moments], materialize_grads=True
        )
        return Pulled(Point(theta, tuple(moments)), torch.ones_like(step_size), -along, alpha)

    def pushed_forward(
        self, at: Point, gradient: FlatParams, step_size: torch.Tensor, step: int, tangent: Point, curved: FlatParams
    ) -> Point:
        """dω'/dα after this update, ω being θ and the moments: `tangent` is dω/dα, `curved` [P] is dg/dα."""

        leaves = [each.detach().requires_grad_() for each in (at.theta, *at.moments, gradient, step_size)]
        tangents = [*(tangent.theta, *tangent.moments), curved, torch.ones_like(step_size)]
        with torch.enable_grad():
            moved = self.update(Point(leaves[0], tuple(leaves[1:-2])), leaves[-2], leaves[-1], step)
            after = [moved.theta, *moved.moments]
            # The pull back is linear in its cotangents: its own derivative along the tangents is the push forward.
            duals = [torch.zeros_like(each).requires_grad_() for each in after]
            pulled = torch.autograd.grad(after, leaves, duals, create_graph=True, materialize_grads=True)
            along = sum(((each * t).sum() for each, t in zip(pulled, tangents, strict=True)), torch.zeros(()))
        theta, *moments = torch.autograd.grad(along, duals, materialize_grads=True)
        return Point(theta, tuple(moments))


@dataclass(frozen=True, slots=True)
class PlainSGD(UpdateRule):
    """θ' = θ − α g. Its derivatives are written out."""

    name: ClassVar[str] = "sgd"
    moments: ClassVar[int] = 0

    @property
    def kept(self) -> int:
        """See `UpdateRule`: θ."""
        return 1

    def update(self, at: Point, gradient: FlatParams, step_size: torch.Tensor, step: int) -> Point:
        """See `UpdateRule`."""
        return Point(at.theta - step_size * gradient)

    def pulled_back(
        self, at: Point, gradient: FlatParams | None, step_size: torch.Tensor, step: int, after: Point
    ) -> Pulled:
        """See `UpdateRule`."""
        return Pulled(after, step_size, after.theta, None)

    def pushed_forward(
        self, at: Point, gradient: FlatParams, step_size: torch.Tensor, step: int, tangent: Point, curved: FlatParams
    ) -> Point:
        """See `UpdateRule`."""
        return Point(tangent.theta - gradient - step_size * curved)


@dataclass(frozen=True, slots=True)
class MomentumSGD(UpdateRule):
    """m' = μ m + g, θ' = θ − α m', as `torch.optim.SGD` without dampening."""

    name: ClassVar[str] = "momentum"
    moments: ClassVar[int] = 1
    momentum: float = 0.9  # μ

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum {self.momentum}: expected 0 ≤ momentum < 1")

    def update(self, at: Point, gradient: FlatParams, step_size: torch.Tensor, step: int) -> Point:
        """See `UpdateRule`."""
        velocity = self.momentum * at.moments[0] + gradient
        return Point(at.theta - step_size * velocity, (velocity,))


@dataclass(frozen=True, slots=True)
class Adam(UpdateRule):
    """Adam (Kingma and Ba 2015), as `torch.optim.Adam`. At step i:

        m' = β₁ m + (1 − β₁) g,   v' = β₂ v + (1 − β₂) g²
        θ' = θ − α m'/(1 − β₁^{i+1}) / (√(v'/(1 − β₂^{i+1})) + ε)

    If v' is 0, g has been 0 from the start. The derivative of the root is taken as 0 there.
    """

    name: ClassVar[str] = "adam"
    moments: ClassVar[int] = 2
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 0 ≤ {name} < 1")
        if not self.eps > 0:
            raise ConfigError(f"eps {self.eps}: expected a number above 0")

    def update(self, at: Point, gradient: FlatParams, step_size: torch.Tensor, step: int) -> Point:
        """See `UpdateRule`."""
        first = self.beta1 * at.moments[0] + (1 - self.beta1) * gradient
        second = self.beta2 * at.moments[1] + (1 - self.beta2) * gradient.square()
        zero = second == 0
        root = torch.where(zero, 0.0, torch.where(zero, 1.0, second / (1 - self.beta2 ** (step + 1))).sqrt())
        move = first / (1 - self.beta1 ** (step + 1)) / (root + self.eps)
        return Point(at.theta - step_size * move, (first, second))


PLAIN_SGD = PlainSGD()
RULES: dict[str, UpdateRule] = {rule.name: rule for rule in (PLAIN_SGD, MomentumSGD(), Adam())}
"""The update rules with their default settings, by name."""
