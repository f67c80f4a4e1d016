"""Describes the work of a condensation before it starts, and estimates the time of an expert's epoch.

The estimate is made from a few training steps that are timed.
"""

from __future__ import annotations

import time
from itertools import pairwise

import torch
from torch import nn

from satm import networks
from satm.data import ImageData
from satm.experts import ExpertConfig
from satm.experts.train import expert_store
from satm.machine.compilation import missing_compiler
from satm.machine.fused import worthwhile
from satm.methods import METHODS, OuterWork
from satm.presets import CondenseConfig, Preset
from satm.rng import Seed
from satm.teachers import missing_epochs
from satm.training import SGDConfig, fit
from satm.workflow.teachers import own_teacher

# A warning is shown if one outer step can give fewer than this share of the synthetic images a gradient. We chose the
# number ourselves; no publication has it.
FEW = 0.9
COMPILED = 0.5  # the time of a compiled training step, as a fraction of a plain step (benchmarks/training.py)


def opening_line(preset: Preset, data: ImageData, device: torch.device, *, steps_done: int = 0) -> str:
    """The work in one line: `profile cpu (cpu): satm/cifar10/ipc1, 6 expert epochs, 600 outer steps`.

    The line says no time: an estimate that is made before the code is compiled and the first outer steps are done can
    be wrong by a factor of ten. `run_outer_steps` shows the remaining time as soon as a few steps are measured, and
    `satm plan` predicts it. `steps_done` is the number of outer steps that are done already.
    """
    config = preset.config
    missing = missing_expert_epochs(config, data)
    work = [f"{missing} expert epochs"] if missing else []
    teacher = own_teacher(config)
    if teacher is not None and (epochs := missing_epochs(data, teacher)):
        work.append(f"{epochs} teacher epochs")
    network = _network(config.architecture, data, device)
    outer = METHODS.get(config.method).outer_work(config.settings, network, data, config.seen_ipc)
    if outer is not None:
        work.append(f"{outer.steps - steps_done} outer steps")
    if not config.validation:
        work.append("all training images, validation=0")
    warning = spell_reach(outer)
    said = f"profile {preset.profile} ({device}): {', '.join([preset.name, *work])}"
    return f"{said}; {warning}" if warning else said


def spell_reach(work: OuterWork | None) -> str:
    """A warning if one outer step gives at most a share below `FEW` of the images a gradient; otherwise ""."""
    if work is None or work.reach >= FEW:
        return ""
    return f"the window reaches at most {work.reach:.0%} of the images in one outer step: raise window or batch_syn"


def missing_expert_epochs(config: CondenseConfig, data: ImageData) -> int:
    """The number of epochs that the experts of a condensation must still be trained for, summed over the experts.

    If an expert is missing and the experts have a filter, the experts that score the images are counted, too.
    """
    epochs = METHODS.get(config.method).expert_epochs(config.settings)
    if epochs is None:
        return 0
    missing, scoring = _missing(config.experts, epochs, config, data), config.experts.scoring()
    if not missing or scoring is None or config.experts.filter is None:
        return missing
    return missing + _missing(scoring, config.experts.filter.scorer_epochs, config, data)


def _missing(experts: ExpertConfig, epochs: int, config: CondenseConfig, data: ImageData) -> int:
    """The epochs that `experts` must still be trained for until each has `epochs` epochs."""
    store = expert_store(data, config.architecture, experts)
    return sum(max(0, epochs - store.epochs(index)) for index in range(experts.count))


def epoch_seconds(config: CondenseConfig, data: ImageData, device: torch.device) -> float:
    """The seconds that one epoch of one expert takes, estimated from a few timed training steps."""
    size = min(config.experts.batch_size, len(data.train))
    compiled = worthwhile(len(data.train), data.image_shape) and missing_compiler(device) is None
    # The training of flat experts computes two gradients in each step.
    share = (COMPILED if compiled else 1.0) * (1.0 if config.experts.flat is None else 2.0)
    return share * _step_seconds(config.architecture, data, size, device) * len(data.train) / size


def _network(architecture: str, data: ImageData, device: torch.device) -> nn.Module:
    return networks.plan_for(architecture, data).create(Seed(0).child("timing")).to(device)


def _step_seconds(architecture: str, data: ImageData, batch: int, device: torch.device) -> float:
    """The seconds of the fastest of a few training steps of the network with batches of `batch` images."""
    examples = data.train.subset(torch.arange(min(batch, len(data.train))))
    ends = [time.perf_counter()]
    fit(
        _network(architecture, data, device),
        examples,
        SGDConfig(epochs=4, lr=1e-3, batch_size=batch),
        seed=Seed(0).child("timing"),
        on_epoch=lambda stats: ends.append(time.perf_counter()),
    )
    return min(after - before for before, after in pairwise(ends))
