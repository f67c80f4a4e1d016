"""One architecture's gradient and forward pass as pure functions of a parameter vector, compiled once.

Networks of one architecture share the code, whatever their weights and their batch size. Training several networks at
once (`torch.func.vmap`) is not done: it turns their convolutions into a grouped one, which was slower on a CPU than
the same compiled steps one after another (five ConvNets of width 32 on 10 images each: 7.7 against 5.9 ms a network).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import nn
from torch.nn import functional as F

from satm.errors import ConfigError, ShapeError
from satm.functional import FlatNetwork, flatten
from satm.machine.compilation import Compilation as Compilation
from satm.machine.compilation import compiled, missing_compiler
from satm.machine.pieces import images_at_once, pieces
from satm.machine.purity import obstacle
from satm.types import FlatParams, Images, Labels

Update: TypeAlias = Callable[[Images, Labels], tuple[torch.Tensor, torch.Tensor]]
"""One SGD step on a batch; the mean cross-entropy and the logits [b, K] from before it, detached."""

GradientAt: TypeAlias = Callable[[FlatParams], tuple[FlatParams, torch.Tensor, torch.Tensor]]
"""θ → ∇L(θ) [P], L(θ) and the logits [b, K], of one batch."""

GradientRule: TypeAlias = Callable[[GradientAt, FlatParams], tuple[FlatParams, torch.Tensor, torch.Tensor]]
"""What the optimiser is given for a batch at θ in place of its gradient, with the loss and the logits there."""

Trained: TypeAlias = Literal["compiled", "eager"]
"""How networks were trained."""

WORTHWHILE = 2_000_000
"""Pixels (rows × columns, not channels) in one network's training from which on compiling it is worth a minute."""


class Fused:
    """The compiled code of every network built as `network` is.

    `notify` hears of it when something cannot be compiled after all; it then runs as it is. Raises ConfigError for a
    network that is more than a function of its parameters (`obstacle`).
    """

    def __init__(self, network: nn.Module, *, image_shape: tuple[int, int, int], notify: Callable[[str], None]) -> None:
        if reason := obstacle(network, image_shape):
            raise ConfigError(f"its training cannot be compiled: {reason}; train it uncompiled")
        self._shapes = _shapes(network)
        flat = FlatNetwork(deepcopy(network).train())

        def forward(theta: FlatParams, images: Images) -> torch.Tensor:
            return flat(theta, images)

        def loss(theta: FlatParams, images: Images, targets: Labels) -> tuple[torch.Tensor, torch.Tensor]:
            logits = forward(theta, images)
            return F.cross_entropy(logits, targets), logits

        def gradient(
            theta: FlatParams, images: Images, targets: Labels
        ) -> tuple[FlatParams, torch.Tensor, torch.Tensor]:
            found, (value, logits) = torch.func.grad_and_value(loss, has_aux=True)(theta, images, targets)
            return found, value, logits

        self.at_once = images_at_once(network, image_shape)
        self.training: Trained = "compiled"

        def fell_back(message: str) -> None:
            self.training = "eager"
            notify(message)

        self._forward, self._gradient = _any_batch(forward, notify), _any_batch(gradient, fell_back)

    def update(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        rule: GradientRule | None = None,
        clip_norm: float | None = None,
    ) -> Update:
        """`optimizer`'s SGD step on `network`, whose parameters and momentum become views of one vector each.

        The gradient, or what `rule` makes of it, is no longer than `clip_norm`. Raises ShapeError for a network of
        another architecture.
        """
        theta = self._flat(network)
        velocity = torch.zeros_like(theta)
        (group,) = optimizer.param_groups
        offset = 0
        for p in network.parameters():
            part = slice(offset, offset := offset + p.numel())
            p.data = theta[part].view(p.shape)
            if group["momentum"]:
                if (before := optimizer.state[p].get("momentum_buffer")) is not None:
                    velocity[part] = before.reshape(-1)
                optimizer.state[p]["momentum_buffer"] = velocity[part].view(p.shape)

        @torch.no_grad()
        def update(images: Images, targets: Labels) -> tuple[torch.Tensor, torch.Tensor]:
            at = partial(self._of_batch, images=images, targets=targets)
            gradient, value, logits = at(theta) if rule is None else rule(at, theta)
            if clip_norm is not None:  # torch.nn.utils.clip_grad_norm_'s
                gradient = gradient * (clip_norm / (gradient.norm() + 1e-6)).clamp(max=1)
            velocity.mul_(group["momentum"]).add_(gradient).add_(theta, alpha=group["weight_decay"])
            theta.sub_(velocity, alpha=group["lr"])
            return value, logits

        return update

    def _of_batch(
        self, theta: FlatParams, images: Images, targets: Labels
    ) -> tuple[FlatParams, torch.Tensor, torch.Tensor]:
        """Gradient and mean cross-entropy of a batch, and its logits, as many images at once as the caches hold."""
        gradient, value, logits = torch.zeros_like(theta), theta.new_zeros(()), []
        for share, x, y in pieces(self.at_once, images, targets):
            part, loss, predicted = self._gradient((theta,), (x, y))
            gradient.add_(part, alpha=share)
            value.add_(loss, alpha=share)
            logits.append(predicted)
        return gradient, value, torch.cat(logits)

    def forward(self, network: nn.Module) -> Callable[[Images], torch.Tensor]:
        """The logits of `network` as it is now; raises ShapeError for a network of another architecture."""
        theta = self._flat(network)
        return lambda images: self._forward((theta,), (images,))

    def _flat(self, network: nn.Module) -> FlatParams:
        if (found := _shapes(network)) != self._shapes:
            raise ShapeError(
                f"a network of {len(found)} parameter tensors, compiled code for one of {len(self._shapes)}: "
                "expected the same names and shapes"
            )
        return flatten(network.parameters()).detach()


