"""Checks by mean and standard deviation whether images lie in the space that the user claims."""

from __future__ import annotations

from dataclasses import dataclass

from satm.errors import DataError
from satm.exchange.base import Space
from satm.preprocessing import MeanStd
from satm.types import Images

MEAN_TOLERANCE = 1.0  # how far a channel's mean may be off, in standard deviations of the real images
STD_FACTOR = 3.0  # the standard deviation may be this many times larger or smaller
MARGIN, SHARE = 0.5, 0.9  # learned pixels leave 0..1 a little: SHARE of them must stay within MARGIN of it


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
    """Whether `found` (μ, σ) is too far from `expected` (μ₀, σ₀) for images of the same space.

    Learned images differ a little from real ones, images of another space differ more. A channel fits if |μ − μ₀| ≤ σ₀
    and σ₀ / 3 ≤ σ ≤ 3 σ₀. Real CIFAR-10 images have (μ, σ) of about (0.47, 0.25) as pixels, (0, 1.2) normalised and
    (0, 0.24) whitened.
    """
    return any(
        not abs(mean - mean0) <= MEAN_TOLERANCE * std0 or not std0 / STD_FACTOR <= std <= STD_FACTOR * std0
        for mean, std, mean0, std0 in zip(found.mean, found.std, expected.mean, expected.std, strict=True)
    )


def check_moments(images: Images, expected: Moments, space: Space, *, of: str) -> None:
    """Raise DataError if `images` [n, C, H, W] do not look like images of the data set `of` in `space`."""
    found = Moments.of(images)
    within = float(((images >= -MARGIN) & (images <= 1 + MARGIN)).double().mean())
    if space == "none" and within < SHARE:
        raise DataError(
            f"the images do not fit --preprocessing none: {within:.0%} of their values lie in {-MARGIN}..{1 + MARGIN} "
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
