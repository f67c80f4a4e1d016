"""The real images on which an expert trains in each epoch, chosen by their difficulty (PAD, Li et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch

from satm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """How PAD filters the real images of each class: it adds hard images first, and later removes easy ones.

    The n images of a class are ordered from easy to hard. Epoch e, counted from 0, trains on the images with these
    places in the order:

        e ≤ A       the first int(p n), with p = s + (1 − s) e / A
        A < e ≤ B   all
        B < e ≤ C   all except the first int(r n)
        C < e       all except the first int(q n)

    s is `initial_share`, A `added_until`, B `removed_after`, C `more_removed_after`, r `removed_share` and q
    `more_removed_share`. At least one image of each class is left. The default values are those of the command in PAD's
    README (NUS-HPC-AI-Lab/PAD at 2a4bc91; buffer/buffer_CL.py).

    Difficulty is the EL2N score of an image, the mean of ‖softmax(logits) − one-hot label‖ over several networks in an
    early epoch (Paul et al. 2021). These networks are the first `scorers` experts that are trained in the same way, but
    without a filter, after `scorer_epochs` epochs. Both numbers are ours: PAD's code reads a stored order.
    """

    initial_share: float = 0.75
    added_until: int = 20
    removed_after: int = 40
    removed_share: float = 0.1
    more_removed_after: int = 60
    more_removed_share: float = 0.2
    scorers: int = 10
    scorer_epochs: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.initial_share <= 1:
            raise ConfigError(f"experts.filter.initial_share {self.initial_share}: expected 0 < share ≤ 1")
        if not 0 <= self.removed_share < 1 or not 0 <= self.more_removed_share < 1:
            raise ConfigError(
                f"experts.filter: removed_share {self.removed_share}, more_removed_share {self.more_removed_share}: "
                "expected 0 ≤ share < 1"
            )
        if not 0 <= self.added_until <= self.removed_after <= self.more_removed_after:
            raise ConfigError(
                f"experts.filter: epochs {self.added_until}, {self.removed_after}, {self.more_removed_after}: expected "
                "0 ≤ added_until ≤ removed_after ≤ more_removed_after"
            )
        if self.scorers < 1 or self.scorer_epochs < 0:
            raise ConfigError(
                f"experts.filter: scorers {self.scorers}, scorer_epochs {self.scorer_epochs}: expected at least 1 "
                "network, and 0 epochs or more"
            )

    def places(self, epoch: int, images: int) -> range:
        """The places in the order of a class of `images` images that epoch `epoch` uses; place 0 is the easiest."""
        if epoch <= self.added_until:
            done = epoch / self.added_until if self.added_until else 1.0
            share = self.initial_share + (1 - self.initial_share) * done
            return range(max(1, int(min(1.0, share) * images)))
        if epoch <= self.removed_after:
            return range(images)
        removed = self.removed_share if epoch <= self.more_removed_after else self.more_removed_share
        return range(min(int(removed * images), images - 1), images)

    def scaled(self, share: float, *, scorers: int) -> Self:
        """The filter for experts of fewer epochs: all its epochs times `share`, and at most `scorers` networks."""
        return replace(
            self,
            added_until=max(1, round(self.added_until * share)),
            removed_after=max(1, round(self.removed_after * share)),
            more_removed_after=max(1, round(self.more_removed_after * share)),
            scorers=min(self.scorers, scorers),
            scorer_epochs=max(1, round(self.scorer_epochs * share)),
        )


@dataclass(frozen=True, eq=False)
class Filter:
    """The filter of one real set. `order` [n] int64 holds the indices of its images, the easiest image first."""

    config: FilterConfig
    order: torch.Tensor
    labels: torch.Tensor  # [n] int64, the classes of the images

    def indices(self, epoch: int) -> torch.Tensor:
        """The indices of the images that epoch `epoch` trains on, in rising order."""
        ordered, kept = self.labels[self.order], []
        for label in self.labels.unique():
            members = self.order[ordered == label]
            places = self.config.places(epoch, len(members))
            kept.append(members[places.start : places.stop])
        return torch.cat(kept).sort().values


def el2n(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The EL2N score of each image, [n]: the mean over networks of ‖softmax(logits) − one-hot label‖.

    `logits` is [E, n, K] of E networks, and `labels` [n] int64. Source: Paul et al. 2021, *Deep learning on a data
    diet*, Definition 2.2.
    """
    wanted = torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits)
    scores: torch.Tensor = (logits.softmax(dim=-1) - wanted).norm(dim=-1).mean(dim=0)
    return scores
