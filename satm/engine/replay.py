"""Policies made of vector-Jacobian products of single steps: `ReplayPolicy` (exact) and `TeslaPolicy`.

No graph is longer than one step, and each step is a pure function that can be compiled. Symbols: F(φ, α) = L(θ_N) is
the matching loss L after N inner steps from images φ and step size α. The window is the differentiated steps ι … N − 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from satm.engine.hypergradient import Hypergradient
from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.step import Product, Step
from satm.engine.step_size import first_order_step_size_derivative
from satm.engine.truncation import Truncation
from satm.types import FlatParams, Images, Labels


@dataclass(frozen=True)
class ReplayPolicy:
    """Stores the parameters of the window and differentiates it backwards, one vector-Jacobian product a step.

    Start with v = ∂L/∂θ_N [P]. For i = N − 1 … ι, with the inner gradient g_i = ∇_θ L_CE(θ_i, φ) and its Hessian H_i:
    ∂F/∂φ += −α ∂⟨g_i, v⟩/∂φ, ∂F/∂α += −⟨g_i, v⟩, v ← v − α H_i v.

    It is exact, as `HigherPolicy` is. It holds in RAM the graph of one step and the θ_i of the window, P numbers each.
    Use it compiled for long jobs (a full window takes 0.64 to 0.76 of the time of MTT's own code, docs/engine.md), or
    uncompiled if the tape of `HigherPolicy` does not fit in RAM. The network must not draw random numbers.
    """

    step: Step
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
    ) -> Hypergradient:
        """See `HypergradientPolicy`."""
        self.step.check(loop)
        at = OuterVariables(*(value.detach() for value in at))
        tape_from = max(first, truncation.first_taped(loop.steps))
        run = sgd_path(self.step, loop, at, theta_start, range(first, loop.steps))
        path = {step: theta for step, theta in run if step >= tape_from or step == keep}
        loss, v = _value_and_gradient(outer_loss, path[loop.steps])
        found = _Sum(loop, at, outer_gradient=v)
        for step in reversed(range(tape_from, loop.steps)):
            product = found.add(step, self.step.product, path.pop(step) if step != keep else path[step], v)
            assert product.theta is not None  # it is None only for `step.mixed`, which takes θ as constant
            v = v - at.step_size * product.theta
        return found.result(loss, theta_start, path[loop.steps], None if keep is None else path[keep])


@dataclass(frozen=True)
class TeslaPolicy:
    """TESLA's two passes (Cui et al. 2023). The derivative leaves out every path from φ through a later θ_i.

    The first pass runs the steps to θ_N and gives v = ∂L/∂θ_N. The second pass runs the differentiated steps again and
    sums ∂F/∂φ ≈ −α Σ_i ∂⟨g_i, v⟩/∂φ, with θ_i and v constant. It needs O(P) RAM and is exact only for a single step.
    Use it for the method TESLA, or if the θ_i of a window do not fit in RAM. Otherwise use `ReplayPolicy`, which gives
    the exact derivative in about the same time. The published code (distill.py:418 at 488842e) writes `2 * t` for a
    tuple t. This repeats the tuple and does not double the gradient in it, so its image gradient is half of this one.
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
    ) -> Hypergradient:
        """See `HypergradientPolicy`."""
        self.step.check(loop)
        at = OuterVariables(*(value.detach() for value in at))
        tape_from = max(first, truncation.first_taped(loop.steps))
        run = sgd_path(self.step, loop, at, theta_start, range(first, loop.steps))
        marks = {step: theta for step, theta in run if step in (tape_from, keep, loop.steps)}
        loss, v = _value_and_gradient(outer_loss, marks[loop.steps])
        found = _Sum(loop, at, outer_gradient=v)
        for step, theta in sgd_path(self.step, loop, at, marks[tape_from], range(tape_from, loop.steps)):
            if step < loop.steps:
                found.add(step, self.step.mixed, theta, v)
        return found.result(loss, theta_start, marks[loop.steps], None if keep is None else marks[keep])


def sgd_path(
    step: Step, loop: InnerLoop, at: OuterVariables, theta: FlatParams, steps: range
) -> Iterator[tuple[int, FlatParams]]:
    """Run the inner loop from `theta` [P] without a tape: (i, θ_i) for i in `steps` and for the index after them."""
    theta = theta.detach()
    for i in steps:
        yield i, theta
        images, labels = loop.batch(i, at)
        theta = theta - at.step_size * step.gradient(theta, loop.transforms[i](images), labels)
    yield steps.stop, theta


def _value_and_gradient(
    outer_loss: Callable[[FlatParams], torch.Tensor], theta: FlatParams
) -> tuple[torch.Tensor, FlatParams]:
    leaf = theta.detach().requires_grad_()
    loss = outer_loss(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


class _Sum:
    """The sums over steps that make the derivatives with respect to φ, its labels and α."""

    def __init__(self, loop: InnerLoop, at: OuterVariables, *, outer_gradient: FlatParams) -> None:
        self.loop, self.at, self.outer_gradient = loop, at, outer_gradient
        self.images: Images = torch.zeros_like(at.images)
        self.labels: Labels | None = torch.zeros_like(at.labels) if at.labels.is_floating_point() else None
        self.step_size = torch.zeros_like(at.step_size)

    def add(
        self,
        step: int,
        differentiate: Callable[[FlatParams, Images, Labels, FlatParams], Product],
        theta: FlatParams,
        v: FlatParams,
    ) -> Product:
        """Add the terms of step `step` at θ with cotangent v [P]. Returns the product that gave them."""
        images, labels = self.loop.batch(step, self.at)
        leaf = images.detach().requires_grad_()
        seen = self.loop.transforms[step](leaf)
        product = differentiate(theta, seen.detach(), labels, v)
        pulled = product.images
        if seen is not leaf:
            (pulled,) = torch.autograd.grad(seen, leaf, pulled)
        self._scatter(step, self.images, pulled)
        if self.labels is not None and product.labels is not None:
            self._scatter(step, self.labels, product.labels)
        self.step_size = self.step_size - product.value
        return product

    def _scatter(self, step: int, into: torch.Tensor, derivative: torch.Tensor) -> None:
        index = self.loop.batches[step]
        derivative = -self.at.step_size * derivative
        if index is None:
            into += derivative
        else:
            into.index_add_(0, index, derivative)

    def result(
        self, loss: torch.Tensor, theta_start: FlatParams, theta_end: FlatParams, kept: FlatParams | None
    ) -> Hypergradient:
        """The sums as the result of a policy."""
        return Hypergradient(
            loss=loss,
            images=self.images,
            labels=self.labels,
            step_size=first_order_step_size_derivative(
                self.outer_gradient, theta_start.detach(), theta_end, self.at.step_size
            ),
            step_size_taped=self.step_size,
            theta=theta_end,
            kept=kept,
        )
