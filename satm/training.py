"""The supervised training loop of the whole suite: for experts, evaluation networks and class-incremental steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from satm.errors import ConfigError, Diverged
from satm.functional import FlatNetwork, flatten, unflatten
from satm.machine.fused import Fused, GradientRule, Update
from satm.rng import Seed
from satm.schedule import WarmRestarts, half_cosine
from satm.types import Augment, Criterion, Examples, FlatParams, Images, Labels, Mix


class Optimisation(Protocol):
    """What `fit` needs from a configuration. `SGDConfig` and `AdamWConfig` have it."""

    @property
    def epochs(self) -> int:
        """The number of passes over the examples."""

    @property
    def batch_size(self) -> int:
        """The number of images of a batch. The last batch of an epoch can be smaller; it is used too."""

    @property
    def clip_norm(self) -> float | None:
        """The largest norm of a gradient, over all parameters together; None: no limit.

        A longer gradient is scaled to this norm.
        """

    def lr_at(self, epoch: int) -> float:
        """The learning rate of epoch `epoch`, counted from 0."""

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """A torch optimiser for the parameters of the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SGDConfig:
    """SGD with momentum and weight decay: v ← μ v + g + λ θ, then θ ← θ − lr v.

    θ are the parameters, g is the gradient and v the momentum buffer. Either lr drops at the milestones, where v is
    kept, or it follows warm restarts. Raises ConfigError for a value out of its range.
    """

    epochs: int
    lr: float  # the first learning rate
    batch_size: int = 256  # the last batch of an epoch can be smaller; it is used too
    momentum: float = 0.0  # μ
    weight_decay: float = 0.0  # λ
    milestones: tuple[int, ...] = ()  # the numbers of finished epochs after which lr drops
    decay: float = 0.1  # lr is multiplied by this factor at each milestone
    restarts: WarmRestarts | None = None  # the warm restarts of lr, instead of milestones
    clip_norm: float | None = None  # a longer g is scaled to this norm, over all parameters together; None: no limit

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"epochs {self.epochs}: expected 0 or more")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"learning rate {self.lr}: expected a finite number above 0")
        if self.batch_size < 1:
            raise ConfigError(f"batch size {self.batch_size}: expected 1 or more")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum {self.momentum}: expected 0 ≤ momentum < 1")
        if self.weight_decay < 0:
            raise ConfigError(f"weight decay {self.weight_decay}: expected 0 or more")
        if self.restarts is not None and self.milestones:
            raise ConfigError("a learning rate that drops at milestones and one with warm restarts: choose one of them")
        if self.clip_norm is not None and not (math.isfinite(self.clip_norm) and self.clip_norm > 0):
            raise ConfigError(f"clip norm {self.clip_norm}: expected a finite number above 0")

    def lr_at(self, epoch: int) -> float:
        """The learning rate of epoch `epoch`, counted from 0."""
        if self.restarts is not None:
            return self.lr * self.restarts.factor(epoch)
        return self.lr * self.decay ** sum(epoch >= m for m in self.milestones)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """See `Optimisation`."""
        return torch.optim.SGD(network.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamWConfig:
    """AdamW (Loshchilov and Hutter 2019). Its learning rate lr follows half a cosine (`satm.schedule.half_cosine`).

    θ ← θ − lr λ θ − lr m̂ / (√v̂ + 1e-8). θ are the parameters and g is the gradient. m̂ and v̂ are the bias-corrected
    running means of g and g², with the factors β₁ and β₂. λ is 0 for parameters with one axis: the biases, and the
    scales and shifts of normalisation layers. Raises ConfigError for a value out of its range.

    Source: RDED (validation/main.py and get_parameters in validation/utils.py at 3f6453d).
    """

    epochs: int
    lr: float  # the first learning rate
    batch_size: int
    beta1: float = 0.9  # β₁
    beta2: float = 0.999  # β₂
    weight_decay: float = 0.01  # λ
    clip_norm: float | None = None  # as in `SGDConfig`

    def __post_init__(self) -> None:
        # `SGDConfig` checks the ranges of the fields that both classes have.
        SGDConfig(
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ConfigError(f"AdamW beta1 {self.beta1}, beta2 {self.beta2}: expected 0 ≤ β < 1")

    def lr_at(self, epoch: int) -> float:
        """See `Optimisation`."""
        return self.lr * half_cosine(epoch, self.epochs)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """See `Optimisation`."""
        parameters = list(network.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.lr, betas=(self.beta1, self.beta2), weight_decay=self.weight_decay)


@dataclass(frozen=True, slots=True)
class EpochStats:
    """The loss and the accuracy of one epoch. Each batch is measured before its update."""

    epoch: int  # counted from 0
    loss: float  # the mean loss of the epoch's batches, weighted by their sizes
    accuracy: float  # as a fraction in 0..1, on the training batches after augmentation


def plain_step(
    network: nn.Module,
    images: Images,
    targets: Labels,
    optimizer: torch.optim.Optimizer,
    *,
    criterion: Criterion = F.cross_entropy,
    clip_norm: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of the optimiser with the gradient of the loss. A gradient longer than `clip_norm` is scaled to it.

    Returns the loss and the logits [b, K] before the step, both detached.
    """
    logits = network(images)
    loss = criterion(logits, targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    optimizer.step()
    return loss.detach(), logits.detach()


def ruled_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, rule: GradientRule, *, clip_norm: float | None = None
) -> Update:
    """A function that does a step as `plain_step`, but `rule` computes the vector that is used as the gradient.

    An example of a rule is GSAM, which trains flat experts. The function takes images and targets, and returns the loss
    and the logits. Its loss is the cross-entropy.
    """
    flat, parameters = FlatNetwork(network), list(network.parameters())

    def step(images: Images, targets: Labels) -> tuple[torch.Tensor, torch.Tensor]:
        def at(theta: FlatParams) -> tuple[FlatParams, torch.Tensor, torch.Tensor]:
            flat.load(theta)
            with torch.enable_grad():
                logits = network(images)
                loss = F.cross_entropy(logits, targets)
            return flatten(torch.autograd.grad(loss, parameters)), loss.detach(), logits.detach()

        with torch.no_grad():
            theta = flatten(parameters)
            gradient, loss, logits = rule(at, theta)
            flat.load(theta)
        for parameter, part in zip(parameters, unflatten(gradient, flat.shapes), strict=True):
            parameter.grad = part
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        return loss, logits

    return step


def fit(
    network: nn.Module,
    examples: Examples,
    config: Optimisation,
    *,
    seed: Seed,
    criterion: Criterion = F.cross_entropy,
    augment: Augment | None = None,
    mix: Mix | None = None,
    first_epoch: int = 0,
    optimizer: torch.optim.Optimizer | None = None,
    fused: Fused | None = None,
    on_epoch: Callable[[EpochStats], None] | None = None,
    on_batch: Callable[[], None] | None = None,
    rule: GradientRule | None = None,
    among: Callable[[int], torch.Tensor] | None = None,
) -> None:
    """Train `network` in place, in the epochs `first_epoch` to `config.epochs` − 1, counted from 0.

    Epoch e takes all random numbers from `seed.child("epoch", e)`. So training can continue from a stored snapshot with
    exactly the same result, if `optimizer` has the momentum of that point. Raises Diverged if a loss is not finite.

    Args:
        criterion: the loss of a batch; with a `rule` the loss is always the cross-entropy.
        augment, mix: change a batch: `augment` the images, then `mix` the images and the targets.
        optimizer: an optimiser with a state; None: a new one from `config`.
        fused: compiled SGD with this loss, with the same result up to rounding errors; None: steps are not compiled.
        on_epoch, on_batch: called after each epoch and before each batch. Both may raise an error to stop.
        rule: computes the vector that the optimiser uses as gradient; None: the gradient of the loss.
        among: gives the indices of the examples that an epoch uses, each once; None: all examples.
    """
    network.train()
    device = next(network.parameters()).device
    optimizer = config.optimizer(network) if optimizer is None else optimizer
    update = _update(network, optimizer, config.clip_norm, criterion, fused, rule)
    for epoch in range(first_epoch, config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(epoch)
        generator = seed.child("epoch", epoch).generator()
        used = torch.arange(len(examples)) if among is None else among(epoch)
        order = used[torch.randperm(len(used), generator=generator)]
        total_loss, total_right = torch.zeros((), device=device), torch.zeros((), device=device)
        with seed.child("epoch", epoch, "layers").forked():  # dropout layers take no generator
            for index in order.split(config.batch_size):
                if on_batch is not None:
                    on_batch()
                images, targets = (each.to(device) for each in examples.batch(index))
                if augment is not None:
                    images = augment(images, generator)
                if mix is not None:
                    images, targets = mix(images, targets, generator)
                loss, logits = update(images, targets)
                total_loss += loss * len(index)
                total_right += (logits.argmax(1) == hard(targets)).sum()
        stats = EpochStats(epoch, float(total_loss) / len(order), float(total_right) / len(order))
        if not math.isfinite(stats.loss):
            at = f"after epoch {epoch + 1} at learning rate {config.lr_at(epoch):g}"
            raise Diverged(f"training loss is {stats.loss} {at}; lower the learning rate")
        if on_epoch is not None:
            on_epoch(stats)


def _update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    clip_norm: float | None,
    criterion: Criterion,
    fused: Fused | None,
    rule: GradientRule | None,
) -> Update:
    """The function that is called with each batch: a compiled step, a step by `rule`, or `plain_step`."""
    if fused is not None:
        return fused.update(network, optimizer, rule=rule, clip_norm=clip_norm)
    if rule is not None:
        return ruled_step(network, optimizer, rule, clip_norm=clip_norm)
    return partial(plain_step, network, optimizer=optimizer, criterion=criterion, clip_norm=clip_norm)


def predict(
    network: nn.Module, examples: Examples, *, batch_size: int | None = None, fused: Fused | None = None
) -> torch.Tensor:
    """The logits [n, K] of `examples`, on the CPU and in their order. Leaves the network in evaluation mode."""
    return predictions(network, examples, batch_size=batch_size, fused=fused)[0]


def accuracy(
    network: nn.Module, examples: Examples, *, batch_size: int | None = None, fused: Fused | None = None
) -> float:
    """The fraction in 0..1 of `examples` that the network classifies correctly.

    Leaves the network in evaluation mode.
    """
    logits, targets = predictions(network, examples, batch_size=batch_size, fused=fused)
    return float((logits.argmax(1) == targets).double().mean())


@torch.no_grad()
def predictions(
    network: nn.Module, examples: Examples, *, batch_size: int | None = None, fused: Fused | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits [n, K] and the classes [n] int64 of `examples`, on the CPU and in their order.

    Leaves the network in evaluation mode.
    """
    network.eval()
    device = next(network.parameters()).device
    forward = network if fused is None else fused.forward(network)
    logits, targets = [], []
    # On a CPU the activations of 64 images stay in its caches. This takes half the time of batches of 512 images.
    size = batch_size or (64 if device.type == "cpu" else 512)
    for index in torch.arange(len(examples)).split(size):
        images, wanted = examples.batch(index)
        logits.append(forward(images.to(device)).cpu())
        targets.append(wanted.cpu())
    return torch.cat(logits), hard(torch.cat(targets))


def hard(targets: torch.Tensor) -> torch.Tensor:
    """The classes [b] int64 of targets: the targets themselves, or the most probable class of soft targets [b, K]."""
    return targets if targets.ndim == 1 else targets.argmax(dim=1)
