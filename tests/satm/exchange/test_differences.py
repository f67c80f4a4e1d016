"""The differences of two sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from satm import diff
from satm.exchange import Difference, differences
from satm.exchange.moments import Moments
from satm.preprocessing import MeanStd
from tests.satm.exchange.own import SETS, own


def test_moments_and_their_normalisation() -> None:
    images = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).view(2, 1, 1, 2)
    assert Moments.of(images) == Moments((0.5,), (pytest.approx(0.125**0.5),))
    assert Moments((0.5,), (0.25,)).normalised(MeanStd((0.25,), (0.5,))) == Moments((0.5,), (0.5,))


def test_differences_are_named_by_key_and_moment() -> None:
    made = own()
    assert differences(made, own()) == []
    config = {"condense": {**made.config["condense"], "recipe": "cpu"}}
    other = replace(made, images=made.images + 1, step_size=0.5, config=config, parents=("data:0",))
    found = {difference.what: difference for difference in differences(made, other)}
    assert set(found) == {
        *("images.mean", "images.min", "images.max", "images.differ_in"),
        *("step_size", "config.condense.recipe", "parents"),
    } | ({"images.std"} & set(found))  # adding 1 rounds
    assert found["images.differ_in"].b == "1280 of 1280 values, by at most 1"
    assert found["config.condense.recipe"] == Difference("config.condense.recipe", "smoke", "cpu")
    soft = {difference.what: difference.b for difference in differences(made, own(**SETS["logits"]))}
    assert soft["labels.shape"] == [20, 10]
    assert soft["labels.same_likeliest_class"] == "20 of 20 images"


def test_diff_of_two_stored_sets(stored: Any) -> None:
    a, registry = stored(own())
    b, _ = stored(own(seed=4))
    assert diff(a, b, registry=registry) == [Difference("seed", 3, 4)]
