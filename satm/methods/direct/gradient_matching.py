"""Gradient matching: φ is updated so that a network's gradient on φ matches the network's gradient on real images.

Between two updates of φ, the network is trained. DC and DSA train it on φ, and IDC on real images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import nn

from satm.engine import FlatNetwork, Step, flatten, make_step
from satm.errors import ConfigError
from satm.functional import unflatten
from satm.machine.pieces import images_at_once
from satm.matching import GradientDistance, gradient_distance
from satm.methods.base import Task
from satm.methods.direct.condensation import DirectCondensation, DirectConfig, Moved, classes_at_once
from satm.rng import Seed
from satm.training import SGDConfig
from satm.types import FlatParams, Images, Labels

AT_ONCE = 16
"""The gradients of several classes are computed together (uncompiled, with vmap) if these classes have at most this
many images in all. On a CPU core this is 3 times as fast for classes of 1 image and equally fast for classes of 10. It
is slower for classes of 64, because the weight gradients of the classes become a grouped convolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientMatchingConfig(DirectConfig):
    """The settings of gradient matching: the names of DC's Algorithm 1, the defaults of its code (main.py at 53f63a6).

    A subclass says how the network is trained between two updates of φ.
    """

    networks: int = 1000  # K in Algorithm 1: the number of random networks, which are used one after another
    updates: int  # T in Algorithm 1: the number of updates of φ with each network
    lr_images: float = 0.1
    lr_network: float = 0.01  # the learning rate of the network between two updates of φ

    def __post_init__(self) -> None:
        DirectConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        for name in ("networks", "updates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected at least 1")
        self.training()

    @property
    def clusterings_a_step(self) -> float:
        """See `DirectConfig`: with a fresh network the real images are always clustered."""
        return 0.0 if self.cluster_every is None else -(-self.updates // self.cluster_every) / self.updates

    @property
    def steps(self) -> int:
        """See `DirectConfig`."""
        return self.networks * self.updates

    def at_most(self, steps: int) -> Self:
        """See `DirectConfig`: with fewer networks or, if `steps` is below `updates`, one network with fewer updates."""
        networks = max(1, steps // self.updates)
        return replace(self, networks=min(self.networks, networks), updates=min(self.updates, steps))

    def training(self) -> SGDConfig:
        """Return the settings with which the network is trained between two updates of φ."""
        raise NotImplementedError


class ClassGradients:
    """Computes the distances D between the gradients ∇θ L_CE of synthetic and real images, class by class.

    D is `distance`. φ_k are the synthetic images of class k. With g = ∇θ L_CE(φ_k; θ) and u = ∂D/∂g, the
    derivative of D with respect to these images is ∂⟨g, u⟩/∂φ_k at fixed u. `Step.mixed` computes it. The gradients of
    the classes are compared one by one, or their means over the classes are compared (`collective`).
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        distance: GradientDistance = gradient_distance,
        at_once: int | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.distance = distance
        self.shapes = [p.shape for p in network.parameters()]
        # The step for vmap is not compiled: the memory layout of ConvNet's compiled code does not exist under vmap.
        self.plain = make_step(network)
        self.step = make_step(network, at_once=at_once, notify=notify)

    def __call__(
        self, theta: FlatParams, synthetic: Images, real: Images, *, collective: bool = False
    ) -> tuple[Images, torch.Tensor]:
        """Return the gradient of the loss at θ [P] with respect to `synthetic` [K, n, C, H, W], and the loss.

        The loss is Σ_k D(g_k, h_k) or, if `collective`, D(mean_k g_k, mean_k h_k), where g_k and h_k are the gradients
        of the synthetic and of the real images of class k. `real` is [K, b, C, H, W]. The images at index k have the
        label k.
        """
        classes, n, b = len(synthetic), synthetic.shape[1], real.shape[1]
        label = torch.arange(classes, device=synthetic.device).unsqueeze(1)
        wanted = self._by_class(b, _gradient, theta, real, label.expand(-1, b))
        found = self._by_class(n, _gradient, theta, synthetic, label.expand(-1, n))
        distance = self._collective_distance if collective else self._distance
        towards, total = torch.func.grad_and_value(distance)(found, wanted)
        images = self._by_class(n, _images, theta, synthetic, label.expand(-1, n), towards)
        return images, total

    def _distance(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        pairs = zip(found, wanted, strict=True)
        each = [self.distance(unflatten(a, self.shapes), unflatten(b, self.shapes)) for a, b in pairs]
        return torch.stack(each).sum()

    def _collective_distance(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return self._distance(found.mean(dim=0, keepdim=True), wanted.mean(dim=0, keepdim=True))

    def _by_class(
        self, size: int, function: Callable[..., torch.Tensor], theta: FlatParams, *by_class: torch.Tensor
    ) -> torch.Tensor:
        """Return the results of `function(step, theta, *parts)` for each class k, stacked to one tensor.

        `parts` are the entries [k] of all tensors in `by_class` [K, …]. `size` is the number of images of each class.
        If `size` is small, several classes are computed together.
        """
        k = classes_at_once(len(by_class[0]), size, AT_ONCE)
        if k == 1:
            return torch.stack([function(self.step, theta, *each) for each in zip(*by_class, strict=True)])
        together = torch.func.vmap(partial(function, self.plain), in_dims=(None, *(0 for _ in by_class)))
        parts = zip(*(each.split(k) for each in by_class), strict=True)
        return torch.cat([together(theta, *part) for part in parts])


def _gradient(step: Step, theta: FlatParams, images: Images, labels: Labels) -> FlatParams:
    return step.gradient(theta, images, labels)


def _images(step: Step, theta: FlatParams, images: Images, labels: Labels, towards: FlatParams) -> Images:
    return step.mixed(theta, images, labels, towards).images


class GradientMatching(DirectCondensation):
    """A condensation by gradient matching. A subclass trains the network between two updates of φ.

    One outer step is one update of φ. After every `updates` steps a new network is drawn.
    """

    def __init__(
        self,
        task: Task,
        config: GradientMatchingConfig,
        augment: str | None = None,
        *,
        distance: GradientDistance = gradient_distance,
    ) -> None:
        super().__init__(task, config, augment)
        self.config = config
        self.theta: FlatParams = flatten(self.network.parameters()).detach()  # a placeholder: step 0 draws a network
        self.class_gradients = ClassGradients(
            self.network,
            distance=distance,
            at_once=images_at_once(self.network, task.data.image_shape),
            notify=task.notify if self.compiles else None,
        )

    def parameters(self, seed: Seed) -> FlatParams:
        """See `DirectCondensation`: a fresh network every `updates` steps, else the network as trained so far."""
        if self.step % self.config.updates == 0:
            drawn = self.drawn(self.task.seed.child("network", self.step // self.config.updates))
            self._used = flatten(drawn.parameters()).detach()
        else:
            self._used = self.theta
        return self._used

    def clusters_now(self) -> bool:
        """See `DirectCondensation`: the updates with the present network are counted."""
        return self.cluster_every is not None and self.step % self.config.updates % self.cluster_every == 0

    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """See `DirectCondensation`: the distance between the gradients."""
        return self.class_gradients(theta, synthetic, real)

    def follow(self, moved: Moved, seed: Seed) -> Moved:
        """See `DirectCondensation`: trains the network, unless the next step draws a new one."""
        theta = self._used
        if (self.step + 1) % self.config.updates:
            FlatNetwork(self.network).load(theta)
            with self.training_a_network():
                self.train(moved.images, seed.child("between"))
            theta = flatten(self.network.parameters()).detach()
        self.theta = theta
        return moved

    def train(self, images: Images, seed: Seed) -> None:
        """Train `self.network` in place, given φ = `images`. Every random draw comes from `seed`.

        If it raises Diverged, it must not have changed another part of the state.
        """
        raise NotImplementedError

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        return {**super().state(), "theta": self.theta.cpu()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        super().restore(state)
        self.theta = state["theta"].to(self.task.device)
