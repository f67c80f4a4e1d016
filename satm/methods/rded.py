"""RDED: realistic, diverse and efficient distillation without optimisation (Sun et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.nn import functional as F

from satm.engine import FlatNetwork
from satm.errors import ConfigError, ExpertError
from satm.methods.base import METHODS, Condensation, Method, Outcome, Request, Task, Traits
from satm.methods.selection.condensation import ClassByClass, last_snapshot
from satm.networks import plan_for
from satm.preprocessing import MeanStd, unit_range
from satm.teachers import TeacherConfig
from satm.types import FlatParams, Images

BATCH = 500  # patches scored at once


@dataclass(frozen=True, slots=True, kw_only=True)
class RDEDConfig:
    """Each synthetic image is made of `factor`² patches of real images, those that a teacher finds most real.

    The numbers are those of RDED's code (argument.py and scripts/ at 3f6453d). Its `factor` is 1 at 32 and 64 pixels,
    and 2 for larger images. Its teacher is a network with batch normalisation (`satm.teachers`). It labels every batch
    when networks are trained on the set, by the recipe `rded`, and the set itself keeps the classes (`labels` hard).

    Without `teacher`, the first expert after `expert_epochs` epochs takes its place, as `rded-static` has it. With
    `labels` soft, the set keeps one static label an image, given when the set is made.
    """

    teacher: TeacherConfig | None = None  # null: the first expert is the teacher
    expert_epochs: int = 50  # of that expert
    factor: int = 1  # patches along each side of an image
    candidates: int = 300  # real images of each class that are cropped; all of them if there are fewer
    crops: int = 5  # random crops of each candidate; the most real one is kept
    min_area: float = 0.08  # smallest area of a crop, as a fraction of its image; the largest area is 1
    labels: Literal["soft", "hard"] = "soft"  # soft: the teacher's probabilities of the whole image
    temperature: float = 1.0  # of the softmax of soft labels

    def __post_init__(self) -> None:
        for name in ("factor", "candidates", "crops"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected at least 1")
        if self.expert_epochs < 0:
            raise ConfigError(f"expert_epochs {self.expert_epochs}: expected 0 or more")
        if not 0 < self.min_area <= 1:
            raise ConfigError(f"min_area {self.min_area}: expected a fraction, 0 < min_area ≤ 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"temperature {self.temperature}: expected a finite number above 0")

    def stored_epochs(self) -> int | None:
        """Epochs that the expert needs; None if a teacher takes its place."""
        return self.expert_epochs if self.teacher is None else None

    def own_teacher(self) -> TeacherConfig | None:
        """The teacher that is not an expert."""
        return self.teacher


class Judge(Protocol):
    """A network that scores patches and labels images: a teacher, or an expert."""

    def logits(self, images: Images) -> torch.Tensor:
        """Logits [n, K] of preprocessed images [n, C, H, W]."""


class Expert:
    """A network at θ [P] in the place of a teacher."""

    def __init__(self, network: FlatNetwork, theta: FlatParams) -> None:
        self.network, self.theta = network, theta
        network.network.eval()

    @torch.no_grad()
    def logits(self, images: Images) -> torch.Tensor:
        """See `Judge`."""
        return torch.cat([self.network(self.theta, part) for part in images.split(BATCH)])


def realism(judge: Judge, patches: Images, label: int) -> torch.Tensor:
    """Scores [n]: log p(label | patch). Higher is more real. RDED's cross-entropy is the negative of this."""
    return judge.logits(patches).log_softmax(dim=1)[:, label]


def random_crops(images: Images, size: int, min_area: float, generator: torch.Generator) -> Images:
    """One square crop of each of `images` [n, C, H, W], resized to [n, C, size, size].

    The area of a crop, as a fraction of its image, is uniform in [min_area, 1].
    Source: RDED's RandomResizedCrop with aspect ratio 1 and antialiasing.
    """
    from torchvision.transforms.v2.functional import resized_crop

    n, _, height, width = images.shape
    area = torch.rand(n, generator=generator) * (1 - min_area) + min_area
    sides = (area * height * width).sqrt().round().long().clamp(1, min(height, width))
    top = (torch.rand(n, generator=generator) * (height - sides + 1)).long()
    left = (torch.rand(n, generator=generator) * (width - sides + 1)).long()
    places = zip(top.tolist(), left.tolist(), sides.tolist(), strict=True)
    cut = [
        resized_crop(image, y, x, side, side, [size, size], antialias=True)
        for image, (y, x, side) in zip(images, places, strict=True)
    ]
    return torch.stack(cut)


