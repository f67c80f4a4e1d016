"""Trains one network from scratch on a synthetic set or on other images, as a recipe says."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from evaluation.recipe import Recipe
from satm.errors import ConfigError, Interrupted
from satm.machine.fused import Compilation, Fused, plan_fused
from satm.networks import NetworkPlan
from satm.progress import SILENT, Bar, Progress
from satm.rng import Seed
from satm.teachers import Teacher
from satm.training import EpochStats, fit
from satm.types import Examples


def train_network(
    examples: Examples,
    plan: NetworkPlan,
    recipe: Recipe,
    *,
    learning_rate: float,
    seed: Seed,
    device: torch.device | str = "cpu",
    teacher: Teacher | None = None,
    fused: Fused | None = None,
    on_epoch: Callable[[EpochStats], None] | None = None,
) -> nn.Module:
    """Train a new network of `plan` on `examples` by `recipe`, and return it.

    Args:
        seed: the source of the initial weights and of every random draw of the training.
        teacher: the network that labels the batches if the recipe has its labels from a teacher.
        fused: compiled code from `plan_training`; None: train uncompiled.
        on_epoch: called after each epoch.

    Raises Diverged if the loss is not finite. Raises ConfigError if the last batch has only one image and the network
    cannot train on it (see `NetworkPlan.check_batches`). Raises ConfigError also if the recipe needs a teacher, and
    `teacher` is None or was made for another number of classes or another image shape.
    """
    recipe = recipe.on(plan.name)
    recipe.check_teacher(teacher, plan.num_classes, plan.image_shape)
    plan.check_batches(len(examples), recipe.batch_size)
    network = plan.create(seed.child("weights")).to(device)
    fit(
        network,
        examples,
        recipe.optimisation(learning_rate),
        seed=seed.child("training"),
        criterion=recipe.criterion,
        augment=recipe.augmentation,
        mix=recipe.mixing(plan.num_classes, teacher),
        fused=fused,
        on_epoch=on_epoch,
    )
    return network


def check_batches(plan: NetworkPlan, recipe: Recipe, *, examples: int) -> None:
    """Raise the ConfigError that `train_network` would raise if the last batch of `examples` images is too small.

    A caller can use this function to find the error before anything is trained.
    """
    plan.check_batches(examples, recipe.on(plan.name).batch_size)


def check_compilation(recipe: Recipe, compilation: Compilation) -> None:
    """Raise ConfigError if `compilation` demands compiled training and the recipe's optimiser cannot be compiled."""
    if compilation == "compiled" and recipe.optimizer is not None:
        raise ConfigError(
            f"compilation compiled: recipe {recipe.name} trains by {recipe.optimizer}, and only SGD is compiled; "
            "set it to auto"
        )


def plan_training(
    examples: Examples,
    plan: NetworkPlan,
    recipe: Recipe,
    *,
    device: torch.device | str = "cpu",
    compilation: Compilation = "auto",
    progress: Progress = SILENT,
) -> Fused | None:
    """Compiled code that trains networks of `plan` by `recipe` on as many images as `examples` has.

    Returns None if the networks should be trained uncompiled. This is the case for every optimiser except SGD; for SGD,
    `satm.machine.fused.plan_fused` decides it. Raises ConfigError as `check_compilation`.
    """
    check_compilation(recipe, compilation)
    if recipe.optimizer is not None:
        return None
    return plan_fused(
        lambda: plan.create(Seed(0).child("template")).to(device),
        image_shape=plan.image_shape,
        images=recipe.epochs * len(examples),
        compilation=compilation,
        criterion=recipe.criterion,
        notify=progress.say,
    )


def watching(progress: Progress, bar: Bar) -> Callable[[EpochStats], None]:
    """A function for `on_epoch` of `train_network`. It moves `bar`, and raises Interrupted if the user asks to stop."""

    def on_epoch(stats: EpochStats) -> None:
        bar.advance(loss=stats.loss)
        raise_if_stopping(progress)

    return on_epoch


def raise_if_stopping(progress: Progress) -> None:
    """Raise Interrupted if the user asked to stop."""
    if progress.stopping():
        raise Interrupted("stopped; the networks trained so far are kept, the same command continues with the next one")
