"""IDC: dataset condensation via efficient synthetic-data parameterization (Kim et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from satm import networks
from satm.augment import CutMix, named
from satm.errors import ConfigError
from satm.examples import TensorExamples
from satm.functional import flatten, unflatten
from satm.matching import GradientDistance, absolute_distance, squared_distance
from satm.methods.base import METHODS, Request, Task, augment_within
from satm.methods.checks import check_gradient_matching
from satm.methods.direct.gradient_matching import GradientMatching, GradientMatchingConfig
from satm.methods.direct.method import DirectMethod
from satm.rng import Seed
from satm.training import SGDConfig, fit
from satm.types import Images

DISTANCES: Mapping[str, GradientDistance] = {"squared": squared_distance, "absolute": absolute_distance}


@dataclass(frozen=True, slots=True, kw_only=True)
class IDCConfig(GradientMatchingConfig):
    """Matches gradients as DC does, on networks that are trained on real images:

        min_φ E_θ0 Σ_t Σ_k D(∇θ L(A(φ_k, ω); θ_t), ∇θ L(A(T_k, ω); θ_t))

    φ_k and T_k are the synthetic and the real images of class k. L is the cross-entropy, and D is `distance`. A is the
    augmentation; each class has one random draw ω in each step. θ_0 is a fresh network, and θ_{t+1} is θ_t trained
    further on `images_between` real images, drawn at random. The default values are those for CIFAR-10 in IDC's code
    (argument.py and misc/reproduce.py of snu-mllab/Efficient-Dataset-Condensation at ceac95a), for 10 images of each
    class. They need the parametrisation `factor:2`; with `pixels`, this is IDC-I.
    """

    networks: int = 2000
    updates: int = 100
    # IDC prints 0.005 IPC/10 for pixels in 0..1. For images divided by a std s = 0.25, it is divided by s².
    lr_images: float = 0.08
    batch_real: int = 64  # also the number of images in one step of the training between two updates
    batch_syn: int = 128  # the largest number of synthetic images of each class in one step; if there are more: a part
    distance: Literal["squared", "absolute"] = "squared"  # D: Σ (A − B)² or Σ |A − B|, over weights of convolutions
    augment: str | None = "color+crop+cutout"  # augmentations in DSA's notation, one after another; null: none
    images_between: int = 2000  # real images for one training, rounded up to whole batches; 0: the network stays θ_0
    augment_between: str | None = "color+crop"  # the augmentation of these images, as for `augment`
    cutmix: float = 0.5  # the probability of CutMix for a batch of these images
    momentum_network: float = 0.9  # of the training between two updates; kept from one training to the next
    weight_decay: float = 5e-4  # of the same training

    def __post_init__(self) -> None:
        GradientMatchingConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.batch_syn < 1:
            raise ConfigError(f"batch_syn {self.batch_syn}: expected at least 1 image a class")
        if self.images_between < 0:
            raise ConfigError(f"images_between {self.images_between}: expected 0 or more")
        CutMix(probability=self.cutmix)
        for strategy in (self.augment, self.augment_between):
            if strategy is not None:
                named(strategy)

    def training(self) -> SGDConfig:
        """See `GradientMatchingConfig`: one pass over the images that were drawn."""
        return SGDConfig(
            epochs=1,
            lr=self.lr_network,
            batch_size=self.batch_real,
            momentum=self.momentum_network,
            weight_decay=self.weight_decay,
        )

    def images_a_step(self, classes: int, ipc: int) -> float:
        """See `DirectConfig`. Synthetic images count 3 times, because they are differentiated twice.

        The images of the training between two updates are added.
        """
        between = self.images_between * (self.updates - 1) / self.updates
        return classes * (self.batch_real + 3 * min(ipc, self.batch_syn)) + between


class IDC(GradientMatching):
    """A condensation by IDC. The network is trained on real images, and its momentum lasts as long as the network."""

    def __init__(self, task: Task, config: IDCConfig) -> None:
        super().__init__(task, config, config.augment, distance=DISTANCES[config.distance])
        self.settings = config
        self.momentum = torch.zeros_like(self.theta)  # v [P] of the network's SGD, after its first training

    def compared(self, synthetic: Images, seed: Seed) -> Images:
        """See `DirectCondensation`: at most `batch_syn` images of each class, drawn at random."""
        classes, n = synthetic.shape[:2]
        if n <= self.settings.batch_syn:
            return synthetic
        generator = seed.child("synthetic").generator()
        index = [torch.randperm(n, generator=generator)[: self.settings.batch_syn] for _ in range(classes)]
        return torch.stack([images[each] for images, each in zip(synthetic, index, strict=True)])

    def train(self, images: Images, seed: Seed) -> None:
        """See `GradientMatching`: one pass over real images, drawn at random."""
        settings, data = self.settings, self.task.data
        batches = -(-settings.images_between // settings.batch_real)
        order = torch.randperm(len(data.train), generator=seed.child("images").generator())
        index = order[: batches * settings.batch_real]
        if not len(index):
            return
        optimizer = settings.training().optimizer(self.network)
        parameters = list(self.network.parameters())
        if self.step % settings.updates:
            for parameter, v in zip(parameters, unflatten(self.momentum, [p.shape for p in parameters]), strict=True):
                optimizer.state[parameter]["momentum_buffer"] = v.clone()
        fit(
            self.network,
            TensorExamples(*data.train.batch(index)),
            settings.training(),
            seed=seed,
            augment=None if settings.augment_between is None else named(settings.augment_between),
            mix=partial(CutMix(probability=settings.cutmix), classes=len(data.classes)) if settings.cutmix else None,
            optimizer=optimizer,
        )
        if settings.momentum_network:
            self.momentum = flatten(optimizer.state[each]["momentum_buffer"] for each in parameters)

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        return {**super().state(), "momentum": self.momentum.cpu()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        super().restore(state)
        self.momentum = state["momentum"].to(self.task.device)


def check_convolutions(request: Request) -> None:
    """Raise ConfigError if the gradient cannot be taken twice, or if the architecture has no convolution to compare."""
    check_gradient_matching(request)
    network = networks.plan_for(request.architecture, request.data).create(Seed(0))
    if all(parameter.ndim < 3 for parameter in network.parameters()):
        raise ConfigError(
            f"{request.architecture} has no convolution, and idc compares only the gradients of convolutions; condense "
            "on a network with some, as convnet3, and evaluate on this one (satm eval-arch)"
        )


METHODS.add(
    DirectMethod(
        name="idc",
        summary="gradient matching on networks trained on real images, in grids of smaller images (Kim et al. 2022)",
        cite=("kim2022idc",),
        config=IDCConfig,
        data_settings=augment_within(IDCConfig, "augment", "augment_between"),
        recipe="idc",
        begin=IDC,
        check=check_convolutions,
    )
)