def centred(patches: Images, size: int) -> Images:
    """`patches` [n, C, s, s] in the middle of zeros [n, C, size, size]: the input of the teacher."""
    before, after = (size - patches.shape[-1]) // 2, (size - patches.shape[-1] + 1) // 2
    return F.pad(patches, (before, after, before, after))


def assembled(patches: Images, factor: int) -> Images:
    """Images [n, C, s·factor, s·factor] from patches [n·factor², C, s, s], the most real patch first.

    The n most real patches fill the first cell of the n images. The next n patches fill the second cell, and so on, row
    by row.
    """
    cells: Images = patches.unflatten(0, (factor, factor, -1))  # row, column, image, C, s, s
    return cells.permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)


def _judge(task: Task, config: RDEDConfig) -> Judge:
    """The teacher of the task, or its first expert. Raises ExpertError if the one that is needed is missing."""
    if config.teacher is None:
        network = plan_for(task.architecture, task.data).create(task.seed.child("net")).to(task.device)
        return Expert(FlatNetwork(network), last_snapshot(task, config.expert_epochs))
    if task.teacher is None:
        raise ExpertError("a teacher is needed and there is none; train one (satm.teachers.train_teacher)")
    return task.teacher


def _begin(task: Task, config: RDEDConfig) -> Condensation:
    data, device, judge = task.data, task.device, _judge(task, config)
    size, wanted = data.image_shape[1], task.ipc * config.factor**2

    def of_class(label: int) -> Images:
        generator = task.seed.child("class", label).generator()
        members = (data.train.labels == label).nonzero().squeeze(1)
        drawn = members[torch.randperm(len(members), generator=generator)[: config.candidates]]
        real = unit_range(data.train.images[drawn])
        best, score = torch.empty(0), torch.full((len(drawn),), -math.inf)
        for _ in range(config.crops):
            patches = random_crops(real, size // config.factor, config.min_area, generator)
            patches = data.preprocessing(patches)
            found = realism(judge, centred(patches, size).to(device), label).cpu()
            better = (found > score).view(-1, 1, 1, 1)
            best = torch.where(better, patches, best) if len(best) else patches
            score = found.maximum(score)
        return assembled(best[score.argsort(descending=True, stable=True)[:wanted]], config.factor)

    def labelled(images: Images) -> Outcome:
        soft = (judge.logits(images.to(device)) / config.temperature).softmax(dim=1).cpu()
        return Outcome(images, soft, "probabilities", None)

    return ClassByClass(task, of_class, labelled if config.labels == "soft" else None)


def _data_settings(traits: Traits) -> Mapping[str, Any]:
    return {"factor": 1 if traits.image_size <= 64 else 2}  # RDED's code (scripts/ at 3f6453d)


def _check(request: Request) -> None:
    config, data = request.settings, request.data
    size = data.image_shape[1:]
    if size[0] != size[1] or size[0] % config.factor:
        raise ConfigError(
            f"factor {config.factor}: images of {size[0]}×{size[1]} pixels cannot be cut into as many patches a side; "
            "choose a divisor of the side (--set factor=1)"
        )
    smallest = int(torch.bincount(data.train.labels, minlength=len(data.classes)).min())
    most = min(config.candidates, smallest) // config.factor**2
    if request.ipc > most:
        raise ConfigError(
            f"ipc {request.ipc} at factor {config.factor}: {min(config.candidates, smallest)} candidates a class make "
            f"at most {most} images; lower --ipc or factor, or raise candidates (--set candidates=…)"
        )
    if not isinstance(data.preprocessing, MeanStd):
        raise ConfigError(
            f"{request.method} pads and assembles patches, which whitened pixels do not allow; --set zca=false"
        )


METHODS.add(
    Method(
        name="rded",
        summary="the most real patches of real images; a teacher labels every batch (Sun et al. 2024)",
        cite=("sun2024rded",),
        config=RDEDConfig,
        recipe="rded",
        expert_epochs=RDEDConfig.stored_epochs,
        expert_count=1,
        teacher=RDEDConfig.own_teacher,
        whitening=False,
        data_settings=_data_settings,
        begin=_begin,
        check=_check,
    )
)
METHODS.add(
    Method(
        name="rded-static",
        summary="rded with an expert as its teacher and one static soft label an image",
        cite=("sun2024rded",),
        config=RDEDConfig,
        expert_epochs=RDEDConfig.stored_epochs,
        expert_count=1,
        teacher=RDEDConfig.own_teacher,
        whitening=False,
        data_settings=_data_settings,
        begin=_begin,
        check=_check,
    )
)
