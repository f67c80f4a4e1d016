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
class Cost:
    """What one condensation takes, and the evaluations of its set. None: it cannot be foreseen."""

    outer: float | None  # seconds of the outer steps
    experts: float | None  # seconds of training its experts, if none are stored
    judging: float  # seconds
    peak: float | None  # bytes above the loaded process
    operations: float  # of the outer steps


@dataclass(frozen=True)
class Machine:
    """Foresees the time of a training step from its operations, and from how long a known network takes here."""

    device: torch.device
    _costs: dict[tuple[object, ...], tuple[float, int]] = field(default_factory=dict)

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
        key = (architecture, classes, shape)
        if key not in self._costs:
            self._costs[key] = forward_cost(self.network(architecture, classes, shape), shape)
        return 3 * batch * self._costs[key][0] / self.speed

    def network(self, architecture: str, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """A new network."""
        made = plan_network(architecture, num_classes=classes, image_shape=shape)
        return made.create(Seed(0).child("timing")).to(self.device)


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
    if config.dataset not in CATALOGUE:  # a folder of the user's own: its classes are not known before it is read
        return Cost(outer=None, experts=None, judging=0.0, peak=None, operations=0.0)
    data = _blank(config)
    outer, peak, operations = _outer(config, data, machine)
    judging = sum(
        _judging(config, data, laid.study.evaluations[name], networks[name], machine, laid.preset.profile)
        for name in laid.cell.evaluations
    )
    return Cost(outer=outer, experts=_experts(config, data, machine), judging=judging, peak=peak, operations=operations)


def _outer(config: CondenseConfig, data: Blank, machine: Machine) -> tuple[float | None, float | None, float]:
    """Seconds, peak bytes and operations of the outer steps."""
    network = machine.network(config.architecture, len(data.classes), data.image_shape)
    method: Any = METHODS.get(config.method)
    work = method.outer_work(config.settings, network, data, config.seen_ipc)
    if work is None:
        return 0.0, None, 0.0
    step = machine.step(config.architecture, len(data.classes), data.image_shape, work.batch)
    seconds = work.steps * work.seconds(step)
    if not method.matches_trajectories:
        flops, kept = forward_cost(network, data.image_shape)
        images = config.settings.images_a_step(len(data.classes), config.seen_ipc)
        return seconds, TAPE * kept * min(images, 2 * work.batch), 3 * flops * images * work.steps
    choice, inner = config.settings.choose_engine(network, data.image_shape, config.seen_ipc * len(data.classes))
    return seconds, _peak(choice, inner, network), inner.total


def _peak(choice: EngineChoice, work: InnerWork, network: nn.Module) -> float:
    """Bytes of one outer step: the tape of the window, or of one step and θ of every step of the window."""
    if choice.engine == "higher":
        return work.tape
    parameters = float(sum(each.nbytes for each in network.parameters()))
    return TAPE * min(work.batch, choice.at_once or work.batch) * work.activation_bytes + work.window * parameters


def _experts(config: CondenseConfig, data: Blank, machine: Machine) -> float | None:
    """Seconds of training all experts of one seed; 0 for a method without, None if the images are not counted."""
    epochs = METHODS.get(config.method).expert_epochs(config.settings)
    if epochs is None:
        return 0.0
    if config.dataset not in TRAINING and not CATALOGUE.get(config.dataset).embedded:
        return None
    batch = min(config.experts.batch_size, len(data.train))
    step = machine.step(config.architecture, len(data.classes), data.image_shape, batch)
    twice = 1 if config.experts.flat is None else 2  # flat experts take two gradients
    return twice * config.experts.count * epochs * len(data.train) / batch * step


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


def peak_of(laid: Laid, machine: Machine) -> float | None:
    """Peak bytes of an outer step above the loaded process; None if it cannot be foreseen."""
    assert laid.preset is not None
    config = laid.preset.config
    return _outer(config, _blank(config), machine)[1] if config.dataset in CATALOGUE else None


def _blank(config: CondenseConfig) -> Blank:
    return Blank(config.dataset, config.image_size or CATALOGUE.get(config.dataset).image_size)
