"""Images as they were read: resizing in parts, and the names of the classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from satm.data import load, raw
from satm.rng import Seed
from tests.satm.data.files import image_folder


@pytest.mark.parametrize(("size", "parts"), [(4, 3), (16, 6)], ids=["reduced", "enlarged"])
def test_resizing_holds_few_images_as_floats(size: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (6, 3, 12, 12), dtype=torch.uint8, generator=Seed(0).generator())
    labels = torch.arange(6) % 2
    read = raw.Raw(
        train_images=images, train_labels=labels, test_images=images[:1], test_labels=labels[:1], classes=("a", "b")
    )
    whole = read.at_size(size).train_images
    monkeypatch.setattr(raw, "_AT_ONCE", 2 * 3 * 12 * 12)  # two images of 12×12 pixels, or one of 16×16
    held, resize = [], raw.F.interpolate

    def counted(part: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        held.append(len(part))
        return resize(part, *rest, **more)

    monkeypatch.setattr(raw.F, "interpolate", counted)
    assert torch.equal(read.at_size(size).train_images, whole)
    assert len(held) == parts + 1  # one part of the test images


OWN = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_a_folder_with_other_class_names_keeps_them(root: Path) -> None:
    image_folder(root / "cifar10", OWN, size=32)
    assert load("cifar10", root=root, validation=0).classes == tuple(sorted(OWN))  # bird is label 0, and not airplane


def test_the_catalogue_names_classes_that_differ_in_spelling_only(root: Path) -> None:
    names = ["Airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    image_folder(root / "cifar10", names, size=32)
    assert load("cifar10", root=root, validation=0).classes == ("airplane", *names[1:])
