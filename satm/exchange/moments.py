"""Checks by range, mean and standard deviation whether images can belong to the space that the user claims."""

from __future__ import annotations

from dataclasses import dataclass

from satm.errors import DataError
from satm.exchange.base import Space
from satm.preprocessing import MeanStd
from satm.types import Images

MEAN_TOLERANCE = 1.0  # how far a channel's mean may be from that of real images, in standard deviations (`misfit`)
SHRINKING, GROWTH = 3.0, 30.0  # how many times smaller, or larger, a standard deviation may be than in real images
MARGIN, SHARE = 0.5, 0.9  # learned pixels may be a little outside 0..1: at least SHARE of them must be above −MARGIN


@dataclass(frozen=True, slots=True)
class Moments:
    """The mean and population standard deviation of each channel, over all images and pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Images) -> Moments:
        """The moments of `images` [n, C, H, W] float, computed in float64."""
        channels = images.transpose(0, 1).flatten(1).double()
        return cls(tuple(channels.mean(1).tolist()), tuple(channels.std(1, correction=0).tolist()))

    def normalised(self, by: MeanStd) -> Moments:
        """The moments of the same images after y = (x − mean) / std."""
        mean = tuple((m - shift) / scale for m, shift, scale in zip(self.mean, by.mean, by.std, strict=True))
        return Moments(mean, tuple(s / scale for s, scale in zip(self.std, by.std, strict=True)))

    def __str__(self) -> str:
        return f"mean {_spell(self.mean)}, std {_spell(self.std)}"


def misfit(found: Moments, expected: Moments) -> bool:
    """Whether the moments `found` (μ, σ) of learned images are implausible, given those of real images (μ₀, σ₀).

    `expected` holds μ₀ and σ₀. A channel fits if σ₀ / 3 ≤ σ ≤ 30 σ₀, and if |μ − μ₀| ≤ max(σ₀, σ) or
    |μ| ≤ max(1, σ/σ₀) |μ₀|. The limits are wide because learned images grow: a set of MTT's own scripts (CIFAR-10,
    IPC 1, ZCA, 300 steps) has σ = 0.88, real whitened images have 0.26. With such wide limits, one set of images can
    fit several spaces. `satm.exchange.likeness` then tells the spaces apart.
    """
    for mean, std, mean0, std0 in zip(found.mean, found.std, expected.mean, expected.std, strict=True):
        near = abs(mean - mean0) <= MEAN_TOLERANCE * max(std0, std) or abs(mean) <= max(1.0, std / std0) * abs(mean0)
        if not (near and std0 / SHRINKING <= std <= GROWTH * std0):
            return True
    return False


def check_moments(images: Images, expected: Moments, space: Space, *, of: str) -> None:
    """Raise DataError if `images` [n, C, H, W] cannot be images of the data set `of` in `space`.

    `expected` are the moments of its real images in this space.
    """
    found = Moments.of(images)
    above = float((images >= -MARGIN).double().mean())
    if space == "none" and above < SHARE:
        raise DataError(
            f"the images do not fit --preprocessing none: {above:.0%} of their values are above {-MARGIN} "
            f"(expected {SHARE:.0%}), {found}; give another --preprocessing, or --force to store them as they are"
        )
    if space != "none" and float(images.min()) >= 0 and float(images.max()) <= 1:
        raise DataError(
            f"the images do not fit --preprocessing {space}: all values lie in 0..1, as pixels do, {found}; "
            f"{of} there: {expected}; give --preprocessing none, or --force to store them as they are"
        )
    if misfit(found, expected):
        raise DataError(
            f"the images do not fit --preprocessing {space}: {found}; {of} there: {expected}; give another "
            "--preprocessing, or --force to store them as they are"
        )


def _spell(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in values)
