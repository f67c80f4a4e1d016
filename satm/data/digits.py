"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import torch

from satm.data.catalogue import CATALOGUE, DatasetSpec
from satm.data.raw import Raw
from satm.data.split import stratified
from satm.rng import Seed

TEST_FRACTION = 0.2
_CLASSES = tuple("0123456789")


def read_digits() -> Raw:
    """1,797 images of 8×8 pixels, with their levels 0..16 scaled to 0..255.

    scikit-learn has no test part. A fifth of every class is the test set, always the same one:
    `Seed(0).child("digits", "test")` draws it.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(found.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(found.target).long()
    train, test = stratified(labels, TEST_FRACTION, Seed(0).child("digits", "test"))
    return Raw(
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=_CLASSES,
    )


CATALOGUE.add(
    DatasetSpec(
        name="digits",
        summary="scikit-learn's 1,797 handwritten digits, 10 classes, 8×8 grey; needs no files",
        cite=("alpaydin1998digits",),
        image_size=8,
        channels=1,
        classes=_CLASSES,
        mean=(0.3054,),
        std=(0.3758,),
        augment="color_crop_scale_rotate",  # a mirrored digit is another sign, and cutout hides half of one
        read=read_digits,
        source="scikit-learn's load_digits (UCI optical digits, test part); constants measured on our training split",
    )
)
