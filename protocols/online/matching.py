"""SSD's loss between the images of a class in the memory and the real images of this class in the stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from satm.matching import squared_distance
from satm.networks.features import with_features
from satm.types import Images


def summary_loss(
    network: nn.Module,
    summary: Images,
    real: Images,
    label: int,
    *,
    seen: Sequence[int],
    past: Images,
    weight: float,
) -> torch.Tensor:
    """SSD's matching loss for one class, 0-dimensional; its gradient with respect to `summary` improves the images.

        L = Σ_l ‖∂CE(S)/∂θ_l − ∂CE(T)/∂θ_l‖² + w Σ_m |d(f̄_S, f_m) − d(f̄_T, f_m)|

    S are the images of the class in the memory (`summary` [n, C, H, W]) and T the real ones (`real` [b, C, H, W]), both
    augmented by the caller. l runs over the convolutions of `network`. CE is the mean cross-entropy with class `label`,
    over the logits of the classes in `seen` only. f is the feature vector of an image (the input of the last linear
    layer), divided by its norm. f̄ is the mean of f over S or T, m runs over the images `past` [m, C, H, W] of classes
    of earlier steps, and d is the Euclidean distance. w is `weight`. The second term, the relationship to the past, is
    left out if there are no images `past`.

    Source: SSD (Gu et al. 2024), Eq. 3 to 6, and `match_loss` in utils/buffer/summarize_update.py at 7fe1000.
    """
    # Only the convolutions are matched, so only their gradients are computed.
    weights = [each for each in network.parameters() if each.ndim > 2]
    target = torch.tensor([list(seen).index(label)], device=summary.device)
    logits, features = with_features(network, summary)
    found = torch.autograd.grad(_loss(logits, seen, target), weights, create_graph=True)
    real_logits, real_features = with_features(network, real)
    wanted = torch.autograd.grad(_loss(real_logits, seen, target), weights)
    total = squared_distance(found, [each.detach() for each in wanted])
    if not len(past):
        return total
    with torch.no_grad():
        past_features = F.normalize(with_features(network, past)[1])
        real_mean = F.normalize(real_features).mean(0)
    mean = F.normalize(features).mean(0)
    relation = (_distances(mean, past_features) - _distances(real_mean, past_features)).abs().sum()
    return total + weight * relation


def _loss(logits: torch.Tensor, seen: Sequence[int], target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, list(seen)], target.expand(len(logits)))


def _distances(point: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The Euclidean distances [m] of `point` [D] from `others` [m, D], at least 1e-6 so that they have a derivative."""
    return (point - others).square().sum(1).clamp(min=1e-12).sqrt()
