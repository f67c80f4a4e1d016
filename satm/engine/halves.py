"""The gradient and the product of a step as two halves, so that the passes of the gradient are not computed twice.

The gradient g of a step needs three convolutions for each layer: the forward pass, and the backward passes to the
input and to the weight. A product (`Step.product`) needs eight, and two of these are the forward pass and the backward
pass to the input again. If a step keeps the results of these two (its activations and their cotangents) until its
product is computed, the product needs six.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import torch

from satm.engine.product import Differentiate, Gradient, Product, Slope
from satm.machine.compilation import compiled
from satm.machine.cut import CannotCut, Cut, Tensors, cut
from satm.machine.pieces import pieces
from satm.types import FlatParams, Images, Labels

Kept: TypeAlias = tuple[Any, ...]
"""What a gradient keeps for the product at the same point: tensors, or a `Kept` for each piece of the batch. It is
empty if the step cannot be cut in halves."""


@dataclass(frozen=True)
class Halves:
    """The two halves: `gradient`(θ, x, y) returns g and what is kept, and `product`(θ, x, y, v, kept) the product."""

    gradient: Callable[[FlatParams, Images, Labels], tuple[FlatParams, Kept]]
    product: Callable[[FlatParams, Images, Labels, FlatParams, Kept], Product]

    def by_pieces(self, at_once: int) -> Halves:
        """The halves that compute the same, but on at most `at_once` images at a time."""

        def gradient(theta: FlatParams, images: Images, labels: Labels) -> tuple[FlatParams, Kept]:
            parts = [(share, *self.gradient(theta, x, y)) for share, x, y in pieces(at_once, images, labels)]
            total = reduce(torch.add, (share * found for share, found, _ in parts))
            return total, tuple(kept for _, _, kept in parts)

        def product(theta: FlatParams, images: Images, labels: Labels, v: FlatParams, kept: Kept) -> Product:
            parts = zip(pieces(at_once, images, labels), kept, strict=True)
            return reduce(
                Product.joined, (self.product(theta, x, y, v, own).times(share) for (share, x, y), own in parts)
            )

        return Halves(gradient, product)


def make_halves(tangent: Slope, *, gradient: Gradient, product: Differentiate, notify: Callable[[str], None]) -> Halves:
    """Make the halves of a compiled step.

    `tangent` computes s = ⟨g, v⟩ in forward mode. Since s is linear in v, g is ∂s/∂v. So one function computes g and
    the product. For each shape of a batch it is cut (`satm.machine.cut`) into the operations that need v and the rest.
    If it cannot be cut, nothing is kept, and `gradient` and `product` are used. If compiling fails, `notify` is called
    with one line.
    """
    cuts: dict[object, Cut | None] = {}

    def halves(theta: FlatParams, images: Images, labels: Labels) -> Cut | None:
        shapes = (images.shape, labels.shape, labels.dtype)
        if shapes not in cuts:
            whole = _whole(tangent, soft=labels.is_floating_point())
            try:
                first, second = cut(whole, (theta, images, labels), torch.zeros_like(theta))
                cuts[shapes] = compiled(first, notify=notify), compiled(second, notify=notify)
            except CannotCut:
                cuts[shapes] = None
        return cuts[shapes]

    def keeping(theta: FlatParams, images: Images, labels: Labels) -> tuple[FlatParams, Kept]:
        found = halves(theta, images, labels)
        if found is None:
            return gradient(theta, images, labels), ()
        result, *kept = found[0](theta, images, labels)
        return result, tuple(kept)

    def from_kept(theta: FlatParams, images: Images, labels: Labels, v: FlatParams, kept: Kept) -> Product:
        found = halves(theta, images, labels)
        if found is None:
            return product(theta, images, labels, v)
        value, of_theta, of_images, *of_labels = found[1](theta, images, labels, v, *kept)
        return Product(value, of_theta, of_images, of_labels[0] if of_labels else None)

    return Halves(keeping, from_kept)


def _whole(tangent: Slope, *, soft: bool) -> Callable[..., Tensors]:
    """The function from (θ, x, y, v) to (g, s, ∂s/∂θ, ∂s/∂x) and, for soft labels, ∂s/∂y."""
    variables = (3, 0, 1, 2) if soft else (3, 0, 1)

    def whole(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> Tensors:
        found, value = torch.func.grad_and_value(tangent, argnums=variables)(theta, images, labels, v)
        return found[0], value, *found[1:]

    return whole


def kept_bytes(kept: Kept) -> int:
    """The memory that `kept` takes, in bytes."""
    return sum(each.nbytes if isinstance(each, torch.Tensor) else kept_bytes(each) for each in kept)
