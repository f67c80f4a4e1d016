"""Scores of a set that need no training: how well it covers the real images, and how different its images are.

Both are functions of features, such as those of an expert, [n, D] float.
"""

from __future__ import annotations

import torch

from satm.errors import ShapeError

EXPECTED = 0.95  # the coverage that as many real images would have; as Naeem et al. choose k
ROWS = 2048  # real images compared at once


def coverage(real: torch.Tensor, made: torch.Tensor) -> float:
    """The share of the real images in whose neighbourhood an image of the set lies.

    The neighbourhood of a real image is the ball that reaches its k-th nearest other real image. `neighbours` chooses
    k so that as many real images would cover 95%; less means that the set leaves out kinds of images.

    Source: Naeem et al. 2020, Reliable Fidelity and Diversity Metrics, Eq. 7 and section 4. Raises ShapeError for fewer
    than two real images, none of the set, or other features.
    """
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1] or len(real) < 2 or not len(made):
        raise ShapeError(
            f"features {tuple(real.shape)} of real images and {tuple(made.shape)} of a set: expected two real images "
            "or more, one of the set or more, and equally many features"
        )
    k = neighbours(len(real), len(made))
    covered = 0
    for rows in torch.arange(len(real)).split(ROWS):
        # The nearest real image is the image itself, at distance 0.
        radius = torch.cdist(real[rows], real).kthvalue(k + 1, dim=1).values
        covered += int((torch.cdist(real[rows], made).amin(dim=1) <= radius).sum())
    return covered / len(real)


def neighbours(real: int, made: int) -> int:
    """The smallest k at which `made` images of the real distribution cover 95% of `real` images in the mean.

    That mean is 1 − Π_{i=1..k} (N − i) / (M + N − i) for N real images and M others, whatever the distribution. At most
    N − 1.
    """
    missed, k = 1.0, 0
    while 1 - missed < EXPECTED and k < real - 1:
        k += 1
        missed *= (real - k) / (made + real - k)
    return k


def diversity(features: torch.Tensor) -> float:
    """The effective number of different images, as a share of all: the Vendi score over n, in 1/n..1.

    With K_ij the cosine of the features of images i and j, and λ the eigenvalues of K/n, it is exp(−Σ λ log λ) / n. It
    is 1/n if all features have one direction, and 1 if they are orthogonal.

    Source: Friedman and Dieng 2023, The Vendi Score, Eq. 2. Raises ShapeError if there are no images.
    """
    if features.ndim != 2 or not len(features):
        raise ShapeError(f"features {tuple(features.shape)} of a set: expected [1 or more, D]")
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    # K/n and the D × D matrix have the same eigenvalues above 0; the smaller one is quicker.
    matrix = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = torch.linalg.eigvalsh(matrix / len(unit)).clamp(min=0)
    entropy = -torch.special.xlogy(values, values).sum()
    return float(entropy.exp() / len(unit))
