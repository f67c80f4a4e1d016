"""Loads a data set by its name: finds it, decodes it, splits it and chooses its preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from satm.canonical import digest
from satm.data.catalogue import spec_of
from satm.data.lookup import find, split_path
from satm.data.normalise import measured_mean_std
from satm.data.raw import Raw, check_varied
from satm.data.read import read
from satm.data.split import Split, stratified
from satm.data.zca import fitted_zca
from satm.errors import ConfigError, DataError
from satm.preprocessing import MeanStd, Preprocessing
from satm.printable import check_names
from satm.progress import SILENT, Progress
from satm.rng import Seed

SPLIT_SEED = 0  # the seed of the validation split. Every run holds out the same images, whatever the run's own seed is


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageData:
    """A real data set in three parts. Use `validation` to choose settings, and `test` only once, at the end."""

    name: str
    classes: tuple[str, ...]  # the names of the classes, in label order
    train: Split
    # Training images that `load` held out, so they are not in `train`: some of every class that has two or more images.
    # Empty if `load` held out no images (`validation=0`).
    validation: Split
    test: Split
    preprocessing: Preprocessing  # converts the images of all three parts to the input of networks
    # sha256 over the uint8 images and labels, the validation fraction and the seed of the split. After `of_classes`:
    # sha256 over the fingerprint of the whole data set and the chosen classes.
    fingerprint: str
    # The data root (the folder in which data sets are searched) that holds the files. None if a Python package holds
    # the images.
    root: str | None

    def __post_init__(self) -> None:
        # A name that cannot be stored is an error here, and not hours later when a synthetic set is stored.
        check_names("data set", [self.name])
        check_names("class", self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def with_preprocessing(self, preprocessing: Preprocessing) -> ImageData:
        """Return the same images with another preprocessing, for example that of a synthetic set."""
        train, validation, test = (
            each.with_preprocessing(preprocessing) for each in (self.train, self.validation, self.test)
        )
        return replace(self, train=train, validation=validation, test=test, preprocessing=preprocessing)

    def of_classes(self, wanted: Sequence[int]) -> ImageData:
        """Return a data set with only the classes whose labels are in `wanted`.

        The new labels are 0, 1 … in the order of `wanted`. The preprocessing of the whole data set is kept. Raises
        ConfigError if `wanted` is empty, holds a label twice or holds a label that no class has.
        """
        if not wanted or len(set(wanted)) < len(wanted) or not 0 <= min(wanted) <= max(wanted) < len(self.classes):
            raise ConfigError(
                f"classes {list(wanted)}: expected different ones of 0 to {len(self.classes) - 1} of {self.name}"
            )
        place = torch.full((len(self.classes),), -1)
        place[list(wanted)] = torch.arange(len(wanted))

        def part(split: Split) -> Split:
            chosen = split.of_classes(list(wanted))
            return replace(chosen, labels=place[chosen.labels])

        return replace(
            self,
            classes=tuple(self.classes[label] for label in wanted),
            train=part(self.train),
            validation=part(self.validation),
            test=part(self.test),
            fingerprint=digest({"of": self.fingerprint, "classes": list(wanted)}),
        )


def load(
    name: str,
    *,
    root: Path | str | None = None,
    image_size: int | None = None,
    zca: bool = False,
    validation: float = 0.1,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> ImageData:
    """Load the data set `name`.

    Args:
        name: a name in the catalogue, the name of a folder under the data root, or the path of a folder. If the last
            part of a path is a name in the catalogue, the path means that data set.
        root: the data root, the only folder that is searched. None: search `SATM_DATA`, then earlier downloads, and at
            last let torchvision download the data set if it can. `root` is not used if `name` is a path (the data root
            is then the folder above it), or if a Python package holds the images.
        image_size: the height and width of the images in pixels. None: the size in the catalogue; for a folder that is
            not in the catalogue, the size of its images, which must all be square and of one size.
        zca: True whitens the images by ZCA. False normalises them by the constants in the catalogue, or by constants
            measured on the training images if the data set is not in the catalogue.
        validation: the fraction of every class's training images that is held out for validation. Neither ZCA nor the
            measured constants are computed from the images held out.
        device: the device that batches of images are on.

    Raises UnknownName for an unknown name, ConfigError for a value outside its range, DataError for images that are
    missing, damaged or of no use (such as a single class), and Interrupted if `progress` asks to stop.
    """
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size {image_size}: expected 1 pixel or more")
    if not 0 <= validation < 1:
        raise ConfigError(f"validation {validation}: expected a fraction, 0 ≤ validation < 1")
    name, root = split_path(name, root)
    raw, raw_digest, found_under = _whole(name, root, image_size, progress)
    kept, held = stratified(raw.train_labels, validation, Seed(SPLIT_SEED).child("validation"))
    fingerprint = digest({"images": raw_digest, "validation": float(validation), "split_seed": SPLIT_SEED})
    train_images = raw.train_images[kept]
    preprocessing: Preprocessing
    if zca:
        preprocessing = fitted_zca(train_images, fingerprint=fingerprint, device=device, progress=progress)
    else:
        spec = spec_of(name)
        preprocessing = measured_mean_std(train_images) if spec is None else MeanStd(mean=spec.mean, std=spec.std)

    def split(images: torch.Tensor, labels: torch.Tensor) -> Split:
        return Split(images=images, labels=labels, preprocessing=preprocessing, device=device)

    return ImageData(
        name=name,
        classes=raw.classes,
        train=split(train_images, raw.train_labels[kept]),
        validation=split(raw.train_images[held], raw.train_labels[held]),
        test=split(raw.test_images, raw.test_labels),
        preprocessing=preprocessing,
        fingerprint=fingerprint,
        root=found_under,
    )


def _whole(name: str, root: Path | None, image_size: int | None, progress: Progress) -> tuple[Raw, str, str | None]:
    """Return all images of data set `name`, their digest, and the data root that holds them.

    The data root is None if a Python package holds the images.
    """
    spec = spec_of(name)
    if spec is not None and spec.read is not None:
        raw, found_under = spec.read().at_size(image_size), None
        check_varied(raw, f"data set '{name}'")
        raw_digest = raw.digest
    else:
        place = find(name, root, progress)
        raw, raw_digest = read(place.path, name, image_size=image_size, progress=progress)
        found_under = str(place.root)
    if len(raw.classes) < 2:
        raise DataError(
            f"'{name}' has one class, '{raw.classes[0]}'; networks learn to tell classes apart: add another"
        )
    return raw, raw_digest, found_under
