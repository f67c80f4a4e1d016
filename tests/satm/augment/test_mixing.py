"""Tests of CutMix, and of strategies that apply operations one after another."""

from __future__ import annotations

import pytest
import torch

from satm.augment import DSA, STRATEGY, CutMix, InTurn, named, within
from satm.errors import ConfigError, UnknownName
from satm.rng import Seed

CLASSES = 4


def batch():
    """Four images, each of one number, so that a pixel shows from which image it comes."""
    return torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 12, 10).clone(), torch.arange(4)


def test_targets_are_mixed_by_the_area_that_was_replaced():
    images, labels = batch()
    shares = []
    for seed in range(40):
        mixed, targets = CutMix(probability=1.0)(images, labels, Seed(seed).generator(), classes=CLASSES)
        for row, (image, target) in enumerate(zip(mixed, targets, strict=True)):
            counted = torch.bincount(image.flatten().long(), minlength=CLASSES) / image.numel()
            torch.testing.assert_close(target, counted, rtol=0, atol=1e-6)
            foreign = (image[0] != row).nonzero()
            if len(foreign):  # a full rectangle, the same in every channel
                height, width = (foreign.max(0).values - foreign.min(0).values + 1).tolist()
                assert height * width == len(foreign)
                assert torch.equal(image[0], image[1])
        shares.append(float(targets.diag().min()))
    assert torch.equal(images, batch()[0])  # the arguments are unchanged
    assert min(shares) < 0.5 < max(shares)


def test_it_mixes_with_the_given_probability_and_always_gives_soft_targets():
    images, labels = batch()
    mixed = 0
    for seed in range(200):
        out, targets = CutMix(probability=0.25)(images, labels, Seed(seed).generator(), classes=CLASSES)
        assert targets.shape == (4, CLASSES)
        mixed += not torch.equal(targets, torch.eye(4))
        assert torch.equal(out, images) or not torch.equal(targets, torch.eye(4))
    assert 20 < mixed < 70
    soft = torch.full((4, CLASSES), 0.25)
    kept = CutMix(probability=0.0)(images, soft, Seed(0).generator(), classes=CLASSES)[1]
    assert torch.equal(kept, soft)


def test_bad_settings_of_cutmix():
    for change in ({"probability": 1.1}, {"probability": float("nan")}, {"alpha": 0.0}, {"alpha": float("inf")}):
        with pytest.raises(ConfigError, match="CutMix"):
            CutMix(**change)


def test_plus_means_every_operation_and_underscore_one_of_them():
    images = torch.rand(8, 3, 16, 16, generator=Seed(1).generator())
    generator = Seed(0).generator()
    by_hand = DSA("flip")(DSA("crop")(images, generator), generator)
    assert torch.equal(named("crop+flip")(images, Seed(0).generator()), by_hand)
    assert named("crop_flip") == DSA("crop_flip")
    for strategy in ("crop+flop", "crop+"):
        with pytest.raises(UnknownName):
            InTurn(strategy)


def test_a_strategy_limited_to_another_keeps_its_form():
    assert within("crop+flip", STRATEGY) == "crop+flip"
    assert within("crop+flip", "color_crop_scale_rotate") == "crop"
    assert within(STRATEGY, "color_crop_scale_rotate") == "color_crop_scale_rotate"
    assert within("flip+color+crop_scale_cutout", "color_crop_scale_rotate") == "color+crop_scale"
    assert within("flip", "crop") is None
