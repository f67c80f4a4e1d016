"""Domains: versions of a data set whose images differ and whose classes are the same, such as rotated images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from satm.canonical import digest
from satm.data.dataset import ImageData
from satm.data.split import Split
from satm.errors import ConfigError
from satm.types import Images

UPRIGHT = "rotation:0"
"""The name of the domain of the images as they are."""
_CHUNK = 4096  # the number of images that are rotated at once


@dataclass(frozen=True, slots=True)
class Rotation:
    """The domain of images that are rotated counter-clockwise by `degrees` about their middle.

    Raises ConfigError unless 0 ≤ degrees < 360.
    """

    degrees: float

    def __post_init__(self) -> None:
        if not 0 <= self.degrees < 360:
            raise ConfigError(f"rotation {self.degrees:g}: expected degrees, 0 or more and less than 360")

    @property
    def name(self) -> str:
        """The name that `domain_of` reads, such as `rotation:36` or `rotation:22.5`."""
        return f"rotation:{self.degrees + 0.0:g}"  # + 0.0 makes 0 of −0

    def __call__(self, images: Images) -> Images:
        """Rotate images [n, C, H, W] uint8. Returns images of the same shape and type.

        A new pixel is the bilinear mean of the four old pixels around its place, rounded. Places outside the old image
        are black. Avalanche's RotatedMNIST also has black corners; it takes the nearest old pixel.
        """
        if self.degrees == 0 or not len(images):
            return images
        return torch.cat([self._rotated(part) for part in images.split(_CHUNK)])

    def _rotated(self, images: Images) -> Images:
        count, _, height, width = images.shape
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        # `affine_grid` counts in half sides, so the ratio of the sides keeps angles in images that are not square.
        grid = F.affine_grid(
            torch.tensor([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]).expand(count, 2, 3),
            list(images.shape),
            align_corners=False,
        )
        moved = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return moved.round().clamp(0, 255).to(torch.uint8)


def domain_of(name: str) -> Rotation:
    """Return the domain with this name. Raises ConfigError if there is none."""
    kind, _, degrees = name.partition(":")
    try:
        if kind == "rotation":
            return Rotation(float(degrees))
    except ValueError:
        pass
    raise ConfigError(f"domain '{name}': expected rotation:DEGREES, such as rotation:36")


def in_domain(data: ImageData, name: str) -> ImageData:
    """Return the data set with the images of all three parts in the domain `name`; for `UPRIGHT` it is `data` itself.

    The preprocessing stays that of the images as they are, so that networks see all domains in one space. Raises
    ConfigError if there is no such domain.
    """
    domain = domain_of(name)
    if domain.name == UPRIGHT:
        return data
    train, validation, test = (
        replace(part, images=domain(part.images)) for part in (data.train, data.validation, data.test)
    )
    fingerprint = digest({"of": data.fingerprint, "domain": domain.name})
    return replace(data, train=train, validation=validation, test=test, fingerprint=fingerprint)


def in_domains(data: ImageData, names: Sequence[str]) -> ImageData:
    """Return one data set that has the images of every domain in `names`, one domain after the other.

    Each part has as many images of each domain, in the same order, as that part of `data`. Raises the errors of
    `in_domain`.
    """
    domains = [domain_of(name) for name in names]

    def joined(part: Split) -> Split:
        images = torch.cat([domain(part.images) for domain in domains])
        return replace(part, images=images, labels=part.labels.repeat(len(domains)))

    return replace(
        data,
        train=joined(data.train),
        validation=joined(data.validation),
        test=joined(data.test),
        fingerprint=digest({"of": data.fingerprint, "domains": [domain.name for domain in domains]}),
    )


def domains_of(text: str, steps: int) -> tuple[str, ...]:
    """Return the names of the domains that `text` lists: `rotation:0,30,60`, or `rotation` for `steps` even angles.

    The even angles are 180°·t/steps for t = 0 … steps − 1. The field's rotated digits have angles of the same range
    (Lopez-Paz & Ranzato 2017, GEM), but drawn at random. Raises ConfigError for other text, for a wrong angle and
    for an angle that is there twice.
    """
    kind, colon, listed = text.partition(":")
    if kind != "rotation" or (colon and not listed):
        raise ConfigError(f"domains '{text}': expected rotation, or angles in degrees such as rotation:0,30,60")
    if not colon and steps < 1:
        raise ConfigError(f"steps {steps}: expected at least one domain")
    angles = listed.split(",") if colon else [f"{180 * step / steps:g}" for step in range(steps)]
    names = [domain_of(f"{kind}:{angle}").name for angle in angles]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"domains '{text}': {repeated[0]} is there twice; name every domain once")
    return tuple(names)
