"""One inner step as pure functions of tensors: the gradient g of the inner loss, and the derivatives of g · v.

v [P] is a constant vector. The derivatives of g · v are what the backward pass through an inner step needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from torch import nn
from torch.nn import functional as F

from satm.engine.halves import Halves, make_halves
from satm.engine.inner import Criterion, InnerLoop
from satm.engine.product import Differentiate, Gradient, Product, differentiated
from satm.errors import ConfigError
from satm.functional import FlatNetwork
from satm.machine.compilation import compiled, load_forward_mode
from satm.machine.pieces import pieces
from satm.machine.precision import Precision
from satm.types import FlatParams, Images, Labels


@dataclass(frozen=True)
class Step:
    """The functions that compute first and second derivatives of the inner loss L(θ, x, y), the mean over a batch.

    θ [P] are the parameters, x [b, C, H, W] are the images of the batch, and y are their labels: [b] int64 or [b, K].
    An inner step is θ' = θ − α ∇_θ L. Let v = ∂F/∂θ' [P] be the derivative of some loss F after the step, and let
    s = ⟨∇_θ L, v⟩. Then the vector-Jacobian product of the step with v, the derivatives of F before the step, is:

        ∂F/∂θ = v − α ∂s/∂θ,  ∂F/∂x = −α ∂s/∂x,  ∂F/∂y = −α ∂s/∂y,  ∂F/∂α = −s
    """

    network: nn.Module
    criterion: Criterion
    gradient: Gradient
    product: Differentiate  # computes s and its derivatives
    mixed: Differentiate  # like `product`, but holds θ constant, so the `theta` of its result is None
    at_once: int | None = None  # number of images that are differentiated together; None means the whole batch
    halves: Halves | None = None  # gradient and product if activations are kept between them; None in uncompiled code

    def check(self, loop: InnerLoop) -> None:
        """Raise ConfigError if this step was made for another network or criterion than those of `loop`."""
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
    """Make the `Step` of `network` and `criterion`.

    The network must not draw random numbers, because a step with random numbers could not be repeated.

    notify: if None, the step is not compiled. Otherwise it is compiled, and `notify` is called with one line if
        compiling fails.
    at_once: how many images are differentiated together (`satm.machine.pieces.images_at_once`). It changes only the
        round-off, if the logits of an image do not depend on the other images of its batch. For other networks it must
        be None.
    precision: "bf16" runs the network under torch's autocast. Its convolutions, matrix products, activations and
        normalisation layers compute in bfloat16. Parameters, loss and sums over steps stay float32.
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

    product, mixed = (differentiated(slope, hold_theta=held) for held in (False, True))
    if notify is None:
        return _by_pieces(Step(network, criterion, gradient, product, mixed), at_once)
    # s is also the directional derivative of L along v, which `tangent` computes in forward mode. To differentiate
    # `slope`, torch needs a double backward pass of each convolution, which is slow, because the images are the kernels
    # of its convolutions. To differentiate `tangent`, torch does not need it. In uncompiled code `tangent` is slower
    # all the same, because its forward-mode derivatives of normalisation layers cost more time than it saves.
    fuse = partial(compiled, notify=notify)
    load_forward_mode()
    step = Step(
        network,
        criterion,
        fuse(gradient),
        fuse(differentiated(tangent, hold_theta=False), otherwise=product),
        fuse(differentiated(tangent, hold_theta=True), otherwise=mixed),
    )
    halves = make_halves(tangent, gradient=step.gradient, product=step.product, notify=notify)
    return _by_pieces(replace(step, halves=halves), at_once)


def _by_pieces(step: Step, at_once: int | None) -> Step:
    """Return a step that computes the same as `step`, but on at most `at_once` images at a time; None: `step` itself.

    L is a mean over the images, so the derivatives of L are weighted sums of those of the pieces.
    """
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
        halves=step.halves and step.halves.by_pieces(at_once),
    )
