"""The decoded images of a whole data set, and the checks of labels and images that every data set must pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from satm.canonical import digest
from satm.data.catalogue import DatasetSpec
from satm.errors import DataError
from satm.machine.room import check_room
from satm.synthetic import tensor_digest
from satm.types import Images, Labels

SMALLER = "give a smaller image_size (--set image_size=N)"  # advice for the message that RAM is too small
# Images are resized in parts. This is the largest number of float32 values in one part, counted before or after the
# resizing, whichever number is larger.
_AT_ONCE = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """The training and test images of a data set as they are decoded: no image is held out or preprocessed yet."""

    train_images: Images  # [n, C, H, W] uint8
    train_labels: Labels  # [n] int64
    test_images: Images  # like `train_images`
    test_labels: Labels  # like `train_labels`
    classes: tuple[str, ...]  # the names of the classes in label order

    @property
    def digest(self) -> str:
        """The sha256 hash over every image and label, in hexadecimal."""
        tensors = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        return digest([tensor_digest(tensor) for tensor in tensors])

    def at_size(self, size: int | None) -> Raw:
        """Return the same images, resized to a height and width of `size` pixels (bilinear, antialiased).

        The images are unchanged if `size` is None. Raises DataError if the machine has too little RAM for the result.
        """
        if size is None or size == self.train_images.shape[-1]:
            return self
        count, channels = len(self.train_images) + len(self.test_images), self.train_images.shape[1]
        check_room(count * channels * size * size, f"{count} images of {size}×{size} pixels", SMALLER)
        return replace(
            self, train_images=_resized(self.train_images, size), test_images=_resized(self.test_images, size)
        )


def class_names(found: tuple[str, ...] | None, labels: Labels, spec: DatasetSpec | None, where: str) -> tuple[str, ...]:
    """Return the names of the classes of a data set, in label order.

    They are the names in the catalogue's entry `spec`, unless the names `found` in the files are others: then the files
    may have another order of the classes, and their own names are the right ones. Upper case, spaces and punctuation
    make no other name, and neither do the numbers "0", "1" … in this order. If `spec` is None or has no names, the
    names are `found`. If `found` is None too, they are the numbers "0", "1" …: as many as `spec` has classes, or up to
    the largest label if `spec` is None.

    `labels` are the labels in the files, and `where` is the path of the files, for messages. Raises DataError if
    `found` has another number of names than `spec` has classes. Also raises DataError if `spec` and `found` are both
    None and the largest label is larger than the number of images.
    """
    if spec is None and found is None and int(labels.max()) > len(labels):
        raise DataError(
            f"{where}: labels reach {int(labels.max())}, and there are {len(labels)} images; number classes from 0"
        )
    if spec is None:
        return found or tuple(str(label) for label in range(int(labels.max()) + 1))
    if found is not None and len(found) != spec.num_classes:
        raise DataError(f"{where} has {len(found)} classes; {spec.name} has {spec.num_classes}")
    numbers = tuple(map(str, range(spec.num_classes)))
    if found is None or found == numbers or _plain(found) == _plain(spec.class_names):
        return spec.class_names
    return found


def _plain(names: tuple[str, ...]) -> list[str]:
    """The names in lower case, with letters and digits only."""
    return ["".join(filter(str.isalnum, name.lower())) for name in names]


def check_labels(labels: Labels, classes: tuple[str, ...], where: str) -> None:
    """Raise DataError if a label is not the number of a class, or if a class has no image."""
    low, high = int(labels.min()), int(labels.max())
    # Normally, if the labels start at 1 by mistake, the largest label is the number of classes, which is too high. But
    # if neither the files nor the catalogue name the classes, `class_names` has made a class for each number from 0 to
    # the largest label, and the first class is called "0". Then no label is too high, and class 0 is empty.
    named = classes[0] != "0"
    if low == 1 and high >= len(classes) - (0 if named else 1):
        raise DataError(
            f"{where}: labels start at 1 (they run from 1 to {high}); subtract 1, so that they start at 0, or add "
            "images of class 0"
        )
    wrong = ((labels < 0) | (labels >= len(classes))).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{where}: image {row} has label {int(labels[row])}; expected 0 to {len(classes) - 1}")
    empty = (torch.bincount(labels, minlength=len(classes)) == 0).nonzero()
    if len(empty):
        label = int(empty[0])
        raise DataError(f"{where}: no image of class {label} ('{classes[label]}'); add some or leave the class out")


def check_varied(raw: Raw, where: str) -> None:
    """Raise DataError if all pixels of a group of images have the same value: nothing can be learned from such images.

    The groups are all training images, all test images, each channel of the training images, and the training images of
    each class. The images of a class are refused if each of their channels has a single value; the values of different
    channels may differ. `where` is the path or name of the data set, for messages.
    """
    train, channels = raw.train_images, raw.train_images.shape[1]
    for part, images in (("training", train), ("test", raw.test_images)):
        if _flat(images.flatten()):
            raise DataError(f"{where}: every pixel of its {part} images is {int(images.max())}; replace them")
    for number in range(channels):
        if _flat(train[:, number].flatten()):
            name = ("red", "green", "blue")[number] if channels == 3 else str(number)
            level = int(train[0, number, 0, 0])
            raise DataError(
                f"{where}: the {name} channel is {level} in every pixel of its training images, so it cannot be "
                "normalised; save them as grey images, or replace them"
            )
    for label, name in enumerate(raw.classes):
        members = train[raw.train_labels == label]
        if all(_flat(members[:, number].flatten()) for number in range(channels)):
            raise DataError(
                f"{where}: every pixel of the {len(members)} images of class '{name}' has one colour; replace them or "
                "leave the class out"
            )


def _flat(values: torch.Tensor) -> bool:
    # Whether all values are equal.
    return bool(values.min() == values.max())


def _resized(images: Images, size: int) -> Images:
    count, channels = images.shape[:2]
    ready = torch.empty(count, channels, size, size, dtype=torch.uint8)
    step = max(1, _AT_ONCE // max(channels * size * size, images[0].numel()))
    for start in range(0, count, step):
        part = images[start : start + step].float()
        scaled = F.interpolate(part, (size, size), mode="bilinear", antialias=True)
        ready[start : start + step] = scaled.round().clamp(0, 255)
    return ready
