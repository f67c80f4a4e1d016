"""A data set that can be learned in a second: noisy rows, columns and checks."""

from dataclasses import replace

import pytest
import torch

from evaluation import Recipe
from satm.data import ImageData, Split
from satm.preprocessing import MeanStd
from satm.progress import NoProgress
from satm.rng import Seed
from satm.synthetic import SyntheticSet

NORMALISED = MeanStd((0.4,), (0.25,))
CLASSES = ("rows", "columns", "checks")
SHAPE = (1, 16, 16)


def noisy_patterns(per_class, seed):
    row, column = torch.arange(16)[:, None] // 2, torch.arange(16) // 2
    patterns = torch.stack([row % 2 + 0 * column, column % 2 + 0 * row, (row + column) % 2])
    labels = torch.arange(3).repeat_interleave(per_class)
    noise = torch.randint(0, 120, (len(labels), *SHAPE), generator=seed.generator())
    return (100 * patterns[labels][:, None] + noise).to(torch.uint8), labels


def split(per_class, name):
    images, labels = noisy_patterns(per_class, Seed(0).child(name))
    return Split(images=images, labels=labels, preprocessing=NORMALISED)


def memory(per_class=4, *, seed=0, step_size=0.05, preprocessing=NORMALISED, **changes):
    images, labels = noisy_patterns(per_class, Seed(seed).child("memory"))
    settings = {
        "images": preprocessing(images),
        "labels": labels,
        "step_size": step_size,
        "dataset": "patterns",
        "classes": CLASSES,
        "ipc": per_class,
        "method": "random",
        "preprocessing": preprocessing,
        "profile": "smoke",
        "seed": seed,
    }
    return SyntheticSet(**settings | changes)


class StopAfter(NoProgress):
    """Asks to stop after `calls` calls of `stopping`."""

    def __init__(self, calls):
        self.left = calls

    def stopping(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture
def patterns():
    return ImageData(
        name="patterns",
        classes=CLASSES,
        train=split(10, "train"),
        validation=split(10, "validation"),
        test=split(20, "test"),
        preprocessing=NORMALISED,
        fingerprint="0" * 64,
        root=None,
    )


@pytest.fixture
def recipe():
    return Recipe(name="test", epochs=10, batch_size=8, drop_at=(8,), augment="color_crop", repeats=2, source="tests")


@pytest.fixture
def brief(recipe):
    """A recipe that is long enough for networks to differ and too short for them to be good."""
    return replace(recipe, epochs=4, drop_at=())
