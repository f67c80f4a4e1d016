"""The constants of DSA's operations and of CutMix, each against its source: one changed constant makes a test fail."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from satm.augment import DIGITS_STRATEGY, STRATEGY, CutMix, DSARanges, draw, named
from satm.data import CATALOGUE
from satm.rng import Seed

N, SIDE = 400, 32


def published(op, generator):
    """The parameters that DSA draws (MTT's utils.py:499-676 at 50dccea), from the same random numbers as ours.

    `rand` is uniform in [0, 1), `whole(a, b)` uniform over the whole numbers a … b. A shift of at most an eighth of the
    side is 4 of 32 pixels, and a hole of half the side 16.
    """

    def rand():
        return torch.rand(N, generator=generator, dtype=torch.float64)

    def whole(low, high):
        return torch.randint(low, high + 1, (N,), generator=generator)

    torch.randint(1, (1,), generator=generator)  # the choice of the operation
    if op == "color":
        return {"brightness": rand() - 0.5, "saturation": rand() * 2.0, "contrast": rand() + 0.5}
    if op == "crop":
        return {"row": whole(-4, 4), "column": whole(-4, 4)}
    if op == "cutout":
        row, column = (whole(0, SIDE) - 8 for _ in range(2))
        return {"row": row, "row_end": row + 16, "column": column, "column_end": column + 16}
    if op == "flip":
        return {"flipped": rand() < 0.5}
    if op == "scale":
        return {"x": 1 / 1.2 + rand() * (1.2 - 1 / 1.2), "y": 1 / 1.2 + rand() * (1.2 - 1 / 1.2)}
    return {"radians": (rand() - 0.5) * 2 * 15 * math.pi / 180}


def wrong(ranges):
    """The parameters, as `color.contrast`, whose draws within `ranges` are not the published ones."""
    found = []
    for op in STRATEGY.split("_"):
        ours = draw(op, N, (3, SIDE, SIDE), Seed(7).child(op).generator(), ranges).values
        theirs = published(op, Seed(7).child(op).generator())
        assert set(ours) == set(theirs)
        found += [
            f"{op}.{name}" for name in ours if not torch.allclose(1.0 * ours[name], 1.0 * theirs[name], rtol=1e-12)
        ]
    return found


def test_the_default_ranges_are_the_published_ones():
    assert wrong(DSARanges()) == []
    assert wrong(None) == []


@pytest.mark.parametrize("factor", [0.7, 1.3])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("flip", {"flip.flipped"}),
        ("scale", {"scale.x", "scale.y"}),
        ("rotate", {"rotate.radians"}),
        ("crop", {"crop.row", "crop.column"}),
        ("cutout", {"cutout.row", "cutout.row_end", "cutout.column", "cutout.column_end"}),
        ("brightness", {"color.brightness"}),
        ("saturation", {"color.saturation"}),
        ("contrast", {"color.contrast"}),
    ],
)
def test_a_range_that_is_changed_changes_its_parameters_only(name, parameters, factor):
    value = getattr(DSARanges(), name)
    changed = 1 + (value - 1) * factor if name == "scale" else value * factor  # a scale below 1 is refused
    assert set(wrong(replace(DSARanges(), **{name: changed}))) == parameters


def test_every_range_is_guarded():
    names = {each.partition(".")[0] for each in asdict(DSARanges())}
    assert names == {"flip", "scale", "rotate", "crop", "cutout", "brightness", "saturation", "contrast"}


@pytest.mark.parametrize(
    ("op", "name", "low", "high"),
    [
        ("color", "brightness", -0.5, 0.5),
        ("color", "saturation", 0.0, 2.0),
        ("color", "contrast", 0.5, 1.5),
        ("scale", "x", 1 / 1.2, 1.2),
        ("scale", "y", 1 / 1.2, 1.2),
        ("rotate", "radians", -math.radians(15), math.radians(15)),
    ],
)
def test_parameters_are_uniform_between_their_published_ends(op, name, low, high):
    values = draw(op, 20_000, (3, SIDE, SIDE), Seed(1).generator()).values[name]
    width = high - low
    assert (float(values.min()), float(values.max())) == pytest.approx((low, high), abs=0.002 * width)
    assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.01 * width)
    assert float(values.std()) == pytest.approx(width / math.sqrt(12), rel=0.01)


def test_the_strategies_and_who_has_which():
    """All six operations, but no flip for digits, which DSA's README gives MNIST and SVHN; ours lose cutout too."""
    assert STRATEGY == "color_crop_cutout_flip_scale_rotate"
    assert DIGITS_STRATEGY == "color_crop_cutout_scale_rotate"
    for name in CATALOGUE.known():
        expected = "color_crop_scale_rotate" if name == "digits" else STRATEGY
        assert CATALOGUE.get(name).augment == expected


def test_ranges_reach_every_form_of_a_strategy():
    images = torch.rand(6, 3, 16, 16, generator=Seed(0).generator())
    still = DSARanges(crop=0, flip=0)
    for strategy in ("crop_flip", "crop+flip"):
        assert torch.equal(named(strategy, still)(images, Seed(3).generator()), images)
        moving = [named(strategy)(images, Seed(seed).generator()) for seed in range(4)]
        assert not all(torch.equal(each, images) for each in moving)


# CutMix


def literal(images, targets, generator, *, alpha, classes):
    """GDumb's box (src/utils.py:103-137 at 4f412d7), from the same random numbers as ours."""
    torch.rand((), generator=generator)  # whether the batch is mixed
    draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    ratio = math.sqrt(1.0 - draws.beta(alpha, alpha))
    height, width = images.shape[2:]
    y = int(torch.randint(height, (), generator=generator))
    x = int(torch.randint(width, (), generator=generator))
    cut_h, cut_w = int(height * ratio), int(width * ratio)
    y1, y2 = np.clip(y - cut_h // 2, 0, height), np.clip(y + cut_h // 2, 0, height)
    x1, x2 = np.clip(x - cut_w // 2, 0, width), np.clip(x + cut_w // 2, 0, width)
    partner = torch.randperm(len(images), generator=generator)
    mixed = images.clone()
    mixed[:, :, y1:y2, x1:x2] = images[partner][:, :, y1:y2, x1:x2]
    lam = 1 - (y2 - y1) * (x2 - x1) / (height * width)
    eye = torch.eye(classes)
    return mixed, lam * eye[targets] + (1 - lam) * eye[targets[partner]]


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_cutmix_is_gdumbs(alpha):
    images = torch.rand(5, 3, 11, 14, generator=Seed(0).generator())
    targets = torch.arange(5)
    for seed in range(30):
        found = CutMix(probability=1.0, alpha=alpha)(images, targets, Seed(seed).generator(), classes=5)
        expected = literal(images, targets, Seed(seed).generator(), alpha=alpha, classes=5)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_the_constants_of_cutmix():
    assert asdict(CutMix()) == {"probability": 0.5, "alpha": 1.0}
    images, targets = torch.rand(4, 1, 8, 8, generator=Seed(0).generator()), torch.arange(4)
    mixed = [
        not torch.equal(CutMix(alpha=0.01)(images, targets, Seed(seed).generator(), classes=4)[1], torch.eye(4))
        for seed in range(1000)
    ]
    # With an α near 0 the box is all of the image or none of it, so every second mixed batch shows.
    assert 0.2 < sum(mixed) / 1000 < 0.3
