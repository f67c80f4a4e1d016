"""A synthetic set: learned images with everything that describes them, and its id, which is a hash of all this."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import Dataset

from satm.canonical import digest
from satm.errors import ConfigError, ShapeError
from satm.parametrisation import PIXELS, Parametrisation, parametrisation_from_dict
from satm.preprocessing import Preprocessing, preprocessing_from_dict
from satm.types import Images, LabelKind, Labels


def tensor_digest(tensor: torch.Tensor) -> str:
    """The sha256 of the dtype, the shape and the bytes of a tensor, in hexadecimal digits."""
    data = tensor.detach().cpu().contiguous()
    head = f"{data.dtype}{tuple(data.shape)}".encode()
    found = hashlib.sha256(head)
    found.update(data.view(-1).view(torch.uint8).numpy().data)  # without a copy: a real set can have many gigabytes
    return found.hexdigest()


@dataclass(frozen=True, kw_only=True)
class SyntheticSet(Dataset[tuple[Images, torch.Tensor]]):
    """Learned images φ with their labels, their step size α and everything that is needed to use them.

    The set stores n images, and `parametrisation` decodes them into the images that networks see: one stored image can
    give several. `images`, `labels` and `ipc` describe the stored images. `decoded` is the same set with the images
    that networks see. As a torch data set, it holds pairs (image [C, H, W], target) of the images that networks see,
    sorted by class.

    `transform` brings real images of the same data set into the space of φ. Raises ShapeError if the tensors do not fit
    each other or are not finite, and ConfigError if the parametrisation does not fit the images.
    """

    images: Images  # [n, …] float32, stored images in the preprocessed space; [n, C, H, W] if networks see these
    labels: Labels  # [n] int64, or [n, K] float32 probabilities or logits
    label_kind: LabelKind = "hard"
    step_size: float | None  # α, the learned learning rate of the inner loop; None if the method does not learn it
    dataset: str
    classes: tuple[str, ...]  # the names of the K classes; the label is the index
    ipc: int
    method: str
    preprocessing: Preprocessing
    parametrisation: Parametrisation = PIXELS  # decodes `images` into the images that networks see
    profile: str  # the scale at which the set was made: paper, cpu, smoke …; `foreign` if it was made elsewhere
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)  # the settings of method, data, experts and network
    parents: tuple[str, ...] = ()  # the ids of the set's origins: the fingerprint of the data, the experts' keys …
    name: str | None = None  # such as `cifar10/ipc10/satm@3`, if the set comes from a registry

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
        self.parametrisation.check(self.image_shape)

    @cached_property
    def decoded(self) -> SyntheticSet:
        """The set with the images that networks see, stored as pixels. It is this set itself if it stores pixels."""
        if self.parametrisation == PIXELS:
            return self
        with torch.no_grad():
            images = self.parametrisation.decode(self.images)
        return replace(
            self,
            images=images,
            labels=self.parametrisation.spread(self.labels),
            ipc=self.ipc * self.parametrisation.each,
            parametrisation=PIXELS,
            name=None,
        )

    @property
    def targets(self) -> torch.Tensor:
        """The targets of a cross-entropy loss for the stored images.

        They are classes [n] int64, or probabilities [n, K]. The probabilities of logits are their softmax.
        """
        return self.labels.softmax(dim=1) if self.label_kind == "logits" else self.labels

    @property
    def hard_labels(self) -> torch.Tensor:
        """The class of each stored image, [n] int64.

        A soft label that is learned or comes from a teacher can be highest for another class than that of its image. So
        if the set has `ipc` images of every class, the position of an image gives its class, because images are sorted
        by class. In other sets with soft labels, the class is the most probable class of the label.
        """
        if self.label_kind == "hard":
            return self.labels
        if len(self.images) == len(self.classes) * self.ipc:
            return torch.arange(len(self.classes), device=self.labels.device).repeat_interleave(self.ipc)
        return self.labels.argmax(dim=1)

    @property
    def transform(self) -> Callable[[Images], Images]:
        """The function that brings real images (uint8, or float in 0..1) into the space of `images`."""
        return self.preprocessing

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the images that networks see. Unless they are `low-rank`, stored images have it."""
        channels, height, width = self.images.shape[1:]
        return self.parametrisation.seen_shape((channels, height, width))

    @property
    def id(self) -> str:
        """The sha256 of tensors, description and parents. Equal sets have equal ids on every machine."""
        return digest(
            {
                "images": tensor_digest(self.images),
                "labels": tensor_digest(self.labels),
                "parents": list(self.parents),
                "about": self.describe(),
            }
        )

    def describe(self) -> dict[str, Any]:
        """A description for JSON: everything except the tensors, the name and the parents. `described` is the inverse.

        The parametrisation is left out if it is `PIXELS`. Older sets have no parametrisation and so keep their ids.
        """
        stored_so = {} if self.parametrisation == PIXELS else {"parametrisation": self.parametrisation.to_dict()}
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
            **stored_so,
        }

    @classmethod
    def described(
        cls,
        about: Mapping[str, Any],
        *,
        images: Images,
        labels: Labels,
        parents: tuple[str, ...],
        name: str | None = None,
    ) -> SyntheticSet:
        """The set that these tensors and the description `about` make. `about` is a result of `describe`.

        Raises KeyError or TypeError if `about` has wrong keys, and ConfigError or ShapeError if its values do not fit.
        """
        values = {
            **about,
            "classes": tuple(about["classes"]),
            "preprocessing": preprocessing_from_dict(about["preprocessing"]),
            "parametrisation": parametrisation_from_dict(about.get("parametrisation")),
        }
        return cls(images=images, labels=labels, parents=parents, name=name, **values)

    def __len__(self) -> int:
        return len(self.images) * self.parametrisation.each

    def __getitem__(self, index: int) -> tuple[Images, torch.Tensor]:
        return self.decoded.images[index], self.decoded.targets[index]

    def batch(self, index: torch.Tensor) -> tuple[Images, torch.Tensor]:
        """The images that networks see and their targets at the positions `index` [b], for `satm.training`."""
        index = index.to(self.images.device)
        return self.decoded.images[index], self.decoded.targets[index]

    def to(self, device: torch.device | str) -> SyntheticSet:
        """The same set, with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def prefix(self, ipc: int) -> SyntheticSet:
        """The set of the first `ipc` images of each class: a smaller set of multisize condensation (MDC).

        Raises ConfigError if the set has fewer than `ipc` images per class, and ShapeError if not all of its classes
        have `self.ipc` images.
        """
        if not 1 <= ipc <= self.ipc:
            raise ConfigError(f"prefix {ipc}: the set has {self.ipc} images a class; choose 1 to {self.ipc}")
        n = len(self.images)
        if n != self.ipc * len(self.classes):
            raise ShapeError(f"{n} images are not {self.ipc} of each of {len(self.classes)} classes: no prefix")
        keep = torch.arange(n, device=self.images.device) % self.ipc < ipc
        return replace(self, images=self.images[keep], labels=self.labels[keep], ipc=ipc)

    def of_classes(self, wanted: list[int]) -> SyntheticSet:
        """The images of the classes in `wanted`, with unchanged labels: the images of one class-incremental step."""
        keep = torch.isin(self.hard_labels, torch.tensor(wanted, device=self.labels.device))
        return replace(self, images=self.images[keep], labels=self.labels[keep])
