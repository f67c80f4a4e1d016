"""One inner step as pure functions of tensors: its gradient g, and the derivatives of g · v for a vector v."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from satm.engine.inner import Criterion, InnerLoop
from satm.errors import ConfigError
from satm.functional import FlatNetwork
from satm.machine.compilation import compiled
from satm.machine.pieces import pieces
from satm.machine.precision import Precision
from satm.types import FlatParams, Images, Labels


class Product(NamedTuple):
    """s = ⟨∇_θ L(θ, x, y), v⟩ and its derivatives, each with the shape of its variable."""

    value: torch.Tensor  # s, 0-dimensional
    theta: FlatParams | None  # ∂s/∂θ = H v [P]; None if θ is held constant
    images: Images  # ∂s/∂x [b, C, H, W], the mixed derivative times v
    labels: Labels | None  # ∂s/∂y [b, K]; None for hard labels

    def times(self, share: float) -> Product:
        """This product if the loss were multiplied by `share`."""
        theta, labels = (None if each is None else share * each for each in (self.theta, self.labels))
        return Product(share * self.value, theta, share * self.images, labels)

    def joined(self, other: Product) -> Product:
        """The product for two parts of a batch, this one first."""
        theta = None if self.theta is None or other.theta is None else self.theta + other.theta
        labels = None if self.labels is None or other.labels is None else torch.cat([self.labels, other.labels])
        return Product(self.value + other.value, theta, torch.cat([self.images, other.images]), labels)


Slope: TypeAlias = Callable[[FlatParams, Images, Labels, FlatParams], torch.Tensor]  # (θ, x, y, v) → s
Differentiate: TypeAlias = Callable[[FlatParams, Images, Labels, FlatParams], Product]  # (θ, x, y, v) → s and more


@dataclass(frozen=True)
class Step:
    """First and second derivatives of the inner loss L(θ, x, y), the mean over a batch.

    θ [P] are the parameters, x [b, C, H, W] the images of the batch and y their labels, [b] int64 or [b, K]. An inner
    step is θ' = θ − α ∇_θ L. With s = ⟨∇_θ L, v⟩, the vector-Jacobian product of this step with a cotangent v [P] is
    v_θ = v − α ∂s/∂θ, v_x = −α ∂s/∂x, v_y = −α ∂s/∂y, v_α = −s.
    """

    network: nn.Module
    criterion: Criterion
    gradient: Callable[[FlatParams, Images, Labels], FlatParams]  # ∇_θ L
    product: Differentiate
    mixed: Differentiate  # `product` with θ held constant: its `theta` is None
    at_once: int | None = None  # images that are differentiated together; None: the whole batch

    def check(self, loop: InnerLoop) -> None:
        """Raise ConfigError if this step has another network or criterion than `loop`."""
        if loop.network is not self.network or loop.criterion is not self.criterion:
            raise ConfigError("the step has another network or criterion than the inner loop")


def make_step(
    network: nn.Module,
    *,
    criterion: Criterion = F.cross_entropy,
    precision: Precision = "float32",
    at_once: int | None = None,
    notify: Callable[[str], None] | None = None,
) -> Step:
    """The step of `network`.

    The network must not draw random numbers: a step that draws could not be repeated.

    notify: None: the step is not compiled. Else it is compiled, and `notify` is called with one line if that fails.
    at_once: how many images are differentiated together (`satm.machine.pieces.images_at_once`). This changes only
        round-off, provided that the logits of an image do not depend on the other images of its batch. For other
        networks it must be None.
    precision: "bf16" runs the network under torch's autocast. Convolutions and products are in bfloat16, and so are
        activations and norms. Parameters, loss and sums over steps stay float32.
    """
    flat = FlatNetwork(network.train())
    kind = next(network.parameters()).device.type

    def loss(theta: FlatParams, images: Images, labels: Labels) -> torch.Tensor:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = flat(theta, images)
        return criterion(logits.to(theta.dtype), labels)

    def gradient(theta: FlatParams, images: Images, labels: Labels) -> FlatParams:
        found: FlatParams = torch.func.grad(loss)(theta, images, labels)
        return found

    def slope(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> torch.Tensor:
        return gradient(theta, images, labels) @ v

    def tangent(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> torch.Tensor:
        found: torch.Tensor = torch.func.jvp(lambda at: loss(at, images, labels), (theta,), (v,))[1]
        return found

    product, mixed = (_differentiated(slope, hold_theta=held) for held in (False, True))
    if notify is None:
        return _by_pieces(Step(network, criterion, gradient, product, mixed), at_once)
    # s is also the derivative of L along v. Differentiating this form needs no double backward of a convolution,
    # which is slow: torch uses the images as kernels in it. In uncompiled code the tangents of norms cost more than
    # this saves.
    fuse = partial(compiled, notify=notify)
    _load_forward_mode()
    step = Step(
        network,
        criterion,
        fuse(gradient),
        fuse(_differentiated(tangent, hold_theta=False), otherwise=product),
        fuse(_differentiated(tangent, hold_theta=True), otherwise=mixed),
    )
    return _by_pieces(step, at_once)


def _by_pieces(step: Step, at_once: int | None) -> Step:
    """The same step on `at_once` images at a time: L is a mean over images, so the derivatives add up."""
    if at_once is None:
        return step

    def gradient(theta: FlatParams, images: Images, labels: Labels) -> FlatParams:
        parts = (share * step.gradient(theta, x, y) for share, x, y in pieces(at_once, images, labels))
        return reduce(torch.add, parts)

    def by_pieces(whole: Differentiate) -> Differentiate:
        def product(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> Product:
            parts = (whole(theta, x, y, v).times(share) for share, x, y in pieces(at_once, images, labels))
            return reduce(Product.joined, parts)

        return product

    return replace(
        step,
        gradient=gradient,
        product=by_pieces(step.product),
        mixed=by_pieces(step.mixed),
        at_once=at_once,
    )


def _load_forward_mode() -> None:
    """Load the rules of torch's forward mode. Torch does this at first use, by a call that it deprecates itself."""
    zero = torch.zeros(())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.func.jvp(torch.sin, (zero,), (zero,))


def _differentiated(slope: Slope, *, hold_theta: bool) -> Differentiate:
    def product(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> Product:
        variables = (*(() if hold_theta else (0,)), 1, *((2,) if labels.is_floating_point() else ()))
        found, value = torch.func.grad_and_value(slope, argnums=variables)(theta, images, labels, v)
        by = dict(zip(variables, found, strict=True))
        return Product(value, by.get(0), by[1], by.get(2))

    return product
