"""Gradient matching: a network drawn anew, updates of φ that match its gradients, training on φ in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from satm.augment import DSA, apply_per_class, draw_per_class
from satm.engine import FlatNetwork, flatten
from satm.engine.functional import unflatten
from satm.errors import ConfigError, Diverged
from satm.matching import gradient_distance
from satm.methods.base import Task
from satm.methods.direct import DirectCondensation, DirectConfig, F, classes_at_once
from satm.rng import Seed
from satm.training import SGDConfig, fit
from satm.types import FlatParams, Images, Labels

AT_ONCE = 16
"""Images of several classes whose gradients uncompiled code takes together, under vmap. On a CPU core, classes of 1
image gain 3× from it, classes of 10 nothing, and classes of 64 lose: weight gradients by class are a grouped
convolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientMatchingConfig(DirectConfig):
    """DC's Algorithm 1 with its code's numbers (main.py at 53f63a6)."""

    networks: int = 1000  # K: networks drawn, one after the other
    updates: int  # T: updates of φ with each
    inner_epochs: int  # ς_θ: epochs of training the network on φ between two updates
    lr_images: float = 0.1
    lr_network: float = 0.01
    batch_syn: int = 256  # synthetic images a step of that training

    def __post_init__(self) -> None:
        DirectConfig.__post_init__(self)  # not super(): dataclasses with slots make a new class
        for name in ("networks", "updates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected at least 1")
        self.training()

    @property
    def steps(self) -> int:
        """Updates of φ in all."""
        return self.networks * self.updates

    def training(self) -> SGDConfig:
        """The network's training between two updates."""
        return SGDConfig(epochs=self.inner_epochs, lr=self.lr_network, batch_size=self.batch_syn)

    def images_a_step(self, classes: int, ipc: int) -> float:
        """The real batches, the synthetic ones, differentiated twice, and the training between."""
        between = self.inner_epochs * (self.updates - 1) / self.updates
        return classes * (self.batch_real + (3 + between) * ipc)


class Fuse(Protocol):
    """Compiles a function of tensors, or leaves it as it is."""

    def __call__(self, function: F, /) -> F:
        """The same function, perhaps faster."""


def _plain(function: F, /) -> F:
    return function


class ClassGradients:
    """∇θ L_CE of a network by class, and how far the synthetic images' are from the real ones'."""

    def __init__(self, network: nn.Module, fused: Fuse = _plain, *, real_at_once: int = AT_ONCE) -> None:
        self.real_at_once = real_at_once
        flat = FlatNetwork(network)

        def loss(theta: FlatParams, images: Images, labels: Labels) -> torch.Tensor:
            return functional.cross_entropy(flat(theta, images), labels)

        def gradients(theta: FlatParams, images: Images, labels: Labels) -> torch.Tensor:
            if len(images) == 1:
                alone: torch.Tensor = torch.func.grad(loss)(theta, images[0], labels[0])
                return alone.unsqueeze(0)
            by_class = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="different")
            found: torch.Tensor = by_class(theta, images, labels)
            return found

        def distance(images: Images, theta: FlatParams, labels: Labels, real: torch.Tensor) -> torch.Tensor:
            found = gradients(theta, images, labels)
            pairs = zip(found, real, strict=True)
            each = [gradient_distance(unflatten(a, flat.shapes), unflatten(b, flat.shapes)) for a, b in pairs]
            return torch.stack(each).sum()

        def match(images: Images, theta: FlatParams, labels: Labels, real: torch.Tensor) -> tuple[Images, torch.Tensor]:
            gradient, value = torch.func.grad_and_value(distance)(images, theta, labels, real)
            return gradient, value

        self.gradients = fused(gradients)
        """θ [P], images [k, b, C, H, W] and labels [k, b] to gradients [k, P]."""
        # Uncompiled: ConvNet's compiled layout does not exist under vmap, and gains nothing when differentiated twice.
        self.match = match
        """Images [k, n, C, H, W], θ, labels [k, n] and the real gradients [k, P] to Σ_k D's gradient and value."""

    def __call__(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """Σ over classes of D at θ: its gradient with respect to `synthetic` [K, n, C, H, W], and its value.

        `real` is [K, b, C, H, W]; class k is label k.
        """
        classes, n, b = len(synthetic), synthetic.shape[1], real.shape[1]
        k = classes_at_once(classes, n, AT_ONCE)
        k_real = classes_at_once(k, b, self.real_at_once)
        label = torch.arange(classes, device=synthetic.device).unsqueeze(1)
        gradients, total = [], theta.new_zeros(())
        for some in label.squeeze(1).split(k):
            wanted = torch.cat(
                [self.gradients(theta, real[part], label[part].expand(-1, b)) for part in some.split(k_real)]
            )
            gradient, value = self.match(synthetic[some], theta, label[some].expand(-1, n), wanted)
            gradients.append(gradient)
            total = total + value
        return torch.cat(gradients), total


class GradientMatching(DirectCondensation):
    """A step is one update of φ; every `updates` of them the network is drawn anew. `augment` makes it siamese."""

    def __init__(self, task: Task, config: GradientMatchingConfig, augment: str | None = None) -> None:
        super().__init__(task, config)
        self.config, self.augment = config, augment
        self.theta: FlatParams = flatten(self.network.parameters()).detach()  # before the first draw
        self.class_gradients = ClassGradients(self.network, self.fused, real_at_once=1 if self.compiles else AT_ONCE)

    def gradient(self, seed: Seed) -> tuple[Images, dict[str, float]]:
        """See `DirectCondensation`."""
        if self.step % self.config.updates == 0:
            seed_network = self.task.seed.child("network", self.step // self.config.updates)
            theta = flatten(self.drawn(seed_network).parameters()).detach()
        else:
            theta = self.theta
        self._used = theta
        real = self.real.draw(seed.child("real").generator())
        leaf = self.images.detach().requires_grad_()
        synthetic = self.by_class(leaf)
        if self.augment is not None:
            generator = seed.child("augment").generator()
            draws = draw_per_class(self.augment, len(synthetic), self.task.data.image_shape, generator)
            real, synthetic = apply_per_class(real, draws), apply_per_class(synthetic, draws)
        outside, total = self.class_gradients(theta, synthetic.detach(), real)
        # The augmentation is differentiated apart: torch.compile cannot differentiate twice.
        (gradient,) = torch.autograd.grad(synthetic, leaf, outside)
        return gradient, {"loss": float(total) / len(synthetic)}

    def follow(self, images: Images, seed: Seed) -> None:
        """The network is trained on φ, unless the next step draws another."""
        theta = self._used
        if (self.step + 1) % self.config.updates:
            network = FlatNetwork(self.network)
            network.load(theta)
            try:
                fit(
                    self.network,
                    _Examples(images, self.labels),
                    self.config.training(),
                    seed=seed.child("between"),
                    augment=None if self.augment is None else DSA(self.augment),
                )
            except Diverged as error:
                raise Diverged(
                    f"outer step {self.step + 1}: {error} (lr_network), or lower lr_images (--set)"
                ) from error
            theta = flatten(self.network.parameters()).detach()
        self.theta = theta

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        return {**super().state(), "theta": self.theta.cpu()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        super().restore(state)
        self.theta = state["theta"].to(self.task.device)


@dataclass(frozen=True)
class _Examples:
    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[Images, Labels]:
        index = index.to(self.images.device)
        return self.images[index], self.labels[index]
