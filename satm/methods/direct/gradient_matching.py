"""Gradient matching: a network drawn anew, updates of φ that match its gradients, training on φ in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from satm.augment import DSA
from satm.engine import FlatNetwork, Step, flatten, make_step
from satm.errors import ConfigError, Diverged
from satm.functional import unflatten
from satm.machine.pieces import images_at_once
from satm.machine.purity import draws_random_numbers
from satm.matching import gradient_distance
from satm.methods.base import Request, Task
from satm.methods.direct.condensation import DirectCondensation, DirectConfig, classes_at_once, stateless_network
from satm.rng import Seed
from satm.training import SGDConfig, fit
from satm.types import FlatParams, Images, Labels

AT_ONCE = 16
"""Images of several classes whose gradients are taken together, uncompiled, under vmap. On a CPU core, classes of 1
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


def check_gradient_matching(request: Request) -> None:
    """Raise ConfigError for an architecture whose gradient is not one function of images and parameters."""
    network = stateless_network(request.architecture, request.data, Seed(0))
    if draws_random_numbers(network, torch.zeros(1, *request.data.image_shape)):
        raise ConfigError(
            f"{request.architecture} draws random numbers (dropout), so that its gradient cannot be taken twice; "
            "condense on a network without, as convnet3, and evaluate on this one (satm eval-arch)"
        )


class ClassGradients:
    """∇θ L_CE of a network by class, and how far the synthetic images' are from the real ones'.

    With g = ∇θ L(φ_k; θ) and u = ∂D/∂g, the images' derivative is ∂⟨g, u⟩/∂φ_k at fixed u: `Step.mixed`, so that what
    trajectory matching differentiates twice is differentiated here by the same code.
    """

    def __init__(
        self, network: nn.Module, *, at_once: int | None = None, notify: Callable[[str], None] | None = None
    ) -> None:
        self.shapes = [p.shape for p in network.parameters()]
        self.plain = make_step(network)  # under vmap ConvNet has no compiled layout
        self.step = make_step(network, at_once=at_once, notify=notify)

    def __call__(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """Σ over classes of D at θ: its gradient with respect to `synthetic` [K, n, C, H, W], and its value.

        `real` is [K, b, C, H, W]; class k is label k.
        """
        classes, n, b = len(synthetic), synthetic.shape[1], real.shape[1]
        label = torch.arange(classes, device=synthetic.device).unsqueeze(1)
        wanted = self._by_class(b, _gradient, theta, real, label.expand(-1, b))
        found = self._by_class(n, _gradient, theta, synthetic, label.expand(-1, n))
        towards, total = torch.func.grad_and_value(self._distance)(found, wanted)
        images = self._by_class(n, _images, theta, synthetic, label.expand(-1, n), towards)
        return images, total

    def _distance(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        pairs = zip(found, wanted, strict=True)
        each = [gradient_distance(unflatten(a, self.shapes), unflatten(b, self.shapes)) for a, b in pairs]
        return torch.stack(each).sum()

    def _by_class(
        self, size: int, function: Callable[..., torch.Tensor], theta: FlatParams, *by_class: torch.Tensor
    ) -> torch.Tensor:
        """`function` of a step, θ and every class's part, stacked; classes of few images several at a time."""
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
    """A step is one update of φ; every `updates` of them the network is drawn anew. `augment` makes it siamese."""

    def __init__(self, task: Task, config: GradientMatchingConfig, augment: str | None = None) -> None:
        super().__init__(task, config, augment)
        self.config = config
        self.theta: FlatParams = flatten(self.network.parameters()).detach()  # before the first draw
        self.class_gradients = ClassGradients(
            self.network,
            at_once=images_at_once(self.network, task.data.image_shape),
            notify=task.notify if self.compiles else None,
        )

    def parameters(self, seed: Seed) -> FlatParams:
        """See `DirectCondensation`: where the last update left it, drawn anew every `updates` of them."""
        if self.step % self.config.updates == 0:
            drawn = self.drawn(self.task.seed.child("network", self.step // self.config.updates))
            self._used = flatten(drawn.parameters()).detach()
        else:
            self._used = self.theta
        return self._used

    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """See `DirectCondensation`: the distance of gradients."""
        return self.class_gradients(theta, synthetic, real)

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
