"""Finds the space that learned images most likely belong to: pixels, normalised or whitened.

For each space there is a model of the real images in it. The space whose model fits the learned images best is the most
likely one. Learned images have larger norms than real ones (growth) and have structure of their own (noise); the models
allow for both. Because of these two effects, the mean and standard deviation of learned images do not show their space.
How their variance is spread over directions does show it. Take the principal directions of the real pixels. From the
first direction to the last, the variances of pixels and of normalised images fall by a factor of thousands (CIFAR-10:
from 57 to 0.05 over 200 directions). The variances of whitened images are nearly equal: λ/(λ + eps) in a direction in
which pixels have the variance λ. Pixels also differ from the other spaces in their mean image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch

from satm.types import Images

DIRECTIONS = 256  # the largest number of principal directions that are used
LEAST_VARIANCE = 0.01  # directions in which real pixels have less variance are not used: all spaces agree in them
GROWTHS = tuple(2 ** (k / 2) for k in range(-4, 9))  # growths g to try: learned images had up to 10 times the real norm
NOISES = (0.0, *(2 ** (k / 2) for k in range(-6, 5)))  # noises σ to try, in standard deviations of the real images
FLOOR = 1e-4  # the least noise variance, as a fraction of the variance of the real images
MARGIN = 0.05  # how much better than the claimed space another must fit, in nats per band (`Directions.weights`)
_AT_MOST = 500  # about how many learned images are used


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Images [n, C, H, W], described by their coordinates in K principal directions of real pixels."""

    coordinates: torch.Tensor  # [n, K] float64
    rest: float  # the mean square per dimension of what is left outside these directions
    std: float  # the standard deviation over all values of the images


@dataclass(frozen=True)
class Directions:
    """The principal directions of real pixels, with their weights in the comparison of spaces."""

    vectors: torch.Tensor  # [D, K] float32: K orthonormal columns, D = C·H·W

    @classmethod
    def of(cls, pixels: Images) -> Directions:
        """Return the principal directions of `pixels` [n, C, H, W] in 0..1, the one with the largest variance first.

        Directions with a variance below `LEAST_VARIANCE` are left out.
        """
        centred = pixels.flatten(1) - pixels.flatten(1).mean(0)
        variances, vectors = torch.linalg.eigh((centred @ centred.T).double() / len(centred))
        count = min(DIRECTIONS, int((variances > LEAST_VARIANCE).sum()))
        lengths = (variances * len(centred)).clamp(min=1e-12).sqrt()
        return cls(centred.T @ (vectors / lengths).flip(1)[:, :count].float())

    def project(self, images: Images) -> Projection:
        """Return the projection of the images [n, C, H, W] to these directions."""
        flat = images.flatten(1).float()
        coordinates = (flat @ self.vectors).double()
        outside = flat.double().square().sum() - coordinates.square().sum()
        dimensions = max(1, flat.shape[1] - self.vectors.shape[1]) * len(flat)
        std = float(flat.double().std(correction=0))
        return Projection(coordinates=coordinates, rest=max(0.0, float(outside)) / dimensions, std=std)

    @property
    def weights(self) -> torch.Tensor:
        """The weight of each direction in a mean over bands, [K] float64. All bands have the same weight.

        The bands are the directions 1, 2, 3–4, 5–8, …, because the variances fall like a power of the direction's
        number. One more band is everything outside the K directions. Its weight and the K weights add up to 1.
        """
        count = self.vectors.shape[1]
        edges = [0, *(2**k for k in range(count.bit_length()) if 2**k < count), count]
        sizes = torch.tensor([last - first for first, last in pairwise(edges)])
        return (1 / sizes.double()).repeat_interleave(sizes) / len(edges)


@dataclass(frozen=True, kw_only=True)
class SpaceModel:
    """A model of the real images of one space: their statistics in K principal directions."""

    mean: torch.Tensor  # [K] float64
    variance: torch.Tensor  # [K] float64
    rest: float  # the mean square per dimension of what is left outside these directions
    std: float  # the standard deviation over all values of the images

    @classmethod
    def of(cls, real: Projection) -> SpaceModel:
        """Return the model of the real images with the projection `real`."""
        mean, variance = real.coordinates.mean(0), real.coordinates.var(0, correction=0)
        return cls(mean=mean, variance=variance, rest=real.rest, std=real.std)

    def whitened(self, eps: float, *, dimensions: int) -> SpaceModel:
        """Return the model of ZCA-whitened images, if this is the model of pixels.

        Each variance λ becomes λ/(λ + eps), and the mean becomes 0. `dimensions` is the number of values of an image.
        """
        variance, rest = self.variance / (self.variance + eps), self.rest / (self.rest + eps)
        total = float(variance.sum()) + rest * (dimensions - len(variance))
        return SpaceModel(mean=0 * self.mean, variance=variance, rest=rest, std=math.sqrt(total / dimensions))

    def fit(self, images: Projection, directions: Directions, *, growths: tuple[float, ...] = GROWTHS) -> float:
        """Return the log-likelihood of learned images under this model, per band. A higher value is a better fit.

        A learned image is modelled as y = g x + n. x is a real image, g is the growth, and n ~ N(0, σ² I) is white
        noise, the structure that learning adds. The result is taken at the best g and σ:

            max over g, σ of −½ mean over bands of (ln v + d²/v),  v = g² s + σ²,  d² = mean (c − g m)²

        c are the coordinates of the images y; m and s are the mean and variance of the real images x. Everything
        outside the directions is one more band, with m = 0 and s = `rest`.
        """
        weights = directions.weights
        white = (torch.tensor(NOISES, dtype=torch.float64)[:, None] ** 2 + FLOOR) * self.std**2  # [number of σ, 1]
        best = -math.inf
        for growth in growths:
            squares = (images.coordinates - growth * self.mean).square().mean(0)
            variance, outside = growth**2 * self.variance + white, growth**2 * self.rest + white[:, 0]
            within = (variance.log() + squares / variance) @ weights  # [number of σ]
            beyond = (1 - weights.sum()) * (outside.log() + images.rest / outside)
            best = max(best, -0.5 * float((within + beyond).min()))
        return best


def better_space(
    images: Images, claimed: str, spaces: Mapping[str, SpaceModel], directions: Directions
) -> tuple[str, float] | None:
    """Return a space that fits `images` [n, C, H, W] clearly better than the `claimed` space; None if there is none.

    The result is (the name of that space, its lead in nats per band). The space must also fit better than white noise,
    because images without real structure, such as images learned from noise, fit every space.

    Measured error rates. With real test images in place of learned ones (1 and 10 per class, multiplied by 1 to 10), 0
    of 150 right claims were refused and 0 of 330 wrong claims were accepted on digits, and the same on CIFAR-10. With
    sets that `mtt` learned at high learning rates (IPC 1), no right claim was refused at any growth (up to 22). Wrong
    claims were refused on CIFAR-10 at every growth (up to 17), and on digits up to a growth of about 1.5 (normalised)
    or 9 (whitened).
    """
    shown = directions.project(images[:: max(1, len(images) // _AT_MOST)])
    fits = {name: model.fit(shown, directions) for name, model in spaces.items()}
    noise = max(model.fit(shown, directions, growths=(0.0,)) for model in spaces.values())
    best = max(fits, key=fits.__getitem__)
    ahead = fits[best] - fits[claimed]
    return (best, ahead) if ahead > MARGIN and fits[best] - noise > MARGIN else None
