"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

import torch

from satm.data.catalogue import CATALOGUE, EMBEDDED
from satm.data.raw import Raw
from satm.data.split import stratified
from satm.rng import Seed

TEST_FRACTION = 0.2


def read_digits() -> Raw:
    """1,797 images of 8×8, their levels 0..16 scaled to 0..255; a fixed fifth of every class is the test set.

    scikit-learn has one part only: the test images are drawn by `Seed(0).child("digits", "test")`, by class.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(found.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(found.target).long()
    train, test = stratified(labels, TEST_FRACTION, Seed(0).child("digits", "test"))
    classes = CATALOGUE.get(EMBEDDED).classes
    assert isinstance(classes, tuple)
    return Raw(
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=classes,
    )
