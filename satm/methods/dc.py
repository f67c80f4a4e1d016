"""DC: dataset condensation with gradient matching (Zhao, Mopuri and Bilen 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.methods.base import METHODS
from satm.methods.checks import check_gradient_matching
from satm.methods.direct.condensation import Init
from satm.methods.direct.gradient_matching import GradientMatching, GradientMatchingConfig
from satm.methods.direct.method import DirectMethod
from satm.rng import Seed
from satm.training import SGDConfig
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class DCConfig(GradientMatchingConfig):
    """Matches the gradients of synthetic and real images, class by class:

        min_φ E_θ0 Σ_t Σ_k D(∇θ L(φ_k; θ_t), ∇θ L(T_k; θ_t))

    φ_k and T_k are the synthetic and the real images of class k. L is the cross-entropy, and D is `gradient_distance`.
    θ_0 is a fresh network, and θ_{t+1} is θ_t trained further on φ.
    """

    inner_epochs: int  # ς_θ in Algorithm 1: the epochs of training the network on φ between two updates of φ
    batch_syn: int = 256  # synthetic images in one step of the training between two updates
    init: Init = "noise"

    def training(self) -> SGDConfig:
        """See `GradientMatchingConfig`."""
        return SGDConfig(epochs=self.inner_epochs, lr=self.lr_network, batch_size=self.batch_syn)

    def images_a_step(self, classes: int, ipc: int) -> float:
        """See `DirectConfig`. Synthetic images count 3 times, because they are differentiated twice.

        The images of the training between two updates are added.
        """
        between = self.inner_epochs * (self.updates - 1) / self.updates
        return classes * (self.batch_real + (3 + between) * ipc)


class DC(GradientMatching):
    """A condensation by DC or, with `augment`, by DSA. The network is trained on φ, augmented if φ is."""

    def train(self, images: Images, seed: Seed) -> None:
        """See `GradientMatching`."""
        self.fit_on(images, self.config.training(), seed)


METHODS.add(
    DirectMethod(
        name="dc",
        summary="gradient matching (Zhao et al. 2021)",
        cite=("zhao2021dc",),
        config=DCConfig,
        recipe="dc",
        begin=DC,
        check=check_gradient_matching,
    )
)
