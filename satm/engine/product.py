"""The derivatives of s = ⟨g, v⟩, where g is the gradient of the inner loss and v is a constant vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch

from satm.types import FlatParams, Images, Labels


class Product(NamedTuple):
    """s = ⟨∇_θ L(θ, x, y), v⟩ and its derivatives with respect to θ, x and y (see `Step` for the symbols)."""

    value: torch.Tensor  # s, 0-dimensional
    theta: FlatParams | None  # ∂s/∂θ = H v [P], where H is the Hessian of L; None if θ is held constant
    images: Images  # ∂s/∂x [b, C, H, W], the mixed second derivative of L times v
    labels: Labels | None  # ∂s/∂y [b, K]; None for hard labels

    def times(self, share: float) -> Product:
        """The product for the loss `share` · L."""
        theta, labels = (None if each is None else share * each for each in (self.theta, self.labels))
        return Product(share * self.value, theta, share * self.images, labels)

    def joined(self, other: Product) -> Product:
        """The product for a batch of two parts: `self` is the product of the first part, `other` of the second.

        The loss of the batch is the sum of the losses of both parts.
        """
        theta = None if self.theta is None or other.theta is None else self.theta + other.theta
        labels = None if self.labels is None or other.labels is None else torch.cat([self.labels, other.labels])
        return Product(self.value + other.value, theta, torch.cat([self.images, other.images]), labels)


# A function from (θ, x, y, v) to s
Slope: TypeAlias = Callable[[FlatParams, Images, Labels, FlatParams], torch.Tensor]
# A function from (θ, x, y, v) to s and its derivatives
Differentiate: TypeAlias = Callable[[FlatParams, Images, Labels, FlatParams], Product]
# A function from (θ, x, y) to g = ∇_θ L [P]
Gradient: TypeAlias = Callable[[FlatParams, Images, Labels], FlatParams]


def differentiated(slope: Slope, *, hold_theta: bool) -> Differentiate:
    """The function that computes s by `slope`, and its derivatives. `hold_theta`: θ is constant, without ∂s/∂θ."""

    def product(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> Product:
        variables = (*(() if hold_theta else (0,)), 1, *((2,) if labels.is_floating_point() else ()))
        found, value = torch.func.grad_and_value(slope, argnums=variables)(theta, images, labels, v)
        by = dict(zip(variables, found, strict=True))
        return Product(value, by.get(0), by[1], by.get(2))

    return product
