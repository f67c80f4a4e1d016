"""k-means, and the real images that represent a class: those nearest to the centres of its clusters (DREAM)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from satm.data import ImageData
from satm.rng import Seed

# k-means stops after so many iterations, or as soon as Σ ‖move of a centre‖² of an iteration is at most STILL. Both are
# those of fast_pytorch_kmeans, which DREAM uses.
ITERATIONS = 100
STILL = 1e-4
PIECE = 512  # the number of images whose features are computed at once


def cluster_centres(points: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return the centres [k, D] of k = `count` clusters of `points` [n, D], found by k-means (Lloyd 1982).

    The first centres are k different points, drawn from `generator`. In each iteration a centre becomes the mean of the
    points that are nearest to it. A centre that is nearest to no point stays where it is.
    """
    centres = points[torch.randperm(len(points), generator=generator)[:count].to(points.device)]
    for _ in range(ITERATIONS):
        # A product with a matrix, because adding at an index has no fixed order on a GPU.
        own = F.one_hot(torch.cdist(points, centres).argmin(dim=1), count).to(points)
        sizes = own.sum(dim=0).unsqueeze(1)
        moved = torch.where(sizes > 0, own.T @ points / sizes.clamp(min=1), centres)
        change = float((moved - centres).square().sum())
        centres = moved
        if change <= STILL:
            break
    return centres


@torch.no_grad()
def representatives(data: ImageData, count: int, embedding: nn.Module, seed: Seed) -> torch.Tensor:
    """Return the places [K, `count`] of real images in `data.train`: for each class those that represent it.

    `embedding` gives the features [n, D] of images [n, C, H, W]. The features of a class are divided into `count`
    clusters. The image nearest to the centre of each cluster is chosen; one image may be nearest to several centres.
    Source: DREAM's code (`query` in new_strategy.py of lyq312318224/DREAM at 595e3c1).
    """
    chosen = []
    for label in range(len(data.classes)):
        members = (data.train.labels == label).nonzero().squeeze(1)
        points = torch.cat([embedding(data.train.batch(part)[0]) for part in members.split(PIECE)])
        centres = cluster_centres(points, count, seed.child(label).generator())
        chosen.append(members[torch.cdist(centres, points).argmin(dim=1).cpu()])
    return torch.stack(chosen)
