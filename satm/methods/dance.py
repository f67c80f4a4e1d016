"""DANCE: dual-view distribution alignment for dataset condensation (Zhang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from satm import networks
from satm.augment import apply_per_class, draw_per_class
from satm.engine import FlatNetwork, flatten
from satm.errors import ConfigError, ExpertError
from satm.methods.base import METHODS, Task, augment_within
from satm.methods.checks import check_distribution_matching
from satm.methods.direct.condensation import Moved, classes_at_once
from satm.methods.direct.method import DirectMethod
from satm.methods.dm import AT_ONCE, DistributionMatching, DMConfig
from satm.rng import Seed
from satm.types import FlatParams, Images


@dataclass(frozen=True, slots=True, kw_only=True)
class DANCEConfig(DMConfig):
    """DM on networks between the start and the end of an expert, plus a calibration by that expert. Each outer step:

        θ = λ θ^E_0 + (1 − λ) θ^E_T, λ uniform in 0..1, E one of the experts, T = `expert_epochs`
        φ descends Σ_k ‖mean ψ_θ(A(φ_k, ω)) − mean ψ_θ(A(T_k, ω))‖²     (inner-class view)
        φ descends Σ_k mean L_CE(A(φ_k, ω'); θ^E_T), `calibrations` times (inter-class view)

    φ_k and T_k are the synthetic and the real images of class k (the T of θ^E_T is a number of epochs). ψ_θ is the
    network with the parameters θ and without its last layer. A is the augmentation, ω and ω' are its random draws. All
    updates of φ use the same learning rate and momentum. The default values are those of DANCE's code (DANCE.py and
    arguments/ of Hansong-Zhang/DANCE at 1b56b68). If `expert_epochs` and `calibrations` are 0, this is DM on the
    experts' initial networks.
    """

    outer_steps: int = 10_000
    expert_epochs: int = 60
    calibrations: int = 1  # updates of φ by the cross-entropy after each update by the distance of the means
    augment: str | None = "color_crop_cutout"  # augmentations in DSA's notation; null: none

    def __post_init__(self) -> None:
        DMConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        for name in ("expert_epochs", "calibrations"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}: expected 0 or more")

    def stored_epochs(self) -> int:
        """Return the number of epochs that an expert must have."""
        return self.expert_epochs

    def images_a_step(self, classes: int, ipc: int) -> float:
        """See `DirectConfig`."""
        return DMConfig.images_a_step(self, classes, ipc) + self.calibrations * classes * ipc


class DANCE(DistributionMatching):
    """A condensation by DANCE.

    In each outer step, an expert's start and end are blended, and φ is updated 1 + `calibrations` times.
    """

    def __init__(self, task: Task, config: DANCEConfig) -> None:
        """Raise ExpertError if the task has no experts."""
        if not task.experts:
            raise ExpertError("the method uses snapshots of experts, and there is none; train some")
        super().__init__(task, config)
        self.config, whole = config, FlatNetwork(self.network)
        self.second: FlatParams = flatten(self.network.parameters()).detach()  # a placeholder: each step draws it

        def cross_entropy(images: Images, theta: FlatParams, labels: torch.Tensor) -> torch.Tensor:
            logits = whole(theta, images.flatten(0, 1))
            return F.cross_entropy(logits, labels.flatten(), reduction="sum") / images.shape[1]

        def calibrate(images: Images, theta: FlatParams, labels: torch.Tensor) -> tuple[Images, torch.Tensor]:
            gradient, value = torch.func.grad_and_value(cross_entropy)(images, theta, labels)
            return gradient, value

        self.calibrate = self.fused(calibrate)

    def chosen(self, seed: Seed) -> tuple[FlatParams, FlatParams]:
        """Return the blend θ [P] of this outer step, and the end θ^E_T [P] of the expert E that it is made of."""
        generator = seed.generator()
        expert = self.task.experts[int(torch.randint(len(self.task.experts), (), generator=generator))]
        share = float(torch.rand((), generator=generator))
        like = self.images
        start, end = (expert.snapshot(epoch).to(like) for epoch in (0, self.config.expert_epochs))
        return share * start + (1 - share) * end, end

    def parameters(self, seed: Seed) -> FlatParams:
        """See `DirectCondensation`: the parameters of ψ_θ. Keeps θ^E_T for the rest of the step."""
        blend, self.second = self.chosen(seed)
        FlatNetwork(self.network).load(blend)
        return flatten(networks.features(self.network).parameters()).detach()

    def follow(self, moved: Moved, seed: Seed) -> Moved:
        """See `DirectCondensation`: makes the calibrations."""
        for number in range(self.config.calibrations):
            own = seed.child("calibration", number)
            with own.child("layers").forked():  # dropout takes no generator, only the global random state
                gradient, value = self.calibration(moved.images, self.second, own)
            moved = self.move(moved, gradient, {**moved.measured, "calibration": value})
        return moved

    def calibration(self, images: Images, theta: FlatParams, seed: Seed) -> tuple[Images, float]:
        """Return the gradient of Σ_k mean L_CE at θ [P], and the mean of L_CE over the classes.

        The inner mean is over the images of class k. The gradient is with respect to φ = `images`.
        """
        leaf = images.detach().requires_grad_()
        seen = self.by_class(leaf)
        classes = len(seen)
        if self.augment is not None:
            shape = self.task.data.image_shape
            seen = apply_per_class(seen, draw_per_class(self.augment, classes, shape, seed.generator()))
        gradient, total = self.cross_entropy(seen.detach(), theta)
        (found,) = torch.autograd.grad(seen, leaf, gradient)
        return found, total / classes

    def cross_entropy(self, seen: Images, theta: FlatParams) -> tuple[Images, float]:
        """Return the gradient and the value of Σ_k mean L_CE at θ [P] for images `seen` [K, n, C, H, W].

        The gradient is with respect to `seen`, which networks see grouped by class.
        """
        classes, n = seen.shape[:2]
        labels = torch.arange(classes, device=seen.device).unsqueeze(1).expand(-1, n)
        size, gradients, total = classes_at_once(classes, n, AT_ONCE), [], 0.0
        for part, wanted in zip(seen.split(size), labels.split(size), strict=True):
            gradient, value = self.calibrate(part, theta, wanted)
            gradients.append(gradient)
            total += float(value)
        return torch.cat(gradients), total


METHODS.add(
    DirectMethod(
        name="dance",
        summary="distribution matching on blends of experts, calibrated by their ends (Zhang et al. 2024)",
        cite=("zhang2024dance",),
        config=DANCEConfig,
        data_settings=augment_within(DANCEConfig, "augment"),
        recipe="dm",
        expert_epochs=DANCEConfig.stored_epochs,
        expert_count=5,
        begin=DANCE,
        check=check_distribution_matching,
    )
)
