"""The artefact: a synthetic set that describes itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from satm.errors import ConfigError, ShapeError
from satm.preprocessing import Preprocessing
from satm.types import Images, LabelKind, Labels


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. Hashes of configurations are taken over it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 over the canonical JSON, as hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def tensor_digest(tensor: torch.Tensor) -> str:
    """sha256 over dtype, shape and bytes, as hex."""
    data = tensor.detach().cpu().contiguous()
    head = f"{data.dtype}{tuple(data.shape)}".encode()
    found = hashlib.sha256(head)
    found.update(data.view(-1).view(torch.uint8).numpy().data)  # no copy: a real set can be many gigabytes
    return found.hexdigest()


@dataclass(frozen=True, kw_only=True)
class SyntheticSet(Dataset[tuple[Images, torch.Tensor]]):
    """OuterVariables images φ with their labels, their step size α and everything needed to use them.

    A torch data set of (image [C, H, W], target) pairs in class-major order; `transform` takes real images of the same
    data set into the space of these. Raises ShapeError when the tensors do not fit one another.
    """

    images: Images  # [n, C, H, W] float32 in the preprocessed space
    labels: Labels  # [n] int64, or [n, K] float32 probabilities or logits
    label_kind: LabelKind = "hard"
    step_size: float | None  # α; None where the method learns none
    dataset: str
    classes: tuple[str, ...]  # K names, by label
    ipc: int
    method: str
    preprocessing: Preprocessing
    profile: str  # paper, cpu, smoke …: the scale it was made at; foreign for one made elsewhere
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)  # canonical: method, data, experts, network
    parents: tuple[str, ...] = ()  # ids of what it was made from: data fingerprint, expert keys
    name: str | None = None  # `cifar10/ipc10/satm@3` once it is in a registry

    def __post_init__(self) -> None:
        n, k = len(self.images), len(self.classes)
        expected = (n,) if self.label_kind == "hard" else (n, k)
        if self.images.ndim != 4 or tuple(self.labels.shape) != expected:
            raise ShapeError(
                f"images {tuple(self.images.shape)} and {self.label_kind} labels {tuple(self.labels.shape)}: "
                f"expected [n, C, H, W] and {list(expected)}"
            )
        if self.label_kind == "hard" and n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < k:
            raise ShapeError(f"labels reach from {int(self.labels.min())} to {int(self.labels.max())}; classes: {k}")
        if not torch.isfinite(self.images).all():
            raise ShapeError("images hold values that are not finite")

    @property
    def targets(self) -> torch.Tensor:
        """What a cross-entropy trains on: [n] int64 classes, or [n, K] probabilities (logits pass a softmax)."""
        return self.labels.softmax(dim=1) if self.label_kind == "logits" else self.labels

    @property
    def hard_labels(self) -> torch.Tensor:
        """[n] int64: the class of each image.

        Soft labels say what an image teaches, not which class it stands for: learned or a teacher's, they may favour
        another. A set with `ipc` images of every class is class-major, so there its place tells; else the likeliest.
        """
        if self.label_kind == "hard":
            return self.labels
        if len(self.images) == len(self.classes) * self.ipc:
            return torch.arange(len(self.classes), device=self.labels.device).repeat_interleave(self.ipc)
        return self.labels.argmax(dim=1)

    @property
    def transform(self) -> Callable[[Images], Images]:
        """Real images (uint8, or 0..1 float) → the space of `images`."""
        return self.preprocessing

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def id(self) -> str:
        """sha256 over tensors, canonical config and parents: equal sets have equal ids, on any machine."""
        return digest(
            {
                "images": tensor_digest(self.images),
                "labels": tensor_digest(self.labels),
                "parents": list(self.parents),
                "about": self.describe(),
            }
        )

    def describe(self) -> dict[str, Any]:
        """Everything but the tensors, the name and the parents, JSON-able."""
        return {
            "label_kind": self.label_kind,
            "step_size": self.step_size,
            "dataset": self.dataset,
            "classes": list(self.classes),
            "ipc": self.ipc,
            "method": self.method,
            "preprocessing": self.preprocessing.to_dict(),
            "profile": self.profile,
            "seed": self.seed,
            "config": dict(self.config),
        }

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Images, torch.Tensor]:
        return self.images[index], self.targets[index]

    def batch(self, index: torch.Tensor) -> tuple[Images, torch.Tensor]:
        """The images and targets at `index` [b], as `satm.training` takes them."""
        index = index.to(self.images.device)
        return self.images[index], self.targets[index]

    def to(self, device: torch.device | str) -> SyntheticSet:
        """The same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def prefix(self, ipc: int) -> SyntheticSet:
        """The first `ipc` images of each class, as multisize condensation (MDC) means its smaller sets.

        Raises ConfigError for more than there are, ShapeError for a set whose classes are not equally large.
        """
        if not 1 <= ipc <= self.ipc:
            raise ConfigError(f"prefix {ipc}: the set has {self.ipc} images a class; choose 1 to {self.ipc}")
        if len(self) != self.ipc * len(self.classes):
            raise ShapeError(f"{len(self)} images are not {self.ipc} of each of {len(self.classes)} classes: no prefix")
        keep = torch.arange(len(self), device=self.images.device) % self.ipc < ipc
        return replace(self, images=self.images[keep], labels=self.labels[keep], ipc=ipc)

    def of_classes(self, wanted: list[int]) -> SyntheticSet:
        """The images of the classes in `wanted`, labels as they were: one step of a class-incremental stream."""
        keep = torch.isin(self.hard_labels, torch.tensor(wanted, device=self.labels.device))
        return replace(self, images=self.images[keep], labels=self.labels[keep])
