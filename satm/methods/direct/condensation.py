"""Direct matching: each outer step compares the synthetic images of a class with a batch of its real images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

import torch
from torch import nn

from satm import networks
from satm.augment import DSA, apply_per_class, draw_per_class
from satm.config import LATER
from satm.data import ImageData
from satm.engine import FlatNetwork, whether_compiled
from satm.errors import ConfigError, Diverged
from satm.examples import TensorExamples
from satm.machine.compilation import FORMERLY, Compilation, compiled
from satm.machine.cost import forward_cost
from satm.methods.base import Outcome, Task, class_major_labels
from satm.methods.direct.clusters import representatives
from satm.methods.momentum import MomentumSGD
from satm.methods.start import first_images
from satm.networks import NetworkPlan, plan_for
from satm.rng import Seed
from satm.training import SGDConfig, fit
from satm.types import FlatParams, Images

F = TypeVar("F", bound=Callable[..., Any])

Init: TypeAlias = Literal["real", "noise", "clustered"]
"""φ at the start: random training images, N(0, 1), or the training images nearest to the centres of the clusters that a
fresh network's features of a class have (DREAM)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectConfig:
    """The settings of all direct methods. They update the images φ by SGD; each step compares φ with real images."""

    lr_images: float
    momentum_images: float = 0.5  # the momentum of the SGD on φ
    batch_real: int = 256  # real images of each class in each step; if the smallest class has fewer, as many as it has
    init: Init = "real"  # φ at the start
    # null: random real images. N: those nearest to the centres of the clusters of a class, found again every N steps.
    cluster_every: int | None = field(default=None, metadata=LATER)
    # Whether the steps are compiled; `auto` compiles them if there is enough work.
    compile: Compilation = field(default="auto", metadata=FORMERLY)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr_images) and self.lr_images > 0):
            raise ConfigError(f"lr_images {self.lr_images}: expected a finite number above 0")
        if not 0 <= self.momentum_images < 1:
            raise ConfigError(f"momentum_images {self.momentum_images}: expected 0 ≤ momentum < 1")
        if self.batch_real < 1:
            raise ConfigError(f"batch_real {self.batch_real}: expected at least 1 image a class")
        if self.cluster_every is not None and self.cluster_every < 1:
            raise ConfigError(
                f"cluster_every {self.cluster_every}: expected at least 1 step, or null for random images"
            )

    @property
    def clusters(self) -> bool:
        """Whether a network must have features, because real images are chosen by clusters of their features."""
        return self.cluster_every is not None or self.init == "clustered"

    @property
    def clusterings_a_step(self) -> float:
        """How often the real images are clustered in one outer step, on average."""
        return 0.0 if self.cluster_every is None else 1 / self.cluster_every

    @property
    def steps(self) -> int:
        """The number of updates of φ."""
        raise NotImplementedError

    def at_most(self, steps: int) -> Self:
        """The same settings, but with at most `steps` updates of φ in all."""
        raise NotImplementedError

    def images_a_step(self, classes: int, ipc: int) -> float:
        """Return how many images pass a network forwards and backwards in one outer step.

        The time of the step is proportional to this number.
        """
        raise NotImplementedError


class Moved(NamedTuple):
    """The images φ and their velocity v after an update, and the measurements."""

    images: Images  # φ [K·ipc, C, H, W]
    velocity: torch.Tensor  # v, with the shape of φ
    measured: Mapping[str, float]  # the measurements of the outer step, by name


