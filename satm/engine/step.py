"""One inner step as two pure functions of tensors: its gradient, and the product with that gradient's derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from satm.compilation import compiled
from satm.engine.functional import FlatNetwork
from satm.engine.inner import Criterion
from satm.errors import ConfigError
from satm.types import FlatParams, Images, Labels

Precision: TypeAlias = Literal["float32", "bf16"]


class Product(NamedTuple):
    """s = ⟨∇_θ L(θ, x, y), v⟩ and its derivatives, each of the shape of what it belongs to."""

    value: torch.Tensor  # s, 0-dimensional
    theta: FlatParams  # ∂s/∂θ = H v
    images: Images  # ∂s/∂x, the mixed derivative times v
    labels: Labels | None  # ∂s/∂y; None for hard labels


@dataclass(frozen=True)
class Step:
    """The inner loss L(θ, x, y) of a network at θ, mean over the batch, differentiated once and twice.

    The vector-Jacobian product of the step θ' = θ − α ∇_θ L with a cotangent v is
    v_θ = v − α ∂s/∂θ, v_x = −α ∂s/∂x, v_y = −α ∂s/∂y, v_α = −s, s = ⟨∇_θ L, v⟩.
    """

    gradient: Callable[[FlatParams, Images, Labels], FlatParams]  # ∇_θ L
    product: Callable[[FlatParams, Images, Labels, FlatParams], Product]
    mixed: Callable[[FlatParams, Images, Labels, FlatParams], Product]  # `product` with θ held: its `theta` is 0


def make_step(
    network: nn.Module,
    *,
    criterion: Criterion = F.cross_entropy,
    precision: Precision = "float32",
    notify: Callable[[str], None] | None = None,
) -> Step:
    """The step of `network`, compiled where `notify` is given (it hears of a failure to compile).

    `precision` "bf16" runs the network's products and convolutions in bfloat16 (torch's autocast; parameters, norms,
    loss and sums stay as they are). A step is repeatable only where `check_repeatable` does not complain.
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

    def product(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> Product:
        where = (0, 1, 2) if labels.is_floating_point() else (0, 1)
        found, value = torch.func.grad_and_value(slope, argnums=where)(theta, images, labels, v)
        return Product(value, found[0], found[1], found[2] if len(found) == 3 else None)

    def mixed(theta: FlatParams, images: Images, labels: Labels, v: FlatParams) -> Product:
        where = (1, 2) if labels.is_floating_point() else (1,)
        found, value = torch.func.grad_and_value(slope, argnums=where)(theta, images, labels, v)
        return Product(value, torch.zeros_like(theta), found[0], found[1] if len(found) == 2 else None)

    if notify is None:
        return Step(gradient, product, mixed)
    fuse = partial(compiled, notify=notify)
    return Step(fuse(gradient), fuse(product), fuse(mixed))


def check_repeatable(network: nn.Module, images: Images) -> None:
    """Raise ConfigError when a forward pass of `images` draws random numbers: a step could not be repeated."""
    with torch.random.fork_rng(), torch.no_grad():
        before = torch.random.get_rng_state()
        network.train()(images)
        if not torch.equal(before, torch.random.get_rng_state()):
            raise ConfigError(
                "the network draws random numbers (dropout), so that no step can be replayed; engine higher"
            )
