"""Corruptions: what each does to known images, and that a higher severity does more."""

from __future__ import annotations

import pytest
import torch

from evaluation.corruptions import CORRUPTIONS, SEVERITIES
from satm.data import load
from satm.errors import ConfigError
from satm.rng import Seed

GREY = torch.full((64, 3, 32, 32), 128, dtype=torch.uint8)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return load("digits", image_size=16).test.images[:200]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_damages_more_and_the_same_seed_alike(name: str, digits: torch.Tensor) -> None:
    corrupt = CORRUPTIONS[name]
    made = [corrupt(digits, severity, Seed(0)) for severity in SEVERITIES]
    assert all(each.shape == digits.shape and each.dtype == torch.uint8 for each in made)
    damage = [float((each.float() - digits.float()).abs().mean()) for each in made]
    assert damage[0] > 0
    assert damage == sorted(damage)
    assert torch.equal(made[2], corrupt(digits, 3, Seed(0)))


@pytest.mark.parametrize(
    ("name", "spread"),
    [("gaussian_noise", 0.06), ("shot_noise", (0.502 / 250) ** 0.5), ("speckle_noise", 0.502 * 0.1)],
)
def test_noise_has_the_stated_strength(name: str, spread: float) -> None:
    assert float((CORRUPTIONS[name](GREY, 2, Seed(0)).float() / 255).std()) == pytest.approx(spread, rel=0.03)


def test_the_others_do_what_they_say() -> None:
    hit = CORRUPTIONS["impulse_noise"](GREY, 5, Seed(0)) != 128
    assert float(hit.float().mean()) == pytest.approx(0.07, rel=0.05)
    green = torch.tensor([51, 102, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    brighter = CORRUPTIONS["brightness"](green, 4, Seed(0))
    assert brighter[0, :, 0, 0].tolist() == pytest.approx([76, 153, 0], abs=1)  # V 0.4 → 0.6, hue and saturation stay
    half = torch.cat([torch.zeros(1, 1, 8, 4), torch.full((1, 1, 8, 4), 200.0)], dim=3).to(torch.uint8)
    flat = CORRUPTIONS["contrast"](half, 2, Seed(0))
    assert flat[0, 0, 0, [0, 7]].tolist() == pytest.approx([50, 150], abs=1)  # half as far from the mean, 100


def test_what_cannot_be_damaged_is_refused() -> None:
    corrupt = CORRUPTIONS["contrast"]
    with pytest.raises(ConfigError, match="severity 6: expected 1, 2, 3, 4 or 5"):
        corrupt(GREY, 6, Seed(0))
    with pytest.raises(ConfigError, match="images of 3 channels and 4×32 pixels"):
        corrupt(GREY[..., :4, :], 1, Seed(0))
