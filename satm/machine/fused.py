"""Compiled training: whether it saves time (`plan_fused`), and the compiled code of one architecture (`Fused`).

The gradient and the forward pass are compiled once for all networks of the architecture. The compiled code gets the
parameters as one vector, so networks with different weights use the same code. Batches of different sizes use the same
code, too.

`torch.func.vmap` could train several networks at once, but it is not used. It turns the convolutions of the networks
into one grouped convolution. On a CPU that was slower than compiled steps one after another (five ConvNets of width 32
on 10 images: 7.7 ms for each network with vmap, 5.9 ms without).
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
from satm.types import Criterion, FlatParams, Images, Labels

Update: TypeAlias = Callable[[Images, Labels], tuple[torch.Tensor, torch.Tensor]]
"""(images, labels) → (mean loss, logits [b, K]): one SGD step on a batch. Both results are from before the step and
detached."""

GradientAt: TypeAlias = Callable[[FlatParams], tuple[FlatParams, torch.Tensor, torch.Tensor]]
"""θ [P] → (∇L(θ) [P], L(θ), logits [b, K]), where L is the loss of one batch."""

GradientRule: TypeAlias = Callable[[GradientAt, FlatParams], tuple[FlatParams, torch.Tensor, torch.Tensor]]
"""(`GradientAt` of a batch, θ) → (the vector [P] that the optimiser uses instead of ∇L(θ), L(θ), logits)."""

Trained: TypeAlias = Literal["compiled", "eager"]
"""How networks were trained: with compiled code, or uncompiled (eager)."""

WORTHWHILE = 2_000_000
"""Compiling takes about a minute. It pays off if the training of one network uses at least this many pixels: images ×
rows × columns, where each image counts once in each epoch."""


class Fused:
    """The compiled code that all networks with the architecture of `network` share.

    If a compilation fails, the function runs uncompiled and `notify` is called with one line about it. Raises
    ConfigError if the network's output depends on more than its parameters and images (`satm.machine.purity.obstacle`).
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        image_shape: tuple[int, int, int],
        notify: Callable[[str], None],
        criterion: Criterion = F.cross_entropy,
    ) -> None:
        if reason := obstacle(network, image_shape):
            raise ConfigError(f"its training cannot be compiled: {reason}; train it uncompiled")
        self._shapes = _shapes(network)
        flat = FlatNetwork(deepcopy(network).train())

        def forward(theta: FlatParams, images: Images) -> torch.Tensor:
            return flat(theta, images)

        def loss(theta: FlatParams, images: Images, targets: Labels) -> tuple[torch.Tensor, torch.Tensor]:
            logits = forward(theta, images)
            return criterion(logits, targets), logits

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
        """Return a function that does one SGD step of `optimizer` on `network`.

        The parameters of the network become views of one vector, and so do the momenta of the optimiser. `rule` can
        replace the gradient by another vector. A vector with a norm above `clip_norm` is scaled down to this norm.
        Raises ShapeError for a network of another architecture.
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
            if clip_norm is not None:  # as torch.nn.utils.clip_grad_norm_
                gradient = gradient * (clip_norm / (gradient.norm() + 1e-6)).clamp(max=1)
            velocity.mul_(group["momentum"]).add_(gradient).add_(theta, alpha=group["weight_decay"])
            theta.sub_(velocity, alpha=group["lr"])
            return value, logits

        return update

    def _of_batch(
        self, theta: FlatParams, images: Images, targets: Labels
    ) -> tuple[FlatParams, torch.Tensor, torch.Tensor]:
        """Return the gradient [P], the mean loss and the logits [b, K] of a batch.

        They are computed in pieces that fit the CPU's caches.
        """
        gradient, value, logits = torch.zeros_like(theta), theta.new_zeros(()), []
        for share, x, y in pieces(self.at_once, images, targets):
            part, loss, predicted = self._gradient((theta,), (x, y))
            gradient.add_(part, alpha=share)
            value.add_(loss, alpha=share)
            logits.append(predicted)
        return gradient, value, torch.cat(logits)

    def forward(self, network: nn.Module) -> Callable[[Images], torch.Tensor]:
        """Return a function from images to the logits of `network` with the weights that it has now.

        Raises ShapeError for a network of another architecture.
        """
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
    """Return how the last network was trained: "eager" if `fused` is None or its step could not be compiled."""
    return "eager" if fused is None else fused.training


def plan_fused(
    build: Callable[[], nn.Module],
    *,
    image_shape: tuple[int, int, int],
    images: int,
    compilation: Compilation = "auto",
    criterion: Criterion = F.cross_entropy,
    notify: Callable[[str], None],
) -> Fused | None:
    """Decide whether to compile the training of the networks that `build` makes. Returns the compiled code, or None.

    `images` is the number of images that the training of one network uses (epochs × examples). The result None means
    that the networks are trained uncompiled. If `compilation` is "auto", the training is compiled if this saves time,
    if the network allows it, and if there is a compiler. The first two conditions depend only on architecture, image
    shape and recipe, so a later run on the same machine trains such networks in the same way. If only the compiler is
    missing, `notify` is called with one line. Raises ConfigError if `compilation` is "compiled" and the training cannot
    be compiled.
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
    return Fused(network, image_shape=image_shape, notify=notify, criterion=criterion)


def worthwhile(images: int, image_shape: tuple[int, int, int]) -> bool:
    """Whether compiling saves more time than it takes, for `images` images (epochs × examples) of (C, H, W)."""
    return images * image_shape[1] * image_shape[2] >= WORTHWHILE


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in network.named_parameters(remove_duplicate=False)}


def _any_batch(
    function: Callable[..., Any], notify: Callable[[str], None]
) -> Callable[[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]], Any]:
    """Return call(state, batch) = `function(*state, *batch)`, with one compilation for all batch sizes."""
    fast = compiled(function, notify=notify)

    def call(state: tuple[torch.Tensor, ...], batch: tuple[torch.Tensor, ...]) -> Any:
        from torch._dynamo import maybe_mark_dynamic

        if len(batch[0]) == 1:  # torch would compile again for size 1
            return function(*state, *batch)
        for tensor in batch:
            # "maybe": torch may compile separately for a batch size that is also the size of a layer.
            maybe_mark_dynamic(tensor, 0)
        return fast(*state, *batch)

    return call
