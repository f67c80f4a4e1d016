"""Time and memory of a condensation and of its evaluations, foreseen without its data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from evaluation import recipe_for
from satm.canonical import digest
from satm.data.catalogue import CATALOGUE
from satm.engine import EngineChoice, InnerWork
from satm.engine.choice import TAPE
from satm.machine.cost import forward_cost
from satm.machine.ram import total_memory
from satm.methods import METHODS
from satm.networks import plan as plan_network
from satm.presets import CondenseConfig
from satm.rng import Seed
from satm.studies import Evaluation
from satm.workflow.reproduce.laid import Laid
from satm.workflow.reproduce.stored import stream_size

TRAINING = {"cifar10": 50_000, "cifar100": 50_000, "tiny-imagenet": 100_000, "imagenet-1k": 1_281_167} | dict.fromkeys(
    ("imagenette", "imagewoof", "imagefruit", "imagemeow"), 13_000
)
"""Training images of the data sets whose files need not be here to foresee a study."""

TABLE_6 = 100 * 101.2e6 * (3 * 50 + 8 * 50) / 12.1
"""Floating-point operations a second of the paper's A6000: MTT's outer step in its Table 6 takes 12.1 s, with 50 inner
steps of 100 images, all differentiated, on a ConvNet that takes 101.2 million a forward pass."""
RATES = 5  # learning rates that a grid tries
TIMED = 64  # images of the training step that is timed


@dataclass(frozen=True, kw_only=True)
class Outer:
    """The outer steps of one condensation. None: it cannot be foreseen."""

    seconds: float | None
    peak: float | None  # bytes above the loaded process
    operations: float


UNKNOWN = Outer(seconds=None, peak=None, operations=0.0)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one condensation takes, and the evaluations of its set."""

    outer: Outer
    epochs: int  # that each of its experts needs; 0: it has none
    epoch_seconds: float  # of one epoch of one expert; 0 if it cannot be foreseen
    judging: Mapping[str, float]  # seconds of each evaluation, by name


