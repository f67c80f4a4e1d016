"""The labels that a teacher gives to a batch, and the loss that trains a network on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from satm.teachers.store import Teacher
from satm.types import Images, Labels, Mix


def distillation_loss(
    logits: torch.Tensor, targets: Labels, *, temperature: float, factor: float = 1.0
) -> torch.Tensor:
    """The mean over the batch of c KL(p ‖ softmax(z/T)): (c/b) Σ_n Σ_k p_nk (log p_nk − log softmax(z_n/T)_k).

    z are the `logits` [b, K] of b images, T is the `temperature` and c the `factor`. p are the `targets`: probabilities
    [b, K], or classes [b], which become one-hot vectors. The gradient with respect to z is
    c (softmax(z/T) − p) / (T b). With c = T² its size hardly depends on T (Hinton et al. 2015, section 2).

    Source: RDED, with c = 1 (KLDivLoss with "batchmean", validation/main.py:205-240 at 3f6453d).
    """
    soft = F.one_hot(targets, logits.shape[1]).to(logits.dtype) if targets.ndim == 1 else targets
    return factor * F.kl_div((logits / temperature).log_softmax(dim=1), soft, reduction="batchmean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelled:
    """Mixes a batch, and replaces its targets by the teacher's labels of the mixed images. It is a `satm.types.Mix`.

    `satm.training.fit` calls it after the augmentation, so the teacher labels the images that the network sees.
    """

    teacher: Teacher
    temperature: float
    mix: Mix | None = None  # mixes the images, for example CutMix; the targets that it returns are not used

    def __call__(self, images: Images, targets: Labels, generator: torch.Generator) -> tuple[Images, Labels]:
        """The mixed images [b, C, H, W], and their targets softmax(teacher's logits / T) [b, K]."""
        if self.mix is not None:
            images, _ = self.mix(images, targets, generator)
        return images, self.teacher.probabilities(images, self.temperature)
