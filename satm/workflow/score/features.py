"""The scores `coverage` and `diversity` of a set, computed from the features of an expert.

The expert is the first one that the set was condensed with, or one of herding's preset if the set has none
(`feature_expert`). The same scores of as many random real images are stored too, for comparison. They depend on the
expert, so each set has its own; the results of a group have their mean over the experts (`satm.workflow.grouped`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import nn

from evaluation.feature_scores import coverage, diversity
from satm import networks
from satm.engine import FlatNetwork
from satm.methods import METHODS
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.types import Images
from satm.workflow.incremental.herding import feature_expert
from satm.workflow.score.scored import Scored

BATCH = 512  # the number of images whose features are computed at once
DRAWS = 5  # how many times random real images are drawn and scored

Of = Callable[["_Space", SyntheticSet], float]  # a function that computes a score of a set from features


def score_coverage(scored: Scored) -> None:
    """Store the coverage of the set (the mean over its classes), and the coverage of random real images."""
    _store(scored, "coverage", _coverage)


def score_diversity(scored: Scored) -> None:
    """Store the diversity of the set, and the diversity of random real images."""
    _store(scored, "diversity", lambda space, made: diversity(space.of(made.decoded.images)))


def check_features(scored: Scored) -> None:
    """Raise ExpertError if the expert that computes the features is missing. The message has a command to train it."""
    feature_expert(scored.subject, scored.subject.synthetic.ipc)


@dataclass(frozen=True, kw_only=True)
class _Space:
    """A network that computes features, and the features of the real training images."""

    embed: nn.Module  # computes the features of an image: the expert without its last layer
    device: torch.device
    real: list[torch.Tensor]  # for each class, the features [m, D] of its m real training images

    @torch.no_grad()
    def of(self, images: Images) -> torch.Tensor:
        """The features [n, D] of preprocessed images [n, C, H, W]. The result is on the CPU."""
        return torch.cat([self.embed(part.to(self.device)).flatten(1).cpu() for part in images.split(BATCH)])


def _coverage(space: _Space, made: SyntheticSet) -> float:
    """The coverage of the set `made`: the mean over the classes that have an image in the set."""
    features, labels = space.of(made.decoded.images), made.decoded.hard_labels
    present = sorted(set(labels.tolist()))
    return fmean(coverage(space.real[label], features[labels == label]) for label in present)


def _store(scored: Scored, metric: str, of: Of) -> None:
    subject, store = scored.subject, scored.workspace.store
    config, expert = feature_expert(subject, subject.synthetic.ipc)
    epochs = METHODS.get(config.method).expert_epochs(config.settings) or 0
    network = networks.plan_for(config.architecture, subject.data).create(Seed(0)).to(scored.workspace.device)
    FlatNetwork(network).load(expert.snapshot(epochs).to(scored.workspace.device))
    space = _Space(embed=networks.features(network).eval(), device=scored.workspace.device, real=[])
    train = subject.data.train
    for label in range(len(subject.data.classes)):
        members = (train.labels == label).nonzero()[:, 0]
        space.real.append(torch.cat([space.of(train.batch(part)[0]) for part in members.split(BATCH)]))
    recipe = store.add_recipe(
        f"features, expert of {epochs} epochs",
        {"architecture": config.architecture, "epochs": epochs, "experts": config.to_dict()["experts"]},
    )
    made = [("condensed", 0, subject.synthetic)]
    # The number of random real images of each class. It is the number of decoded images of each class in the set: with
    # more images, the coverage would be higher for this reason alone, and the comparison would not be fair. If a class
    # has fewer real images, their number is used for all classes.
    count = min(subject.synthetic.decoded.ipc, *map(len, space.real))
    made += [("random", draw, subject.random(draw, count)) for draw in range(DRAWS)]
    store.add_results(
        [
            scored.row(metric, of(space, each), repeat=repeat, recipe_id=recipe, detail={}, memory=memory)
            for memory, repeat, each in made
        ]
    )
