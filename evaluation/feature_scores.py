"""Two scores of a set that need no training: its coverage of the real images, and the diversity of its own images.

Both scores are computed from features [n, D] of n images, for example the features of an expert network.
"""

from __future__ import annotations

import torch

from satm.errors import ShapeError

EXPECTED = 0.95  # the expected coverage by which k is chosen (see `neighbours`), as in Naeem et al. 2020
ROWS = 2048  # the number of real images that are compared at once


def coverage(real: torch.Tensor, made: torch.Tensor) -> float:
    """The share of the real images that have at least one image of the set in their neighbourhood.

    The neighbourhood of a real image is a ball in the space of features, with the real image at its centre. Its radius
    is the distance to the k-th nearest other real image. `neighbours` chooses k so that as many random real images as
    the set has images would have an expected coverage of at least 95%. So a lower coverage shows that some kinds of
    real images have no similar image in the set.

    Args:
        real: [N, D], the features of the real images.
        made: [M, D], the features of the images of the set.

    Raises ShapeError for fewer than two real images, for a set without images, and for different numbers D of features.

    Source: Naeem et al. 2020, Reliable Fidelity and Diversity Metrics, Eq. 7 and section 4.
    """
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1] or len(real) < 2 or not len(made):
        raise ShapeError(
            f"features {tuple(real.shape)} of real images and {tuple(made.shape)} of a set: expected two real images "
            "or more, one of the set or more, and equally many features"
        )
    k = neighbours(len(real), len(made))
    covered = 0
    for rows in torch.arange(len(real)).split(ROWS):
        # k + 1, because the nearest real image of a real image is this image itself, at distance 0.
        radius = torch.cdist(real[rows], real).kthvalue(k + 1, dim=1).values
        covered += int((torch.cdist(real[rows], made).amin(dim=1) <= radius).sum())
    return covered / len(real)


def neighbours(real: int, made: int) -> int:
    """The smallest k for which M = `made` random real images have an expected coverage of 95% of N = `real` images.

    The expected coverage is 1 − Π_{i=1..k} (N − i) / (M + N − i). It does not depend on the distribution of the images.
    If even k = N − 1 gives less than 95%, the result is N − 1, because a real image has no more neighbours.
    """
    missed, k = 1.0, 0
    while 1 - missed < EXPECTED and k < real - 1:
        k += 1
        missed *= (real - k) / (made + real - k)
    return k


def diversity(features: torch.Tensor) -> float:
    """The effective number of different images divided by the number n of images: the Vendi score / n, in 1/n..1.

    `features` are [n, D]. K [n, n] is the matrix of the cosines between the features of images i and j, and λ are the
    eigenvalues of K/n. The result is exp(−Σ λ log λ) / n. It is 1/n if the features of all images have the same
    direction, and 1 if they are orthogonal.

    Raises ShapeError if there are no images. Source: Friedman and Dieng 2023, The Vendi Score, Eq. 2.
    """
    if features.ndim != 2 or not len(features):
        raise ShapeError(f"features {tuple(features.shape)} of a set: expected [1 or more, D]")
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    # F [n, D] is `unit`. FFᵀ = K and FᵀF [D, D] have the same eigenvalues above 0, so the smaller matrix is used.
    matrix = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = torch.linalg.eigvalsh(matrix / len(unit)).clamp(min=0)
    entropy = -torch.special.xlogy(values, values).sum()
    return float(entropy.exp() / len(unit))
