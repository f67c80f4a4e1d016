"""A whole data set decoded to uint8, and the checks that every source must pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from satm.data.catalogue import DatasetSpec
from satm.errors import DataError
from satm.synthetic import digest, tensor_digest
from satm.types import Images, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """The train and test images of a data set, with its class names by label."""

    train_images: Images  # [n, C, H, W] uint8
    train_labels: Labels  # [n] int64
    test_images: Images
    test_labels: Labels
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """sha256 over every image and label, as hex."""
        tensors = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        return digest([tensor_digest(tensor) for tensor in tensors])

    def at_size(self, size: int | None) -> Raw:
        """The same images with `size` pixels a side (bilinear, antialiased); unchanged if `size` is None."""
        if size is None or size == self.train_images.shape[-1]:
            return self
        return replace(
            self, train_images=_resized(self.train_images, size), test_images=_resized(self.test_images, size)
        )


def class_names(found: tuple[str, ...] | None, labels: Labels, spec: DatasetSpec | None, where: str) -> tuple[str, ...]:
    """The names of a source's classes by label.

    They are the catalogue's names. If it has none, they are the source's own names `found`, else the class numbers.
    Raises DataError if the source has another number of classes than the catalogue.
    """
    if spec is None:
        return found or tuple(str(label) for label in range(int(labels.max()) + 1))
    if found is not None and len(found) != spec.num_classes:
        raise DataError(f"{where} has {len(found)} classes; {spec.name} has {spec.num_classes}")
    return found if found and isinstance(spec.classes, int) else spec.class_names


def check_labels(labels: Labels, classes: tuple[str, ...], where: str) -> None:
    """Raise DataError if a label is outside the classes, or a class has no image."""
    wrong = ((labels < 0) | (labels >= len(classes))).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{where}: image {row} has label {int(labels[row])}; expected 0 to {len(classes) - 1}")
    empty = (torch.bincount(labels, minlength=len(classes)) == 0).nonzero()
    if len(empty):
        label = int(empty[0])
        raise DataError(f"{where}: no image of class {label} ('{classes[label]}'); add some or leave the class out")


def _resized(images: Images, size: int) -> Images:
    scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8)
