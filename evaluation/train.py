"""Training one network from scratch on a synthetic set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from evaluation.recipe import Recipe
from satm import networks
from satm.errors import ConfigError, Interrupted
from satm.machine.fused import Compilation, Fused, plan_fused
from satm.progress import SILENT, Bar, Progress
from satm.rng import Seed
from satm.training import EpochStats, fit
from satm.types import Examples


def train_network(
    examples: Examples,
    *,
    architecture: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    recipe: Recipe,
    learning_rate: float,
    seed: Seed,
    device: torch.device | str = "cpu",
    fused: Fused | None = None,
    on_epoch: Callable[[EpochStats], None] | None = None,
) -> nn.Module:
    """A fresh `architecture` for images of `image_shape` (C, H, W), trained by `recipe` at `learning_rate`.

    Its initial weights and every draw of its training come from `seed`; `fused` (from `plan_training`) trains it in
    compiled code. Raises Diverged when the loss stops being
    finite, UnknownName and ConfigError for an architecture that does not exist, cannot take the images or cannot be
    trained on batches as small as these.
    """
    network = networks.create(
        architecture, num_classes=num_classes, image_shape=image_shape, seed=seed.child("weights")
    ).to(device)
    with _explained(architecture, len(examples), recipe):
        fit(
            network,
            examples,
            recipe.sgd(learning_rate),
            seed=seed.child("training"),
            augment=recipe.augmentation,
            mix=recipe.mixing(num_classes),
            fused=fused,
            on_epoch=on_epoch,
        )
    return network


def check_batches(
    architecture: str, *, examples: int, num_classes: int, image_shape: tuple[int, int, int], recipe: Recipe
) -> None:
    """Raise what `train_network` would at the last batch of `examples`, before anything is trained.

    Only shapes are gone through, on the meta device.
    """
    if examples % recipe.batch_size == 1:
        with _explained(architecture, examples, recipe), torch.device("meta"), torch.no_grad():
            network = networks.create(architecture, num_classes=num_classes, image_shape=image_shape, seed=Seed(0))
            network.train()(torch.empty(1, *image_shape))


@contextmanager
def _explained(architecture: str, examples: int, recipe: Recipe) -> Iterator[None]:
    """What batch normalisation says to a single image, in words."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"{architecture} has batch normalisation, which cannot train on a last batch of one image "
            f"({examples} images in batches of {recipe.batch_size}); change the batch size or the architecture"
        ) from error


def plan_training(
    examples: Examples,
    *,
    architecture: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    recipe: Recipe,
    device: torch.device | str = "cpu",
    compilation: Compilation = "auto",
    progress: Progress = SILENT,
) -> Fused | None:
    """Compiled code for every `architecture` that `recipe` trains on as many `examples`; None for plain training.

    `satm.machine.fused.plan_fused` has the rule.
    """
    return plan_fused(
        lambda: networks.create(
            architecture, num_classes=num_classes, image_shape=image_shape, seed=Seed(0).child("template")
        ).to(device),
        image_shape=image_shape,
        images=recipe.epochs * len(examples),
        compilation=compilation,
        notify=progress.say,
    )


def watching(progress: Progress, bar: Bar) -> Callable[[EpochStats], None]:
    """An `on_epoch` that moves `bar` on and raises Interrupted once the user asked to stop."""

    def on_epoch(stats: EpochStats) -> None:
        bar.advance(loss=stats.loss)
        raise_if_stopping(progress)

    return on_epoch


def raise_if_stopping(progress: Progress) -> None:
    """Raise Interrupted once the user asked to stop."""
    if progress.stopping():
        raise Interrupted("stopped; the networks trained so far are kept, the same command goes on with the next one")
