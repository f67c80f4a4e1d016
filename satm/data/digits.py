"""The data set `digits`: handwritten digits. scikit-learn holds them, so they need no download."""

from __future__ import annotations

import torch

from satm.data.catalogue import CATALOGUE, DatasetSpec
from satm.data.raw import Raw
from satm.data.split import stratified
from satm.rng import Seed

TEST_FRACTION = 0.2  # the fraction of every class's images that is in the test set
_CLASSES = tuple("0123456789")


def read_digits() -> Raw:
    """Return the 1,797 images of 8×8 pixels. Their grey levels 0..16 are scaled to 0..255.

    scikit-learn does not split the images into training and test. Here a fifth of every class is the test set. The
    test set is drawn with the fixed seed `Seed(0).child("digits", "test")`, so it is always the same.
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
        # no flip, because a mirrored digit is no longer that digit; no cutout, because it would hide half of the digit
        augment="color_crop_scale_rotate",
        read=read_digits,
        source="scikit-learn's load_digits (UCI optical digits, test part); constants measured on our training split",
    )
)
