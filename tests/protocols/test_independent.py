"""Independent loops, without Avalanche and without the suite's learners, give the suite's numbers in distribution.

Each loop below is written from the description in docs/protocols.md. Its draws are its own, so a run differs from the
suite's as two seeds differ. The test compares the mean accuracies of several seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from protocols.base import PROTOCOLS
from satm.networks import plan
from satm.rng import Seed
from tests.protocols.stage import CLASSES, GROUPS, SHAPE, STREAM, memory, networks, real_images, stream

SEEDS = 8
WEIGHT = 0.5  # of replay's memory: in these small batches a wrong weight would show


def batches(count: int, size: int) -> list[torch.Tensor]:
    return list(torch.randperm(count).split(size))


def of_classes(images: torch.Tensor, labels: torch.Tensor, group: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    at = torch.isin(labels, torch.tensor(group))
    return images[at], labels[at]


def replay_loss(z: torch.Tensor, y: torch.Tensor, zm: torch.Tensor, ym: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    return (1 - WEIGHT) * F.cross_entropy(z, y) + WEIGHT * F.cross_entropy(zm, ym)


def er_ace_loss(z: torch.Tensor, y: torch.Tensor, zm: torch.Tensor, ym: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    mask = torch.full_like(z, float("-inf"))
    mask[:, y.unique()] = 0
    return (F.cross_entropy(z + mask, y) + F.cross_entropy(zm, ym)) / 2


def der_loss(z: torch.Tensor, y: torch.Tensor, zm: torch.Tensor, ym: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    config = PROTOCOLS.get("der").config()
    return F.cross_entropy(z, y) + config.alpha * F.mse_loss(zm, z0) + config.beta * F.cross_entropy(zm, ym)


def accuracies(network: nn.Module) -> list[float]:
    test = real_images()
    with torch.no_grad():
        right = network.eval()(test.images).argmax(1) == test.labels
    return [float(right[torch.isin(test.labels, torch.tensor(group))].float().mean()) for group in GROUPS]


def replayed(seed: int, loss: Callable[..., torch.Tensor], *, arrives_first: bool) -> list[list[float]]:
    """The accuracy matrix of one network that learns the stream, with its memory behind `loss`."""
    torch.manual_seed(seed)
    network = plan("convnet3_w16", num_classes=CLASSES, image_shape=SHAPE).create(Seed(seed))
    real, given = real_images("train", 0.3), memory()
    held = [torch.empty(0, *SHAPE), torch.empty(0, dtype=torch.long), torch.empty(0, CLASSES)]
    matrix = []
    for step, group in enumerate(GROUPS):
        images, labels = of_classes(real.images, real.labels, group)
        own = of_classes(given.images, given.labels, group)
        if arrives_first:
            held = [torch.cat(pair) for pair in zip(held, (*own, torch.zeros(len(own[0]), CLASSES)), strict=True)]
        optimizer = torch.optim.SGD(network.parameters(), lr=STREAM["learning_rate"], momentum=STREAM["momentum"])
        network.train()
        for _ in range(int(STREAM["epochs"])):
            for at in batches(len(images), int(STREAM["batch_size"])):
                if step == 0:
                    found = F.cross_entropy(network(images[at]), labels[at])
                else:
                    again = torch.randperm(len(held[0]))[:4]
                    found = loss(
                        network(images[at]), labels[at], network(held[0][again]), *(t[again] for t in held[1:])
                    )
                optimizer.zero_grad()
                found.backward()
                optimizer.step()
        if not arrives_first:
            with torch.no_grad():
                logits = network.eval()(own[0])
            held = [torch.cat(pair) for pair in zip(held, (*own, logits), strict=True)]
        matrix.append(accuracies(network))
    return matrix


def fresh(seed: int) -> list[list[float]]:
    """GDumb: after each step a new network, on the memory so far, by the recipe of the tests."""
    given, recipe, matrix = memory(), networks().recipe, []
    for step in range(len(GROUPS)):
        torch.manual_seed(1000 * seed + step)
        network = plan("convnet3_w16", num_classes=CLASSES, image_shape=SHAPE).create(Seed(seed, (step,)))
        images, labels = of_classes(given.images, given.labels, sum(GROUPS[: step + 1], ()))
        config = recipe.sgd(networks().rates[step])
        optimizer = torch.optim.SGD(
            network.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
        for epoch in range(config.epochs):
            for each in optimizer.param_groups:
                each["lr"] = config.lr_at(epoch)
            for at in batches(len(images), config.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(network(images[at]), labels[at]).backward()
                optimizer.step()
        matrix.append(accuracies(network))
    return matrix


LOOPS: dict[str, tuple[Callable[[int], Any], dict[str, Any]]] = {
    "gdumb": (fresh, {}),
    "replay": (
        lambda seed: replayed(seed, replay_loss, arrives_first=False),
        {"memory_batch_size": 4, "replay_weight": WEIGHT},
    ),
    "er-ace": (lambda seed: replayed(seed, er_ace_loss, arrives_first=True), {"memory_batch_size": 4}),
    "der": (lambda seed: replayed(seed, der_loss, arrives_first=False), {"memory_batch_size": 4}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOPS)
def test_an_independent_loop_has_the_same_accuracies(name: str) -> None:
    loop, settings = LOOPS[name]
    plain = networks(recipe=replace(networks().recipe, augment=None))
    ours = [stream(name, seed=Seed(seed), networks=plain, settings=settings).matrix for seed in range(SEEDS)]
    theirs = [loop(100 + seed) for seed in range(SEEDS)]
    for step, column in ((0, 0), (1, 0), (2, 1), (3, 0), (3, 3)):
        one, two = ([float(matrix[step][column]) for matrix in found] for found in (ours, theirs))
        error = ((stdev(one) ** 2 + stdev(two) ** 2) / SEEDS) ** 0.5
        # 3.5 standard errors: 5 cells × 4 protocols at a false alarm of about 1 in 100, with fixed seeds.
        assert abs(fmean(one) - fmean(two)) <= 3.5 * error + 0.02, (step, column, one, two)
