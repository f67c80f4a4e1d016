"""Two policies that differentiate the inner loop step by step: `ReplayPolicy` (exact) and `TeslaPolicy` (approximate).

They use vector-Jacobian products of single inner steps. So autograd's graph is never longer than one step, and each
step is a pure function that can be compiled.

Symbols: θ_i [P] are the network's parameters before inner step i. F(φ, α) = L(θ_N) is the matching loss L after N inner
steps with the images φ and the step size α. The window is the differentiated steps ι … N − 1. The cotangent of a value
x is ∂F/∂x, which is passed backwards from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from satm.engine.halves import Kept
from satm.engine.hypergradient import Hypergradient
from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.product import Differentiate
from satm.engine.step import Step
from satm.engine.step_size import closed_form
from satm.engine.truncation import Truncation
from satm.engine.update import PLAIN_SGD, Moments, Point
from satm.errors import ConfigError
from satm.types import FlatParams, Images, Labels


@dataclass(frozen=True)
class ReplayPolicy:
    """The policy that stores θ_i of every step of the window, and then goes backwards through these steps.

    Let g_i = ∇_θ L_CE(θ_i, φ) [P] be the inner gradient and H_i = ∂g_i/∂θ_i the Hessian of the inner loss. With plain
    SGD, start with v = ∂L/∂θ_N [P], and for i = N − 1 … ι compute:

        ∂F/∂φ += −α ∂⟨g_i, v⟩/∂φ,  ∂F/∂α += −⟨g_i, v⟩,  v ← v − α H_i v

    With another update rule, v and the cotangents of the rule's moments (such as momentum) first go backwards through
    the update itself. This changes v, and gives the term of ∂F/∂α and the cotangent u of g_i. Then
    ∂F/∂φ += ∂⟨g_i, u⟩/∂φ and v ← v + H_i u.

    The result is exact, like that of `HigherPolicy`. The memory holds the graph of one step and, for each step of the
    window, `UpdateRule.kept` vectors [P]: θ_i and, if the rule is not plain SGD, g_i and the moments. For long jobs,
    use this policy compiled: with a full window it takes 0.64 to 0.76 of the time of MTT's own code (docs/engine.md).
    Use it uncompiled if the tape of `HigherPolicy` does not fit in memory. The network must not draw random numbers.

    If the step is compiled, the last `kept_steps` steps of the loop also keep their activations and the cotangents of
    these (`satm.engine.halves`). To differentiate such a step takes about 0.8 of the time.
    """

    step: Step
    kept_steps: int = 0
    name = "replay"
    exact = True

    def __call__(
        self,
        loop: InnerLoop,
        at: OuterVariables,
        theta_start: FlatParams,
        outer_loss: Callable[[FlatParams], torch.Tensor],
        truncation: Truncation,
        *,
        first: int = 0,
        keep: int | None = None,
        moments: Moments | None = None,
    ) -> Hypergradient:
        """See `HypergradientPolicy`."""
        self.step.check(loop)
        at = OuterVariables(*(value.detach() for value in at))
        tape_from = max(first, truncation.first_taped(loop.steps))
        kept: dict[int, Kept] = {}
        kept_from = max(tape_from, loop.steps - self.kept_steps)
        halves = self.step.halves if self.kept_steps else None

        def gradient_at(i: int, theta: FlatParams, images: Images, labels: Labels) -> FlatParams:
            if halves is None:
                return self.step.gradient(theta, images, labels)
            # The earlier steps use the same function: it is as fast, and a second one need not be compiled.
            gradient, own = halves.gradient(theta, images, labels)
            if i >= kept_from:
                kept[i] = own
            return gradient

        steps = range(first, loop.steps)
        run = inner_path(self.step, loop, at, theta_start, steps, moments=moments, gradient_at=gradient_at)
        whole = loop.rule.kept > 1  # plain SGD needs no stored gradients on the way back, only θ
        path = {i: (point, gradient if whole else None) for i, point, gradient in run if i >= tape_from or i == keep}
        end, _ = path[loop.steps]
        loss, v = _value_and_gradient(outer_loss, end.theta)
        found = _Sum(loop, at, outer_gradient=v)
        after = loop.rule.start(torch.zeros_like(v))._replace(theta=v)
        for i in reversed(range(tape_from, loop.steps)):
            point, gradient = path.pop(i) if i != keep else path[i]
            after = found.back(i, self._product(kept.pop(i, ())), point, gradient, after)
        return found.result(loss, theta_start, end, None if keep is None else path[keep][0])

    def _product(self, kept: Kept) -> Differentiate:
        halves = self.step.halves
        if not kept or halves is None:
            return self.step.product
        return lambda theta, images, labels, v: halves.product(theta, images, labels, v, kept)


@dataclass(frozen=True)
class TeslaPolicy:
    """The approximate policy of TESLA (Cui et al. 2023), which treats every θ_i of the window as independent of φ.

    The first pass runs the inner steps to θ_N and computes v = ∂L/∂θ_N. The second pass runs the differentiated steps
    again and sums ∂F/∂φ ≈ −α Σ_i ∂⟨g_i, v⟩/∂φ, where g_i = ∇_θ L_CE(θ_i, φ) and θ_i and v are constants. This needs
    memory for a few vectors [P] only, but it is exact only if a single step is differentiated. It takes plain SGD only.
    Use it for the method TESLA, or if the θ_i of a window do not fit in memory. Otherwise use `ReplayPolicy`, which
    gives the exact derivative in about the same time.

    TESLA's published code (distill.py:418 at 488842e) writes `2 * t`, where t is a tuple that holds a gradient. In
    Python this repeats the tuple and does not double the gradient. So the gradient with respect to the images in the
    published code is half of the one here.
    """

    step: Step
    name = "tesla"
    exact = False

    def __call__(
        self,
        loop: InnerLoop,
        at: OuterVariables,
        theta_start: FlatParams,
        outer_loss: Callable[[FlatParams], torch.Tensor],
        truncation: Truncation,
        *,
        first: int = 0,
        keep: int | None = None,
        moments: Moments | None = None,
    ) -> Hypergradient:
        """See `HypergradientPolicy`."""
        self.step.check(loop)
        at = OuterVariables(*(value.detach() for value in at))
        if loop.rule != PLAIN_SGD:
            raise ConfigError(f"engine tesla: it takes plain SGD only, not {loop.rule.name}; set engine=replay")
        tape_from = max(first, truncation.first_taped(loop.steps))
        run = inner_path(self.step, loop, at, theta_start, range(first, loop.steps))
        marks = {step: point for step, point, _ in run if step in (tape_from, keep, loop.steps)}
        loss, v = _value_and_gradient(outer_loss, marks[loop.steps].theta)
        found = _Sum(loop, at, outer_gradient=v)
        for step, point, _ in inner_path(self.step, loop, at, marks[tape_from].theta, range(tape_from, loop.steps)):
            if step < loop.steps:
                found.back(step, self.step.mixed, point, None, Point(v))
        return found.result(loss, theta_start, marks[loop.steps], None if keep is None else marks[keep])


def inner_path(
    step: Step,
    loop: InnerLoop,
    at: OuterVariables,
    theta: FlatParams,
    steps: range,
    *,
    moments: Moments | None = None,
    gradient_at: Callable[[int, FlatParams, Images, Labels], FlatParams] | None = None,
) -> Iterator[tuple[int, Point, FlatParams]]:
    """Run the inner steps `steps` from the parameters `theta` [P], without autograd's tape.

    Yields (i, the point before step i, the gradient g_i [P] of step i) for each step. A point holds θ and the moments
    of the update rule. At the end it yields (`steps.stop`, the point after the last step, zeros in place of a
    gradient). `moments` are the moments at the start; None means zero. `gradient_at` computes g_i from (i, θ_i, images,
    labels); None means `Step.gradient`.
    """
    point = loop.rule.start(theta.detach())
    if moments is not None:
        point = point._replace(moments=moments)
    for i in steps:
        images, labels = loop.batch(i, at)
        images = loop.transforms[i](images)
        if gradient_at is None:
            gradient = step.gradient(point.theta, images, labels)
        else:
            gradient = gradient_at(i, point.theta, images, labels)
        yield i, point, gradient
        point = loop.rule.update(point, gradient, loop.step_size(i, at), i)
    yield steps.stop, point, torch.zeros_like(point.theta)


def _value_and_gradient(
    outer_loss: Callable[[FlatParams], torch.Tensor], theta: FlatParams
) -> tuple[torch.Tensor, FlatParams]:
    leaf = theta.detach().requires_grad_()
    loss = outer_loss(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


class _Sum:
    """Computes the derivatives of F with respect to φ, its labels and α. Each is a sum over the differentiated steps.

    `self.at` holds the outer variables (φ, its labels and α), and `outer_gradient` is ∂L/∂θ_N [P].
    """

    def __init__(self, loop: InnerLoop, at: OuterVariables, *, outer_gradient: FlatParams) -> None:
        self.loop, self.at, self.outer_gradient = loop, at, outer_gradient
        self.images: Images = torch.zeros_like(at.images)
        self.labels: Labels | None = torch.zeros_like(at.labels) if at.labels.is_floating_point() else None
        self.step_size = torch.zeros_like(at.step_size)

    def back(
        self,
        step: int,
        differentiate: Differentiate,
        at: Point,
        gradient: FlatParams | None,
        after: Point,
    ) -> Point:
        """Add the terms of inner step `step` to the sums. Returns the cotangents of θ and the moments before the step.

        `at` is the point before the step, `gradient` is the inner gradient g there (None for plain SGD, which does not
        need it), and `after` holds the cotangents after the step. `differentiate` is `Step.product`, or `Step.mixed` to
        leave out the paths through θ.
        """
        alpha = self.loop.step_size(step, self.at)
        pulled = self.loop.rule.pulled_back(at, gradient, alpha, step, after)
        images, labels = self.loop.batch(step, self.at)
        leaf = images.detach().requires_grad_()
        seen = self.loop.transforms[step](leaf)
        product = differentiate(at.theta, seen.detach(), labels, pulled.along)
        derivative = product.images
        if seen is not leaf:
            (derivative,) = torch.autograd.grad(seen, leaf, derivative)
        self._scatter(step, self.images, -pulled.share * derivative)
        if self.labels is not None and product.labels is not None:
            self._scatter(step, self.labels, -pulled.share * product.labels)
        own = -product.value if pulled.step_size is None else pulled.step_size
        self.step_size = self.step_size + own if self.at.step_size.ndim == 0 else _added(self.step_size, step, own)
        if product.theta is None:
            return pulled.point
        return pulled.point._replace(theta=pulled.point.theta - pulled.share * product.theta)

    def _scatter(self, step: int, into: torch.Tensor, derivative: torch.Tensor) -> None:
        index = self.loop.batches[step]
        if index is None:
            into += derivative
        else:
            into.index_add_(0, index, derivative)

    def result(self, loss: torch.Tensor, theta_start: FlatParams, end: Point, kept: Point | None) -> Hypergradient:
        """The sums as the result of a policy.

        `end` is the point after the last inner step. `kept` is the point before step `keep`; None without `keep`.
        """
        return Hypergradient(
            loss=loss,
            images=self.images,
            labels=self.labels,
            step_size=closed_form(self.outer_gradient, theta_start.detach(), end.theta, self.at.step_size),
            step_size_taped=self.step_size,
            theta=end.theta,
            kept=None if kept is None else kept.theta,
            kept_moments=() if kept is None else kept.moments,
        )


def _added(values: torch.Tensor, position: int, value: torch.Tensor) -> torch.Tensor:
    # A copy of `values` [N] with `value` added at `position`.
    return values.index_add(0, torch.tensor([position], device=values.device), value.reshape(1))