@dataclass(frozen=True)
class Machine:
    """Foresees the time of a training step from its operations, and from how long a known network takes here."""

    device: torch.device
    _costs: dict[tuple[object, ...], tuple[float, int]] = field(default_factory=dict)
    _networks: dict[tuple[object, ...], nn.Module] = field(default_factory=dict)
    _outer: dict[str, Outer] = field(default_factory=dict)  # by configuration: studies share many

    @cached_property
    def speed(self) -> float:
        """Floating-point operations a second in a training step of the ConvNet of width 32."""
        shape = (3, 32, 32)
        network = self.network("convnet3_w32", 10, shape)
        images = torch.randn((TIMED, *shape), generator=Seed(0).child("timing").generator()).to(self.device)
        labels = torch.arange(TIMED, device=self.device) % 10
        taken = []
        for _ in range(4):
            started = time.perf_counter()
            functional.cross_entropy(network(images), labels).backward()
            taken.append(time.perf_counter() - started)
        return 3 * TIMED * forward_cost(network, shape)[0] / min(taken)

    def step(self, architecture: str, classes: int, shape: tuple[int, int, int], batch: int) -> float:
        """Seconds of a training step: three times the operations of the forward pass."""
        return 3 * batch * self.forward(architecture, classes, shape)[0] / self.speed

    def forward(self, architecture: str, classes: int, shape: tuple[int, int, int]) -> tuple[float, int]:
        """Operations and kept bytes of a forward pass of one image."""
        key = (architecture, classes, shape)
        if key not in self._costs:
            self._costs[key] = forward_cost(self.network(architecture, classes, shape), shape)
        return self._costs[key]

    def network(self, architecture: str, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """A network, the same one each time."""
        key = (architecture, classes, shape)
        if key not in self._networks:
            made = plan_network(architecture, num_classes=classes, image_shape=shape)
            self._networks[key] = made.create(Seed(0).child("timing")).to(self.device)
        return self._networks[key]

    def work_of(self, config: CondenseConfig) -> Outer:
        """The outer steps of a condensation."""
        if config.dataset not in CATALOGUE:  # a folder of the user's own: its classes are not known before it is read
            return UNKNOWN
        key = digest({**config.to_dict(), "experts": None})
        if key not in self._outer:
            self._outer[key] = _outer(config, _blank(config), self)
        return self._outer[key]


@dataclass(frozen=True)
class Blank:
    """What of a real data set decides the cost of working on it."""

    dataset: str
    size: int

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return CATALOGUE.get(self.dataset).class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return CATALOGUE.get(self.dataset).channels, self.size, self.size

    @property
    def train(self) -> range:
        """As many as there are training images."""
        return range(TRAINING.get(self.dataset, 2_000))


def cost_of(laid: Laid, machine: Machine, networks: Mapping[str, int | None]) -> Cost:
    """What one condensation of a cell and its evaluations take on this machine, roughly.

    The model is that of `satm plan`: time is linear in the inner steps and in the differentiated ones, memory in the
    window. `networks`: of each evaluation, by name; None: the recipe's number.
    """
    assert laid.preset is not None
    config = laid.preset.config
    epochs = METHODS.get(config.method).expert_epochs(config.settings) or 0
    if config.dataset not in CATALOGUE:
        return Cost(outer=UNKNOWN, epochs=epochs, epoch_seconds=0.0, judging={})
    data = _blank(config)
    judging = {
        name: _judging(config, data, laid.study.evaluations[name], networks[name], machine, laid.preset.profile)
        for name in laid.cell.evaluations
    }
    each = _epoch(config, data, machine) if epochs else 0.0
    return Cost(outer=machine.work_of(config), epochs=epochs, epoch_seconds=each, judging=judging)


def _outer(config: CondenseConfig, data: Blank, machine: Machine) -> Outer:
    network = machine.network(config.architecture, len(data.classes), data.image_shape)
    method: Any = METHODS.get(config.method)
    work = method.outer_work(config.settings, network, data, config.seen_ipc)
    if work is None:
        return Outer(seconds=0.0, peak=None, operations=0.0)
    step = machine.step(config.architecture, len(data.classes), data.image_shape, work.batch)
    seconds = work.steps * work.seconds(step)
    if not method.unrolls:
        flops, kept = machine.forward(config.architecture, len(data.classes), data.image_shape)
        images = config.settings.images_a_step(len(data.classes), config.seen_ipc)
        peak = TAPE * kept * min(images, 2 * work.batch)
        return Outer(seconds=seconds, peak=peak, operations=3 * flops * images * work.steps)
    choice, inner = config.settings.choose_engine(network, data.image_shape, config.seen_ipc * len(data.classes))
    return Outer(seconds=seconds, peak=_peak(choice, inner, network), operations=inner.total)


def _peak(choice: EngineChoice, work: InnerWork, network: nn.Module) -> float:
    """Bytes of one outer step: the tape of the window, or of one step and θ of every step of the window."""
    if choice.engine == "higher":
        return work.tape
    parameters = float(sum(each.nbytes for each in network.parameters()))
    tape = TAPE * min(work.batch, choice.at_once or work.batch) * work.activation_bytes
    return tape + work.kept * work.window * parameters


def _epoch(config: CondenseConfig, data: Blank, machine: Machine) -> float:
    """Seconds of one epoch of one expert; 0 if the training images are not counted."""
    if config.dataset not in TRAINING and not CATALOGUE.get(config.dataset).embedded:
        return 0.0
    batch = min(config.experts.batch_size, len(data.train))
    step = machine.step(config.architecture, len(data.classes), data.image_shape, batch)
    twice = 1 if config.experts.flat is None else 2  # flat experts take two gradients
    return twice * len(data.train) / batch * step


def _judging(
    config: CondenseConfig, data: Blank, evaluation: Evaluation, networks: int | None, machine: Machine, profile: str
) -> float:
    """Seconds of one evaluation of one set."""
    recipe = recipe_for(evaluation.recipe or config.recipe, config.dataset)
    images = config.seen_ipc * len(data.classes)
    seconds = 0.0
    for name in evaluation.architectures or (config.architecture,):
        epoch = machine.step(name, len(data.classes), data.image_shape, images)
        if evaluation.incremental:
            orders, each = stream_size(evaluation, profile)
            count = orders * each * ((evaluation.steps or 1) + 1) / 2  # the memory grows with the steps
        else:
            count = networks or recipe.repeats
        chosen = RATES * recipe.repeats if evaluation.rate == "grid" else 0
        seconds += (count + chosen) * recipe.epochs * epoch
    return seconds


def too_large(peak: float | None, machine: Machine) -> str:
    """Why a condensation with this peak does not fit the memory; "" if it does."""
    memory = total_memory(machine.device)
    if peak is None or peak <= memory:
        return ""
    return (
        f"an outer step takes about {peak / 1e9:,.0f} GB of memory, and this machine has {memory / 1e9:,.0f} GB; give "
        "a smaller --profile, or another --device"
    )


def _blank(config: CondenseConfig) -> Blank:
    return Blank(config.dataset, config.image_size or CATALOGUE.get(config.dataset).image_size)
