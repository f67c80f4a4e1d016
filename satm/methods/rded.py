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

BATCH = 500  # the largest number of patches that are scored together


@dataclass(frozen=True, slots=True, kw_only=True)
class RDEDConfig:
    """The settings of RDED, which assembles each synthetic image from `factor`² patches of real images.

    A teacher network scores the patches, and the patches with the best scores are used (see `realism`). There are two
    versions, which differ in the teacher and in the labels:

    `rded` is the published method. Its teacher is a network with batch normalisation (`satm.teachers`). The set keeps
    the classes as labels (`labels` is hard). When a network is trained on the set by the recipe `rded`, the teacher
    labels every augmented batch.

    `rded-static` has no `teacher` of its own. The first expert, after `expert_epochs` epochs of training, is its
    teacher. The set keeps one fixed soft label for each image, which the teacher gives when the set is made (`labels`
    is soft).

    The numbers are those of RDED's code (argument.py and scripts/ at 3f6453d). There `factor` is 1 for images of 32 and
    64 pixels a side, and 2 for larger images.
    """

    teacher: TeacherConfig | None = None  # null: the first expert is the teacher
    expert_epochs: int = 50  # the epochs of training of the expert that is the teacher
    factor: int = 1  # the number of patches along each side of a synthetic image
    candidates: int = 300  # the number of real images of each class that are cropped; if a class has fewer, all of it
    crops: int = 5  # the number of random crops of each candidate; the crop with the best score is kept
    min_area: float = 0.08  # smallest area of a crop, as a fraction of its image; the largest area is 1
    labels: Literal["soft", "hard"] = "soft"  # soft: the teacher's probabilities for the synthetic image; hard: classes
    temperature: float = 1.0  # the temperature of the softmax that makes soft labels

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
        """The number of epochs that the expert needs; None if a teacher is used and no expert."""
        return self.expert_epochs if self.teacher is None else None

    def own_teacher(self) -> TeacherConfig | None:
        """The settings of the teacher if one is trained for the method; None if an expert is the teacher."""
        return self.teacher


class Judge(Protocol):
    """The interface of a network that scores patches and labels images. Teachers and `Expert` implement it."""

    def logits(self, images: Images) -> torch.Tensor:
        """Logits [n, K] of preprocessed images [n, C, H, W]."""


class Expert:
    """An expert network that is used as the teacher, with the parameters `theta` [P]."""

    def __init__(self, network: FlatNetwork, theta: FlatParams) -> None:
        self.network, self.theta = network, theta
        network.network.eval()

    @torch.no_grad()
    def logits(self, images: Images) -> torch.Tensor:
        """Logits [n, K] of `images`, computed in batches; see `Judge`."""
        return torch.cat([self.network(self.theta, part) for part in images.split(BATCH)])


def realism(judge: Judge, patches: Images, label: int) -> torch.Tensor:
    """The scores [n] of the patches: log p(label | patch). A patch with a higher score is called more real.

    The cross-entropy in RDED's code is the negative of this score.
    """
    return judge.logits(patches).log_softmax(dim=1)[:, label]


def random_crops(images: Images, size: int, min_area: float, generator: torch.Generator) -> Images:
    """Cut one random square from each of `images` [n, C, H, W], and resize the squares to [n, C, size, size].

    The area of a square, as a fraction of its image, is drawn uniformly from [min_area, 1].
    Source: RandomResizedCrop in RDED's code, with aspect ratio 1 and antialiasing.
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
    """Pad `patches` [n, C, s, s] with zeros on all sides to [n, C, size, size], the input size of the teacher."""
    before, after = (size - patches.shape[-1]) // 2, (size - patches.shape[-1] + 1) // 2
    return F.pad(patches, (before, after, before, after))


def assembled(patches: Images, factor: int) -> Images:
    """Assemble n images [n, C, s·factor, s·factor] from the patches [n·factor², C, s, s].

    The patches are sorted by their score, the most real patch first. Each image is a grid of factor × factor cells. The
    n most real patches fill the first cell of the n images. The next n patches fill the second cell of the n images,
    and so on, row by row.
    """
    cells: Images = patches.unflatten(0, (factor, factor, -1))  # the axes are row, column, image, C, s, s
    return cells.permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)


def _judge(task: Task, config: RDEDConfig) -> Judge:
    """The network that scores patches and labels images: the task's teacher, or its first expert if none is set.

    Raises ExpertError if the task does not hold this network.
    """
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
    return {"factor": 1 if traits.image_size <= 64 else 2}  # as in RDED's code (scripts/ at 3f6453d)


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
