"""Finds the kind of the labels in an imported file (classes, probabilities, logits).

It also checks that the labels fit the data set.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from satm.errors import ConfigError, DataError
from satm.exchange.files import shown
from satm.types import LabelKind, Labels


def settled_labels(
    labels: torch.Tensor | None,
    *,
    n: int,
    num_classes: int,
    ipc: int | None,
    claimed: LabelKind | None,
    default: LabelKind | None,
) -> tuple[Labels, LabelKind, int]:
    """Return the labels as a `SyntheticSet` holds them, their kind, and the number of images of each class.

    `n` is the number of images. If `labels` is None, the images are assumed to be class-major. Labels [n] are always
    hard. A matrix [n, K] has the kind `claimed`, which the user states. If the user states none, it has the kind
    `default` of the layout. With the kind `hard`, each row of the matrix becomes the class with the largest entry.

    Raises ConfigError if the user must state the kind of a matrix (there is no default, or the default is `logits` but
    the rows add up to 1), or states another kind than hard for labels [n]. Raises DataError if the labels are outside
    the classes, if the matrix does not have K columns, if the classes do not have equally many images (`ipc` of each,
    unless `ipc` is None), or if probabilities do not add up to 1.
    """
    per_class = _per_class(n, num_classes, ipc)
    if labels is None:
        labels = torch.arange(num_classes).repeat_interleave(per_class)
    if labels.ndim == 1:
        if claimed not in (None, "hard"):
            raise ConfigError(f"--labels {claimed}: the file holds one class an image; leave --labels out")
        _check_classes(labels, num_classes, per_class)
        return labels, "hard", per_class
    if labels.shape[1] != num_classes:
        raise DataError(f"labels have {labels.shape[1]} columns; the data set has {num_classes} classes")
    adds_up = bool((labels >= -1e-3).all() and ((labels.sum(1) - 1).abs() <= 1e-2).all())
    kind = claimed or default
    if kind is None or (claimed is None and kind == "logits" and adds_up):
        looks = "rows that add up to 1" if adds_up else "rows that do not add up to 1"
        raise ConfigError(
            f"labels are a matrix of {looks} and the file does not say what they are; give --labels probabilities, "
            "logits or hard"
        )
    if kind == "probabilities" and not adds_up:
        low, total = float(labels.min()), labels.sum(1)
        raise DataError(
            f"labels claimed to be probabilities reach down to {low:.3g} and rows add up to {float(total.min()):.3g} "
            f"to {float(total.max()):.3g}; expected 0 and 1 (--labels logits?)"
        )
    if kind == "hard":
        classes = labels.argmax(1)
        _check_classes(classes, num_classes, per_class)
        return classes, "hard", per_class
    return labels, kind, per_class


def labels_by_folder(labels: Labels, folders: Sequence[str], label_of: dict[str, int], num_classes: int) -> Labels:
    """Turn `labels`, which are indices into `folders`, into labels of the data set, by the names of the folders.

    Normally the name of each folder is a key of `label_of` (a class name or another name of the class) or the class
    number (`3`, `00003`). If this is not so, but there are as many folders as classes and no folder has a name in
    `label_of`, the folders are taken as the classes 0, 1, … in their order (alphabetical). Raises DataError if neither
    is the case, or if two folders name the same class.
    """
    known = [label_of.get(name, _number(name)) for name in folders]
    if all(label is not None and 0 <= label < num_classes for label in known):
        if len(set(known)) != len(known):
            raise DataError(f"several folders name one class: {shown(', '.join(folders[:8]))}; expected one each")
        numbers = known
    elif len(folders) == num_classes and not any(name in label_of for name in folders):
        numbers = list(range(num_classes))
    else:
        strange = next(n for n, label in zip(folders, known, strict=True) if label is None or label >= num_classes)
        raise DataError(
            f"folder '{shown(strange, 60)}' is not a class of the data set; expected folders named after its "
            f"{num_classes} classes, by name or by number"
        )
    return torch.tensor(numbers, dtype=torch.int64)[labels]


def _number(name: str) -> int | None:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 10 else None


def _per_class(n: int, num_classes: int, ipc: int | None) -> int:
    if ipc is not None and n != ipc * num_classes:
        raise DataError(f"{n} images; --ipc {ipc} and {num_classes} classes make {ipc * num_classes}")
    if n % num_classes:
        raise DataError(f"{n} images cannot be shared by {num_classes} classes equally; is it another data set?")
    return n // num_classes


def _check_classes(labels: Labels, num_classes: int, per_class: int) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(f"labels reach from {low} to {high}; the data set has {num_classes} classes, from 0")
    counts = torch.bincount(labels, minlength=num_classes)
    if (counts != per_class).any():
        label = int((counts != per_class).nonzero()[0])
        raise DataError(f"class {label} has {int(counts[label])} images; expected {per_class} of each class")
