"""Predicts how long a tuning takes. It times a few outer steps, and the training of one network that judges a set."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from evaluation import train_network
from satm.data import ImageData
from satm.machine.device import resolve_device
from satm.methods import METHODS
from satm.networks import plan_for
from satm.progress import Progress
from satm.rng import Seed
from satm.training import accuracy
from satm.workflow.condense.estimate import epoch_seconds, missing_expert_epochs
from satm.workflow.condense.plan import plan
from satm.workflow.condense.seeds import with_expert_seed
from satm.workflow.tune.run import Tuning, outer_steps
from satm.workflow.tune.study import HALVING

EPOCHS = 5  # the number of epochs of the training that is timed


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The predicted seconds of a tuning with one worker.

    For a method whose outer steps cannot be predicted, everything except `expert_seconds` is None.
    """

    expert_seconds: float  # the training of missing experts, which is done once for all trials
    run_seconds: float | None  # one condensation, including the networks that judge it
    longest: float | None  # the whole tuning, if no trial is stopped early
    # The whole tuning, if half of the trials are stopped at each rung (a number of outer steps at which trials are
    # compared).
    halved: float | None


def forecast(
    tuning: Tuning, data: ImageData, *, trials: int, device: str, data_root: Path | None, progress: Progress
) -> Forecast:
    """Predict the time of `trials` trials of `tuning` on the real data `data`."""
    objective = tuning.objective
    preset, judging, resolved = objective.preset, objective.judging, resolve_device(device)
    seeds = objective.seeds
    configs = [(preset if objective.share_experts else with_expert_seed(preset, seed)).config for seed in seeds]
    missing = sum(missing_expert_epochs(each, data) for each in configs[: 1 if objective.share_experts else None])
    experts = missing * epoch_seconds(preset.config, data, resolved) if missing else 0.0
    if not METHODS.get(preset.config.method).unrolls:
        return Forecast(expert_seconds=experts, run_seconds=None, longest=None, halved=None)
    steps = outer_steps(preset, data)
    step_seconds = plan(preset, device=device, data_root=data_root, progress=progress).step_seconds
    points = -(-steps // judging.every)
    one = points * judging.recipe.repeats * _network_seconds(tuning, data, resolved) + steps * step_seconds
    share = expected_runs(steps, judging.every, len(seeds))
    return Forecast(
        expert_seconds=experts,
        run_seconds=one,
        longest=experts + trials * len(seeds) * one,
        halved=experts + one * (len(seeds) + (trials - 1) * share),
    )


def expected_runs(steps: int, every: int, seeds: int) -> float:
    """The mean number of condensations of a trial, if half of the trials end at each rung.

    A part of a condensation counts as its share of the outer steps. The rungs of the first seed are at `every` × 1, 2,
    4 … outer steps. The other seeds are condensed only if the first seed is not stopped at any rung.

    Args:
        steps: outer steps of a whole condensation.
        every: outer steps from one judged point to the next.
        seeds: condensation seeds of a trial.
    """
    alive, done, rung, total = 1.0, 0, every, 0.0  # `alive` is the share of the trials that are not stopped yet
    while rung <= steps:
        total += alive * (rung - done) / steps
        alive, done, rung = alive / HALVING, rung, rung * HALVING
    return total + alive * (steps - done) / steps + alive * (seeds - 1)


def _network_seconds(tuning: Tuning, data: ImageData, device: torch.device) -> float:
    """The predicted seconds in which one network is trained by the judging recipe and tested on validation images."""
    config, recipe = tuning.objective.preset.config, tuning.objective.judging.recipe
    count = min(config.seen_ipc * len(data.classes), len(data.train))
    examples = data.train.subset(torch.arange(count))
    network_plan = plan_for(config.architecture, data)
    few = replace(recipe, epochs=EPOCHS, drop_at=())
    started = time.perf_counter()
    network = train_network(
        examples, network_plan, few, learning_rate=1e-3, seed=Seed(0).child("timing"), device=device
    )
    trained = time.perf_counter()
    accuracy(network, data.validation)
    return (trained - started) * recipe.epochs / EPOCHS + time.perf_counter() - trained
