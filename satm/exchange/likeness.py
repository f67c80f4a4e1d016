"""Finds out which pixel space images lie in, by a model of real images there that allows for growth and noise.

Learned images are longer than real ones and hold structure of their own, so their mean and standard deviation do not
tell the spaces apart. Their shape does. Along the principal directions u_k of the real pixels, pixels and normalised
images have variances that fall by a factor of thousands (CIFAR-10: 57 to 0.05 over 200 directions), whitened images
have nearly equal ones, λ/(λ + eps) for pixel variance λ. Pixels also have another mean image than the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch

from satm.types import Images

DIRECTIONS = 256  # principal directions at most
LEAST_VARIANCE = 0.01  # of the real pixels along a direction; all spaces agree in the directions below it
GROWTHS = tuple(2 ** (k / 2) for k in range(-4, 9))  # g: learned sets were up to 10 times as long as real ones
NOISES = (0.0, *(2 ** (k / 2) for k in range(-6, 5)))  # σ, in standard deviations of real images of the space
FLOOR = 1e-4  # least noise variance, in variances of the space
MARGIN = 0.05  # nats a band by which another space must fit better
_AT_MOST = 500  # learned images that are looked at


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Images [n, C, H, W] in principal directions of real pixels."""

    coordinates: torch.Tensor  # [n, K] float64
    rest: float  # mean square a dimension outside these directions
    std: float  # over all values


@dataclass(frozen=True)
class Directions:
    """The principal directions of real pixels, with the bands in which they are weighed."""

    vectors: torch.Tensor  # [D, K] float32, orthonormal

    @classmethod
    def of(cls, pixels: Images) -> Directions:
        """Those of `pixels` [n, C, H, W] in 0..1 with a variance above `LEAST_VARIANCE`, the largest first."""
        centred = pixels.flatten(1) - pixels.flatten(1).mean(0)
        variances, vectors = torch.linalg.eigh((centred @ centred.T).double() / len(centred))
        count = min(DIRECTIONS, int((variances > LEAST_VARIANCE).sum()))
        lengths = (variances * len(centred)).clamp(min=1e-12).sqrt()
        return cls(centred.T @ (vectors / lengths).flip(1)[:, :count].float())

    def project(self, images: Images) -> Projection:
        """The images in these directions."""
        flat = images.flatten(1).float()
        coordinates = (flat @ self.vectors).double()
        outside = flat.double().square().sum() - coordinates.square().sum()
        dimensions = max(1, flat.shape[1] - self.vectors.shape[1]) * len(flat)
        std = float(flat.double().std(correction=0))
        return Projection(coordinates=coordinates, rest=max(0.0, float(outside)) / dimensions, std=std)

    @property
    def weights(self) -> torch.Tensor:
        """[K] float64: the weight of each direction in a mean over bands; with that of the rest they add up to 1.

        The bands are the directions 1, 2, 3–4, 5–8, …, because the spectrum falls like a power, and the rest.
        """
        count = self.vectors.shape[1]
        edges = [0, *(2**k for k in range(count.bit_length()) if 2**k < count), count]
        sizes = torch.tensor([last - first for first, last in pairwise(edges)])
        return (1 / sizes.double()).repeat_interleave(sizes) / len(edges)


@dataclass(frozen=True, kw_only=True)
class SpaceModel:
    """Real images of one space in K principal directions."""

    mean: torch.Tensor  # [K] float64
    variance: torch.Tensor  # [K] float64
    rest: float  # mean square a dimension outside these directions
    std: float  # over all values

    @classmethod
    def of(cls, real: Projection) -> SpaceModel:
        """The model of real images."""
        mean, variance = real.coordinates.mean(0), real.coordinates.var(0, correction=0)
        return cls(mean=mean, variance=variance, rest=real.rest, std=real.std)

    def whitened(self, eps: float, *, dimensions: int) -> SpaceModel:
        """Of ZCA images, if this is the model of pixels: each variance λ becomes λ/(λ + eps), and the mean 0."""
        variance, rest = self.variance / (self.variance + eps), self.rest / (self.rest + eps)
        total = float(variance.sum()) + rest * (dimensions - len(variance))
        return SpaceModel(mean=0 * self.mean, variance=variance, rest=rest, std=math.sqrt(total / dimensions))

    def fit(self, images: Projection, directions: Directions, *, growths: tuple[float, ...] = GROWTHS) -> float:
        """The log-likelihood of images y = g x + n a band, at the best growth g and noise σ; higher fits better:

            max over g, σ of −½ mean over bands of (ln v + d²/v),  v = g² s + σ²,  d² = mean (c − g m)²

        c are the coordinates of the images, m and s the mean and variance of real images x. The n of learning is
        white: N(0, σ² I). What lies outside the directions is one more band, with m = 0 and s = `rest`.
        """
        weights = directions.weights
        white = (torch.tensor(NOISES, dtype=torch.float64)[:, None] ** 2 + FLOOR) * self.std**2  # [σ, 1]
        best = -math.inf
        for growth in growths:
            squares = (images.coordinates - growth * self.mean).square().mean(0)
            variance, outside = growth**2 * self.variance + white, growth**2 * self.rest + white[:, 0]
            within = (variance.log() + squares / variance) @ weights  # [σ]
            beyond = (1 - weights.sum()) * (outside.log() + images.rest / outside)
            best = max(best, -0.5 * float((within + beyond).min()))
        return best


def better_space(
    images: Images, claimed: str, spaces: Mapping[str, SpaceModel], directions: Directions
) -> tuple[str, float] | None:
    """A space that fits `images` [n, C, H, W] clearly better than the `claimed` one, and by how much a band.

    None if there is none. It must fit better than white noise too, because images without real structure, as those
    that were learned from noise, lie in any space.

    Error rates with real test images of digits and of CIFAR-10, 1 and 10 a class, multiplied by 1 to 10: 0 of 150 right
    claims refused and 0 of 330 wrong ones accepted, for each data set. With sets that `mtt` learned at high rates (IPC
    1): no right claim refused at any growth (up to 22); wrong ones refused on CIFAR-10 at every growth (up to 17), on
    digits up to a growth of about 1.5 (normalised) or 9 (whitened).
    """
    shown = directions.project(images[:: max(1, len(images) // _AT_MOST)])
    fits = {name: model.fit(shown, directions) for name, model in spaces.items()}
    noise = max(model.fit(shown, directions, growths=(0.0,)) for model in spaces.values())
    best = max(fits, key=fits.__getitem__)
    ahead = fits[best] - fits[claimed]
    return (best, ahead) if ahead > MARGIN and fits[best] - noise > MARGIN else None