def how_trained(fused: Fused | None) -> Trained:
    """How the last network was trained with `fused`: uncompiled too where its step could not be compiled after all."""
    return "eager" if fused is None else fused.training


def plan_fused(
    build: Callable[[], nn.Module],
    *,
    image_shape: tuple[int, int, int],
    images: int,
    compilation: Compilation = "auto",
    notify: Callable[[str], None],
) -> Fused | None:
    """How networks that `build` makes are trained on `images` images each (epochs × examples): None for uncompiled.

    `auto` compiles where it is worthwhile and the network allows it, a matter of architecture, image shape and recipe
    alone: networks trained in an earlier session were trained alike. Without a compiler `notify` is told. Raises
    ConfigError where "compiled" is asked for and cannot be.
    """
    if compilation not in get_args(Compilation):
        raise ConfigError(f"compilation '{compilation}': expected {', '.join(get_args(Compilation))}")
    if compilation == "eager" or (compilation == "auto" and not worthwhile(images, image_shape)):
        return None
    network = build()
    if compilation == "auto" and obstacle(network, image_shape):
        return None
    if reason := missing_compiler(next(network.parameters()).device):
        if compilation == "compiled":
            raise ConfigError(f"compilation compiled: {reason}; set it to auto")
        notify(f"training uncompiled: {reason}")
        return None
    return Fused(network, image_shape=image_shape, notify=notify)


def worthwhile(images: int, image_shape: tuple[int, int, int]) -> bool:
    """Whether a training that sees `images` images (epochs × examples) of (C, H, W) saves more than compiling costs."""
    return images * image_shape[1] * image_shape[2] >= WORTHWHILE


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in network.named_parameters(remove_duplicate=False)}


def _any_batch(
    function: Callable[..., Any], notify: Callable[[str], None]
) -> Callable[[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]], Any]:
    """`function(*state, *batch)`, compiled for batches of every size at once."""
    fast = compiled(function, notify=notify)

    def call(state: tuple[torch.Tensor, ...], batch: tuple[torch.Tensor, ...]) -> Any:
        from torch._dynamo import maybe_mark_dynamic

        if len(batch[0]) == 1:  # a size that torch would compile apart
            return function(*state, *batch)
        for tensor in batch:
            maybe_mark_dynamic(tensor, 0)  # maybe: a size that a layer shares by chance is compiled apart
        return fast(*state, *batch)

    return call