class DirectCondensation:
    """A `Condensation` with the outer step

        g = ∂/∂φ Σ_k D_θ(φ_k, x_k),   v ← μ v + g,   φ ← φ − lr v

    φ_k [n, C, H, W] are the synthetic images of class k as networks see them, and x_k [b, C, H, W] is a batch of real
    images of class k, random ones or those that represent it (`cluster_every`). μ is `momentum_images`, lr is
    `lr_images`. A subclass defines the network parameters θ and the distance D. `augment` names augmentations in DSA's
    notation. If it is given, φ_k and x_k are augmented with the same random draw (siamese).
    """

    def __init__(self, task: Task, config: DirectConfig, augment: str | None) -> None:
        self.task, self.augment = task, augment
        self.sgd = MomentumSGD(config.lr_images, config.momentum_images)
        self.step, self.steps = 0, config.steps
        self.network = self.drawn(task.seed.child("net"))
        self.images: Images = self.first(config.init).to(task.device)
        self.velocity = torch.zeros_like(self.images)
        self.labels = class_major_labels(len(task.data.classes), task.ipc).to(task.device)
        self.real, self.cluster_every = ClassBatches(task.data, config.batch_real), config.cluster_every
        # The places of the clustered real images in the training split. The first step finds them.
        self.clustered = self._clustered = torch.zeros(len(task.data.classes), self.real.size, dtype=torch.int64)
        flops, _ = forward_cost(self.network, task.data.image_shape)
        work = 3 * flops * config.steps * config.images_a_step(len(task.data.classes), task.seen_ipc)
        self.compiles, why = whether_compiled(config.compile, work, task.device)
        self.notes: Mapping[str, str] = {"steps": f"steps {'compiled' if self.compiles else 'uncompiled'} ({why})"}

    def parameters(self, seed: Seed) -> FlatParams:
        """Return θ [P] of this outer step. Every random draw comes from `seed`."""
        raise NotImplementedError

    def embedding(self, theta: FlatParams) -> nn.Module:
        """Return the network without its last layer, at θ [P]. It gives features [n, D] of images [n, C, H, W]."""
        FlatNetwork(self.network).load(theta)
        return networks.features(self.network)

    def clusters_now(self) -> bool:
        """Whether the real images are clustered in this outer step. Called only if `cluster_every` is set."""
        return self.cluster_every is not None and self.step % self.cluster_every == 0

    def matched(self, theta: FlatParams, synthetic: Images, real: Images) -> tuple[Images, torch.Tensor]:
        """Return the gradient of Σ_k D_θ with respect to `synthetic` [K, n, C, H, W], and the value of Σ_k D_θ.

        `real` is [K, b, C, H, W].
        """
        raise NotImplementedError

    def gradient(self, seed: Seed) -> tuple[Images, dict[str, float]]:
        """Return g [K·ipc, C, H, W] of this outer step, and the mean distance over the classes as `loss`.

        Every random draw comes from `seed`.
        """
        theta = self.parameters(seed.child("network"))
        real = self.real_images(theta, seed.child("real"))
        leaf = self.images.detach().requires_grad_()
        synthetic = self.compared(self.by_class(leaf), seed)
        generator = seed.child("augment").generator()
        for strategy in [] if self.augment is None else self.augment.split("+"):
            draws = draw_per_class(strategy, len(synthetic), self.task.data.image_shape, generator)
            real, synthetic = apply_per_class(real, draws), apply_per_class(synthetic, draws)
        outside, total = self.matched(theta, synthetic.detach(), real)
        (gradient,) = torch.autograd.grad(synthetic, leaf, outside)
        return gradient, {"loss": float(total) / len(synthetic)}

    def real_images(self, theta: FlatParams, seed: Seed) -> Images:
        """Return the real images [K, b, C, H, W] of this outer step. Every random draw comes from `seed`."""
        if self.cluster_every is None:
            return self.real.draw(seed.generator())
        data = self.task.data
        found = self.clustered
        if self.clusters_now():
            found = representatives(data, self.real.size, self.embedding(theta), seed)
        self._clustered = found  # `advance` keeps it, if the step succeeds
        images: Images = data.train.batch(found.flatten())[0].unflatten(0, found.shape)
        return images

    def first(self, init: Init) -> Images:
        """Return φ [K·ipc, C, H, W] before the first outer step. `self.network` is a fresh network."""
        if init != "clustered":
            return first_images(self.task, init)
        task, embedding = self.task, networks.features(self.network)
        places = representatives(task.data, task.seen_ipc, embedding, task.seed.child("init"))
        return task.parametrisation.encode(task.data.train.batch(places.flatten())[0])

    def by_class(self, images: Images) -> Images:
        """Return the images that networks see if φ = `images`, grouped by class: [K, n, C, H, W]."""
        seen: Images = self.task.parametrisation.decode(images).unflatten(0, (-1, self.task.seen_ipc))
        return seen

    def compared(self, synthetic: Images, seed: Seed) -> Images:
        """Return the images [K, m, C, H, W] that are compared in this outer step: here all of `synthetic` [K, n, …].

        A subclass may choose m < n of them. Every random draw comes from `seed`.
        """
        return synthetic

    def move(self, at: Moved, gradient: Images, measured: Mapping[str, float]) -> Moved:
        """Return φ and v after an update with `gradient`.

        Raises Diverged if the new φ or a value of `measured` is not finite.
        """
        images, velocity = self.updated(at, gradient)
        bad = [name for name, value in measured.items() if not math.isfinite(value)]
        bad += [] if torch.isfinite(images).all() else ["the images' update"]
        if bad:
            raise Diverged(f"outer step {self.step + 1}: {', '.join(bad)} not finite; lower lr_images (--set)")
        return Moved(images, velocity, measured)

    def updated(self, at: Moved, gradient: Images) -> tuple[Images, torch.Tensor]:
        """Return the new φ and the new v. Here they are those of SGD with momentum; a subclass may override this."""
        return self.sgd(at.images, at.velocity, gradient)

    def follow(self, moved: Moved, seed: Seed) -> Moved:
        """Return φ and v at the end of this outer step, given `moved`, in which they have been updated once.

        Here this is `moved` itself. A subclass may do further work of the outer step. If it raises Diverged, it must
        not have changed the state.
        """
        return moved

    def fit_on(self, images: Images, config: SGDConfig, seed: Seed) -> None:
        """Train `self.network` in place on φ = `images`, augmented if φ is. Raises Diverged."""
        stored = self.task.parametrisation
        fit(
            self.network,
            TensorExamples(stored.decode(images), stored.spread(self.labels)),
            config,
            seed=seed,
            augment=None if self.augment is None else DSA(self.augment),
        )

    @contextmanager
    def training_a_network(self) -> Iterator[None]:
        """Add the outer step, and the settings to lower, to the message of a Diverged of a network's training."""
        try:
            yield
        except Diverged as error:
            raise Diverged(f"outer step {self.step + 1}: {error} (lr_network), or lower lr_images (--set)") from error

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`."""
        seed = self.task.seed.child("outer", self.step)
        with seed.child("layers").forked():  # dropout takes no generator, only the global random state
            gradient, measured = self.gradient(seed)
        moved = self.follow(self.move(Moved(self.images, self.velocity, {}), gradient, measured), seed)
        self.images, self.velocity, self.clustered = moved.images, moved.velocity, self._clustered
        self.step += 1
        return moved.measured

    def drawn(self, seed: Seed) -> nn.Module:
        """Return a freshly initialised network, on the device of the task."""
        return stateless_network(plan_for(self.task.architecture, self.task.data), seed).to(self.task.device)

    def fused(self, function: F) -> F:
        """Return `function`, compiled if the steps are compiled."""
        return compiled(function, notify=self.task.notify) if self.compiles else function

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        held = {"step": torch.tensor(self.step), "images": self.images.cpu(), "velocity": self.velocity.cpu()}
        return held if self.cluster_every is None else {**held, "clustered": self.clustered}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        self.step = int(state["step"])
        self.images = state["images"].to(self.task.device)
        self.velocity = state["velocity"].to(self.task.device)
        if self.cluster_every is not None:
            self.clustered = state["clustered"]

    def result(self) -> Outcome:
        """See `Condensation`. No step size is learned: an evaluation chooses it on the validation split."""
        return Outcome(self.images.cpu(), self.labels.cpu(), "hard", None)


class ClassBatches:
    """Random batches of training images, the same number from each class."""

    def __init__(self, data: ImageData, size: int) -> None:
        self._train = data.train
        self._members = [(data.train.labels == label).nonzero().squeeze(1) for label in range(len(data.classes))]
        self.size = min(size, *(len(each) for each in self._members))

    def draw(self, generator: torch.Generator) -> Images:
        """Draw images [K, size, C, H, W]. Within a class, no image is drawn twice."""
        index = [each[torch.randperm(len(each), generator=generator)[: self.size]] for each in self._members]
        drawn: Images = self._train.batch(torch.cat(index))[0].unflatten(0, (len(index), self.size))
        return drawn


def stateless_network(plan: NetworkPlan, seed: Seed, *, why: str = "batches of one class would spoil") -> nn.Module:
    """Return a fresh network on the CPU. Raises ConfigError for an architecture that keeps running statistics.

    The message says that they are statistics "which {why}".
    """
    network = plan.create(seed)
    if any(True for _ in network.buffers()):
        raise ConfigError(
            f"{plan.name} keeps running statistics, which {why}; condense on a network without, as convnet3, and "
            "evaluate on this one (satm eval-arch)"
        )
    return network


def classes_at_once(classes: int, images: int, limit: int) -> int:
    """Return how many classes to compute together, if each class has `images` images.

    The result k is the largest divisor of `classes` for which k classes have at most `limit` images together; 1 if
    there is no such divisor.
    """
    return max(k for k in range(1, classes + 1) if classes % k == 0 and (k == 1 or k * images <= limit))
