"""Rotated images as domains of a data set."""

from __future__ import annotations

import math

import pytest
import torch

from satm.data import load
from satm.data.domain import Rotation, domain_of, domains_of, in_domain, in_domains
from satm.errors import ConfigError
from satm.presets import CondenseConfig, find_preset
from satm.rng import Seed


def drawn(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=Seed(1).generator())


def by_hand(image: torch.Tensor, degrees: float) -> torch.Tensor:
    """One channel [H, W], pixel by pixel: the value at a place is the bilinear mean of the pixels around it."""
    height, width = image.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    found = torch.zeros(height, width)
    for row in range(height):
        for column in range(width):
            # From the middle, x to the right and y upwards. The old place is the new one, turned back.
            x, y = column - (width - 1) / 2, (height - 1) / 2 - row
            old_column = cos * x + sin * y + (width - 1) / 2
            old_row = (height - 1) / 2 - (cos * y - sin * x)
            for r in (math.floor(old_row), math.floor(old_row) + 1):
                for c in (math.floor(old_column), math.floor(old_column) + 1):
                    if 0 <= r < height and 0 <= c < width:
                        share = (1 - abs(old_row - r)) * (1 - abs(old_column - c))
                        found[row, column] += share * float(image[r, c])
    return found


def test_quarter_turns_move_pixels_counter_clockwise() -> None:
    images = drawn(3, 2, 9, 9)
    for quarters in range(4):
        assert torch.equal(Rotation(90 * quarters)(images), torch.rot90(images, quarters, (2, 3)))


@pytest.mark.parametrize("shape", [(8, 8), (6, 9)])
def test_a_rotation_is_the_bilinear_mean(shape: tuple[int, int]) -> None:
    images = drawn(2, 3, *shape)
    found = Rotation(33)(images)
    assert found.dtype == torch.uint8
    for image, turned in zip(images.flatten(0, 1), found.flatten(0, 1), strict=True):
        # Half a grey level from rounding, and a little more from float32.
        assert (by_hand(image, 33) - turned).abs().max() <= 0.51


def test_domains_have_the_images_of_each_angle_and_the_space_of_the_data() -> None:
    data = load("digits")
    turned, upright = in_domain(data, "rotation:90"), in_domain(data, "rotation:0")
    assert upright is data
    assert turned.fingerprint not in (data.fingerprint, in_domain(data, "rotation:91").fingerprint)
    assert turned.preprocessing == data.preprocessing
    assert torch.equal(turned.test.images, torch.rot90(data.test.images, 1, (2, 3)))
    assert torch.equal(turned.test.labels, data.test.labels)
    both = in_domains(data, ["rotation:90", "rotation:0"])
    for part in ("train", "validation", "test"):
        one, two, all_of_them = (getattr(each, part) for each in (turned, data, both))
        assert torch.equal(all_of_them.images, torch.cat([one.images, two.images]))
        assert torch.equal(all_of_them.labels, torch.cat([one.labels, two.labels]))
    assert both.fingerprint != in_domains(data, ["rotation:0", "rotation:90"]).fingerprint


def test_angles_are_spread_evenly_or_listed() -> None:
    assert domains_of("rotation", 5) == tuple(f"rotation:{angle}" for angle in (0, 36, 72, 108, 144))
    assert domains_of("rotation", 7)[1] == "rotation:25.7143"
    assert domains_of("rotation:30,-0,22.50", 5) == ("rotation:30", "rotation:0", "rotation:22.5")
    for text, said in (
        ("rotate", "domains 'rotate': expected rotation, or angles"),
        ("rotation:", "domains 'rotation:': expected rotation, or angles"),
        ("rotation:0,x", "domain 'rotation:x': expected rotation:DEGREES"),
        ("rotation:0,360", "rotation 360: expected degrees, 0 or more and less than 360"),
        ("rotation:nan", "rotation nan: expected degrees"),
        ("rotation:-5", "rotation -5: expected degrees"),
        ("rotation:30,30.0", "domains 'rotation:30,30.0': rotation:30 is there twice"),
    ):
        with pytest.raises(ConfigError, match=said):
            domains_of(text, 5)
    with pytest.raises(ConfigError, match="steps 0: expected at least one domain"):
        domains_of("rotation", 0)
    with pytest.raises(ConfigError, match="domain 'mirror': expected"):
        domain_of("mirror")


def test_a_configuration_names_its_domain_and_older_ones_have_none() -> None:
    config = find_preset("digits", 1, method="random", profile="smoke").config
    plain = config.to_dict()
    assert "domain" not in plain
    turned = CondenseConfig.from_dict({**plain, "domain": "rotation:36"})
    assert turned.to_dict() == {**plain, "domain": "rotation:36"}
    assert turned.set_dataset == "digits:rotation36"
    assert CondenseConfig.from_dict({**turned.to_dict(), "classes": [3, 5]}).set_dataset == "digits:rotation36,3,5"
    for name, said in (("rotation:0", "leave it out"), ("rotation:36.0", "its one spelling, rotation:36")):
        with pytest.raises(ConfigError, match=said):
            CondenseConfig.from_dict({**plain, "domain": name})
