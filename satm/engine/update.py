"""The update rules of the inner loop: how an inner step moves the network's parameters θ along the gradient.

A rule is a pure function of tensors. It has settings but no state: its moments (such as the velocity of momentum SGD)
are arguments and return values. The `InnerLoop` with its rule says what is computed. A `HypergradientPolicy` says how
this is differentiated. `HigherPolicy` and `ReplayPolicy` differentiate every rule exactly, including its moments.
`TeslaPolicy` takes plain SGD only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

import torch

from satm.errors import ConfigError
from satm.types import FlatParams

Moments: TypeAlias = tuple[FlatParams, ...]
"""The vectors [P] that a rule keeps from one step to the next, such as the velocity of momentum SGD."""


class Point(NamedTuple):
    """The state of the inner loop before a step: θ_i and the moments.

    The same type also holds the cotangents (or the tangents) of these tensors: for each tensor x of the state, ∂F/∂x
    (or dx/dα), with the shape of x.
    """

    theta: FlatParams  # θ_i [P], the network's parameters before step i
    moments: Moments = ()


class Pulled(NamedTuple):
    """The cotangents before an update, computed from the cotangents after the update (reverse mode).

    The cotangent of the gradient g is stored in two parts: it is −`share` · `along`. Then one product of the second
    derivatives with `along` is enough for θ and φ and, for plain SGD, also for α.
    """

    point: Point  # the cotangents of θ and of the moments, without the paths through g
    share: torch.Tensor  # a factor, 0-dimensional
    along: FlatParams  # a vector [P]
    step_size: torch.Tensor | None  # the cotangent of α, 0-dimensional; None if it is −⟨g, along⟩


class UpdateRule(ABC):
    """One way to move θ: `update` computes the next θ and moments from θ, the moments and the gradient g [P]."""

    __slots__ = ()
    name: ClassVar[str]  # the name of the rule in `RULES` and in settings
    moments: ClassVar[int]
    """The number of vectors [P] that the rule keeps from one step to the next."""

    def start(self, theta: FlatParams) -> Point:
        """Return the point at which an inner loop starts: `theta`, and moments of zero."""
        return Point(theta, tuple(torch.zeros_like(theta) for _ in range(self.moments)))

    @abstractmethod
    def update(self, at: Point, gradient: FlatParams, step_size: torch.Tensor, step: int) -> Point:
        """Return the point after inner step `step` (0, 1, …) with the step size α = `step_size`.

        The result is differentiable with respect to every tensor among the arguments.
        """

    @property
    def kept(self) -> int:
        """The number of vectors [P] that a policy in reverse mode must keep for each differentiated step."""
        return 2 + self.moments  # 2 for θ and g

    def pulled_back(
        self, at: Point, gradient: FlatParams | None, step_size: torch.Tensor, step: int, after: Point
    ) -> Pulled:
        """Return the cotangents before this update, given the cotangents `after` it (reverse mode).

        `at` is the point before the update. `gradient` is the gradient g there. It may be None if the rule does not
        need g here (the rule's `kept` is 1).
        """
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
        """Return the derivatives of θ and of the moments with respect to α after this update (forward mode).

        `at` is the point before the update, and `tangent` holds the derivatives of θ and of the moments there. `curved`
        [P] is dg/dα.
        """

        leaves = [each.detach().requires_grad_() for each in (at.theta, *at.moments, gradient, step_size)]
        tangents = [*(tangent.theta, *tangent.moments), curved, torch.ones_like(step_size)]
        with torch.enable_grad():
            moved = self.update(Point(leaves[0], tuple(leaves[1:-2])), leaves[-2], leaves[-1], step)
            after = [moved.theta, *moved.moments]
            # Two passes in reverse mode give a derivative in forward mode. `pulled`, the vector-Jacobian product, is
            # linear in the cotangents `duals`. So the derivative of ⟨pulled, tangents⟩ with respect to `duals` is the
            # Jacobian-vector product.
            duals = [torch.zeros_like(each).requires_grad_() for each in after]
            pulled = torch.autograd.grad(after, leaves, duals, create_graph=True, materialize_grads=True)
            along = sum(((each * t).sum() for each, t in zip(pulled, tangents, strict=True)), torch.zeros(()))
        theta, *moments = torch.autograd.grad(along, duals, materialize_grads=True)
        return Point(theta, tuple(moments))


@dataclass(frozen=True, slots=True)
class PlainSGD(UpdateRule):
    """Plain SGD: θ' = θ − α g. Its derivatives are written as formulas, without autograd."""

    name: ClassVar[str] = "sgd"
    moments: ClassVar[int] = 0

    @property
    def kept(self) -> int:
        """See `UpdateRule`: only θ."""
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
    """SGD with momentum: m' = μ m + g, θ' = θ − α m', as `torch.optim.SGD` without dampening."""

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

    If an entry of v' is 0, that entry of g has been 0 in every step so far. The square root has no derivative at 0, so
    for such an entry the root and its derivative are taken to be 0.
    """

    name: ClassVar[str] = "adam"
    moments: ClassVar[int] = 2
    beta1: float = 0.9  # β₁
    beta2: float = 0.999  # β₂
    eps: float = 1e-8  # ε

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
