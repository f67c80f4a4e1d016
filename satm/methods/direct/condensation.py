"""What gradient and distribution matching share: real and synthetic images of a class matched, φ's SGD."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from satm import networks
from satm.augment import apply_per_class, draw_per_class
from satm.data import ImageData
from satm.engine import whether_compiled
from satm.errors import ConfigError, Diverged
from satm.machine.compilation import FORMERLY, Compilation, compiled
from satm.machine.cost import forward_cost
from satm.methods.base import Outcome, Request, Task, class_major_labels
from satm.methods.momentum import MomentumSGD
from satm.methods.random import random_images
from satm.methods.start import noise_images
from satm.rng import Seed
from satm.types import FlatParams, Images

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectConfig:
    """φ under SGD against batches of real images."""

    lr_images: float
    momentum_images: float = 0.5  # of φ's SGD
    batch_real: int = 256  # real images a class at each step, fewer where the smallest class has fewer
    init: Literal["real", "noise"] = "real"  # φ at the start: random training images, or N(0, 1)
    # Whether the steps are compiled; auto: where there is enough work.
    compile: Compilation = field(default="auto", metadata=FORMERLY)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr_images) and self.lr_images > 0):
            raise ConfigError(f"lr_images {self.lr_images}: expected a finite number above 0")
        if not 0 <= self.momentum_images < 1:
            raise ConfigError(f"momentum_images {self.momentum_images}: expected 0 ≤ momentum < 1")
        if self.batch_real < 1:
            raise ConfigError(f"batch_real {self.batch_real}: expected at least 1 image a class")

    @property
    def steps(self) -> int:
        """Updates of φ in all."""
        raise NotImplementedError

    def images_a_step(self, classes: int, ipc: int) -> float:
        """Images that pass a network forwards and backwards in one step: what its time goes by."""
        raise NotImplementedError


class DirectCondensation:
    """Outer steps φ ← φ − lr v, v ← μ v + g, g = ∂/∂φ Σ_k D_θ(φ_k, x_k) over classes; a `Condensation`.

    A subclass says what θ and the distance D are. With `augment`, DSA's strategy, both sides of a class are seen under
    one and the same draw (siamese).
    """

    def __init__(self, task: Task, config: DirectConfig, augment: str | None) -> None:
        self.task, self.augment = task, augment
        self.sgd = MomentumSGD(config.lr_images, config.momentum_images)
        self.step, self.steps = 0, config.steps
        start = random_images if config.init == "real" else noise_images
        self.images: Images = start(task.data, task.ipc, task.seed.child("init")).to(task.device)
        self.velocity = torch.zeros_like(self.images)
        self.labels = class_major_labels(len(task.data.classes), task.ipc).to(task.device)
        self.real = ClassBatches(task.data, config.batch_real)
        self.network = self.drawn(task.seed.child("net"))
        flops, _ = forward_cost(self.network, task.data.image_shape)
        work = 3 * flops * config.steps * config.images_a_step(len(task.data.classes), task.ipc)
        self.compiles, why = whether_compiled(config.compile, work, task.device)
        self.notes: Mapping[str, str] = {"steps": f"steps {'compiled' if self.compiles else 'uncompiled'} ({why})"}

    def parameters(self, seed: Seed) -> FlatParams:
        """θ of this step, the network's parameters, every draw from `seed`."""
        raise NotImplementedError

    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """Σ_k D_θ: its gradient at `synthetic` [K, n, C, H, W], and its value."""
        raise NotImplementedError

    def gradient(self, seed: Seed) -> tuple[Images, dict[str, float]]:
        """g [K·ipc, C, H, W] at this step, every draw from `seed`, and the mean distance."""
        theta = self.parameters(seed.child("network"))
        real = self.real.draw(seed.child("real").generator())
        leaf = self.images.detach().requires_grad_()
        synthetic = leaf.unflatten(0, (-1, self.task.ipc))
        if self.augment is not None:
            generator = seed.child("augment").generator()
            draws = draw_per_class(self.augment, len(synthetic), self.task.data.image_shape, generator)
            real, synthetic = apply_per_class(real, draws), apply_per_class(synthetic, draws)
        outside, total = self.matched(theta, synthetic.detach(), real)
        (gradient,) = torch.autograd.grad(synthetic, leaf, outside)
        return gradient, {"loss": float(total) / len(synthetic)}

    def follow(self, images: Images, seed: Seed) -> None:
        """What a method does once φ has moved to `images`; may raise Diverged, with nothing changed."""

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`."""
        seed = self.task.seed.child("outer", self.step)
        with seed.child("layers").forked():  # dropout knows no generator
            gradient, measured = self.gradient(seed)
        images, velocity = self.sgd(self.images, self.velocity, gradient)
        bad = [name for name, value in measured.items() if not math.isfinite(value)]
        bad += [] if torch.isfinite(images).all() else ["the images' update"]
        if bad:
            raise Diverged(f"outer step {self.step + 1}: {', '.join(bad)} not finite; lower lr_images (--set)")
        self.follow(images, seed)
        self.images, self.velocity = images, velocity
        self.step += 1
        return measured

    def drawn(self, seed: Seed) -> nn.Module:
        """A freshly initialised network."""
        return stateless_network(self.task.architecture, self.task.data, seed).to(self.task.device)

    def fused(self, function: F) -> F:
        """`function` compiled, where the steps are."""
        return compiled(function, notify=self.task.notify) if self.compiles else function

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        return {"step": torch.tensor(self.step), "images": self.images.cpu(), "velocity": self.velocity.cpu()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        self.step = int(state["step"])
        self.images = state["images"].to(self.task.device)
        self.velocity = state["velocity"].to(self.task.device)

    def result(self) -> Outcome:
        """See `Condensation`; no step size is learned, an evaluation chooses it on the validation split."""
        return Outcome(self.images.cpu(), self.labels.cpu(), "hard", None)


class ClassBatches:
    """Random batches of training images by class, the same number of each."""

    def __init__(self, data: ImageData, size: int) -> None:
        self._train = data.train
        self._members = [(data.train.labels == label).nonzero().squeeze(1) for label in range(len(data.classes))]
        self.size = min(size, *(len(each) for each in self._members))

    def draw(self, generator: torch.Generator) -> Images:
        """[K, size, C, H, W], without replacement within a class."""
        index = [each[torch.randperm(len(each), generator=generator)[: self.size]] for each in self._members]
        drawn: Images = self._train.batch(torch.cat(index))[0].unflatten(0, (len(index), self.size))
        return drawn


def stateless_network(architecture: str, data: ImageData, seed: Seed) -> nn.Module:
    """A fresh network, on the CPU; raises ConfigError for an architecture that keeps running statistics."""
    network = networks.create(architecture, num_classes=len(data.classes), image_shape=data.image_shape, seed=seed)
    if any(True for _ in network.buffers()):
        raise ConfigError(
            f"{architecture} keeps running statistics, which batches of one class would spoil; condense on a network "
            "without, as convnet3, and evaluate on this one (satm eval-arch)"
        )
    return network


def check_network(request: Request) -> None:
    """Raise ConfigError for an architecture that cannot be condensed on."""
    stateless_network(request.architecture, request.data, Seed(0))


def classes_at_once(classes: int, images: int, limit: int) -> int:
    """The largest divisor of `classes` with which at most `limit` images, `images` a class, are handled together."""
    return max(k for k in range(1, classes + 1) if classes % k == 0 and (k == 1 or k * images <= limit))
