"""`Split`, one part of a data set in RAM, and `stratified`, which holds out a fraction of every class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from satm.errors import ConfigError, ShapeError
from satm.preprocessing import Preprocessing
from satm.rng import Seed
from satm.types import Images, Labels

# If all preprocessed images of a split take at most this many bytes, they are kept in memory on the device of the
# batches. A larger split is preprocessed batch by batch, and no preprocessed image is kept.
KEPT_BYTES = 4 * 2**30
_CHUNK = 4096  # the number of images that are preprocessed at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Labelled images, stored as uint8 and preprocessed when `batch` is called.

    The class implements the protocol `satm.types.Examples`. If the preprocessed images take at most `KEPT_BYTES`, the
    first call of `batch` preprocesses all images of the split and keeps them on `device`. So, to use only a few of the
    images, first take a `subset`: only its images are then preprocessed. Raises ShapeError if the images are not
    [n, C, H, W] uint8, or if the numbers of images and labels differ.
    """

    images: Images  # [n, C, H, W] uint8 on the CPU
    labels: Labels  # [n] int64 on the CPU
    preprocessing: Preprocessing
    device: torch.device | str = "cpu"  # the device that batches are on

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8 or self.labels.shape != self.images.shape[:1]:
            raise ShapeError(
                f"images {tuple(self.images.shape)} {self.images.dtype} and labels {tuple(self.labels.shape)}: "
                "expected [n, C, H, W] uint8 and [n]"
            )

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[Images, Labels]:
        """The preprocessed images [b, C, H, W] float32 and the labels [b] int64 at `index` [b], both on `device`."""
        labels = self.labels[index].to(self.device)
        if self.images.numel() * 4 <= KEPT_BYTES:
            return self._preprocessed[index.to(self.device)], labels
        return self.preprocessing(self.images[index].to(self.device)), labels

    @cached_property
    def _preprocessed(self) -> Images:
        ready = torch.empty(self.images.shape, device=self.device)
        for start in range(0, len(self), _CHUNK):
            ready[start : start + _CHUNK] = self.preprocessing(self.images[start : start + _CHUNK].to(self.device))
        return ready

    def to(self, device: torch.device | str) -> Split:
        """The same split, but its batches are on `device`."""
        return replace(self, device=device)

    def with_preprocessing(self, preprocessing: Preprocessing) -> Split:
        """The same images with another preprocessing, for example that of a synthetic set."""
        return replace(self, preprocessing=preprocessing)

    def subset(self, index: torch.Tensor) -> Split:
        """A split with the images at `index` [b] int64, in the order of `index`."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def of_classes(self, wanted: list[int]) -> Split:
        """A split with the images of the classes in `wanted`, in the same order. Each image keeps its label."""
        return self.subset(torch.isin(self.labels, torch.tensor(wanted, dtype=torch.int64)).nonzero()[:, 0])


def stratified(labels: Labels, fraction: float, seed: Seed) -> tuple[torch.Tensor, torch.Tensor]:
    """Hold out a random `fraction` of the images of every class. `labels` [n] int64 are the labels of all images.

    Returns (the indices of the kept images, the indices of the images held out), both ascending. If `fraction` is 0, no
    image is held out. Otherwise round(fraction × size of the class) images of each class are held out, but at least
    one, and at least one image is kept: a class with a single image keeps it. Each class has a random generator of its
    own, so the draw of one class does not depend on the other classes. Raises ConfigError unless 0 ≤ fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"fraction to hold out {fraction}: expected 0 ≤ fraction < 1")
    held = torch.zeros(len(labels), dtype=torch.bool)
    if fraction:
        for label in torch.unique(labels).tolist():
            members = (labels == label).nonzero()[:, 0]
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            order = torch.randperm(len(members), generator=seed.child(label).generator())
            held[members[order[:count]]] = True
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]
