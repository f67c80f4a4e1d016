"""Predicts the time and memory of a condensation and of the evaluations of its set, without reading the data set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from evaluation import Recipe, recipe_for
from protocols.base import PROTOCOLS
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
from satm.workflow.teachers import chosen_labels, resolved

TRAINING = {"cifar10": 50_000, "cifar100": 50_000, "tiny-imagenet": 100_000, "imagenet-1k": 1_281_167} | dict.fromkeys(
    ("imagenette", "imagewoof", "imagefruit", "imagemeow"), 13_000
)
"""The number of training images of some data sets, by name. With it, the cost of a study can be predicted on a machine
that does not have the data set."""

TABLE_6 = 100 * 101.2e6 * (3 * 50 + 8 * 50) / 12.1
"""The speed of the paper's GPU, an A6000, in floating-point operations per second.

In the paper's Table 6, an outer step of MTT takes 12.1 s. It has 50 inner steps of 100 images, and all of them are
differentiated. The ConvNet's forward pass takes 101.2 million operations an image. The gradient of a step takes 3
forward passes, and differentiating a step takes 8 (`InnerWork.total`).
"""
TIMED = 64  # the batch size of the training step that is timed


@dataclass(frozen=True, kw_only=True)
class Outer:
    """The predicted cost of all outer steps of one condensation."""

    seconds: float | None  # None: the time cannot be predicted
    peak: float | None  # the largest use of memory in bytes, above that of the loaded process; None: not predictable
    operations: float  # floating-point operations


UNKNOWN = Outer(seconds=None, peak=None, operations=0.0)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The predicted cost of one condensation and of the evaluations of its set."""

    outer: Outer
    epochs: int  # the number of epochs that each expert must be trained for; 0: the method uses no experts
    epoch_seconds: float  # seconds of one epoch of one expert; 0 if this cannot be predicted
    judging: Mapping[str, float]  # seconds of each evaluation; the keys are the names of the evaluations


@dataclass(frozen=True)
class Machine:
    """Predicts the time of a training step on this machine.

    The time is the number of operations of the step, divided by the speed that was measured on a small ConvNet.
    """

    device: torch.device
    # Caches. Networks and costs have the key (architecture, number of classes, image shape). Outer steps have a hash of
    # the configuration as key, because several studies use the same configuration.
    _costs: dict[tuple[object, ...], tuple[float, int]] = field(default_factory=dict)
    _networks: dict[tuple[object, ...], nn.Module] = field(default_factory=dict)
    _outer: dict[str, Outer] = field(default_factory=dict)

    @cached_property
    def speed(self) -> float:
        """The measured speed, in floating-point operations per second, of a training step of a ConvNet of width 32.

        It is measured once, as the fastest of four steps on random images.
        """
        shape = (3, 32, 32)
        network = self.network("convnet3_w32", 10, shape)
        images = torch.randn((TIMED, *shape), generator=Seed(0).child("timing").generator()).to(self.device)
        labels = torch.arange(TIMED, device=self.device) % 10
        taken = []
        for _ in range(4):
            started = time.perf_counter()
            loss = functional.cross_entropy(network(images), labels)
            loss.backward()
            loss.item()  # waits until a GPU has finished the step
            taken.append(time.perf_counter() - started)
        return 3 * TIMED * forward_cost(network, shape)[0] / min(taken)

    def step(self, architecture: str, classes: int, shape: tuple[int, int, int], batch: int) -> float:
        """The predicted seconds of a training step on `batch` images of shape (C, H, W).

        A training step has three times the operations of its forward pass.
        """
        return 3 * batch * self.forward(architecture, classes, shape)[0] / self.speed

    def forward(self, architecture: str, classes: int, shape: tuple[int, int, int]) -> tuple[float, int]:
        """The cost of a forward pass of one image: (floating-point operations, bytes saved for the backward pass)."""
        key = (architecture, classes, shape)
        if key not in self._costs:
            self._costs[key] = forward_cost(self.network(architecture, classes, shape), shape)
        return self._costs[key]

    def network(self, architecture: str, classes: int, shape: tuple[int, int, int]) -> nn.Module:
        """A network of this architecture on the device. Calls with the same arguments return the same object."""
        key = (architecture, classes, shape)
        if key not in self._networks:
            made = plan_network(architecture, num_classes=classes, image_shape=shape)
            self._networks[key] = made.create(Seed(0).child("timing")).to(self.device)
        return self._networks[key]

    def work_of(self, config: CondenseConfig) -> Outer:
        """The predicted cost of the outer steps of a condensation."""
        if config.dataset not in CATALOGUE:  # a folder of the user: its classes are not known until it is read
            return UNKNOWN
        key = digest({**config.to_dict(), "experts": None})
        if key not in self._outer:
            self._outer[key] = _outer(config, _blank(config), self)
        return self._outer[key]


@dataclass(frozen=True)
class Blank:
    """Replaces a real data set in cost predictions: it has the classes, the shape and the number of images only."""

    dataset: str
    size: int  # the height and the width of its images, in pixels

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
        """A range whose length is the number of training images; 2,000 if the number is not in `TRAINING`."""
        return range(TRAINING.get(self.dataset, 2_000))


def cost_of(laid: Laid, machine: Machine, networks: Mapping[str, int | None]) -> Cost:
    """The predicted cost, on this machine, of one condensation of a cell and of the evaluations of its set.

    It is a rough prediction, by the same rule as in `satm plan`: the time grows linearly with the number of inner steps
    and with the number of differentiated inner steps. The memory grows linearly with the window, which is the number of
    inner steps that are differentiated at once.

    `networks` has the number of networks of each evaluation, by the evaluation's name; None is the recipe's number.
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
    """The bytes that one outer step needs.

    Engine `higher` keeps the tape of the whole window (the values that autograd saves). The other engines keep the tape
    of one inner step, parameter vectors θ of every step of the window, and the activations that steps keep.
    """
    if choice.engine == "higher":
        return work.tape
    parameters = float(sum(each.nbytes for each in network.parameters()))
    tape = TAPE * min(work.batch, choice.at_once or work.batch) * work.activation_bytes
    return tape + work.kept * work.window * parameters + choice.kept_steps * work.kept_activations


def _epoch(config: CondenseConfig, data: Blank, machine: Machine) -> float:
    """The predicted seconds of one epoch of one expert; 0 if the number of training images is not known."""
    if config.dataset not in TRAINING and not CATALOGUE.get(config.dataset).embedded:
        return 0.0
    batch = min(config.experts.batch_size, len(data.train))
    step = machine.step(config.architecture, len(data.classes), data.image_shape, batch)
    twice = 1 if config.experts.flat is None else 2  # flat experts (of FTD) compute two gradients in each step
    return twice * len(data.train) / batch * step


def _judging(
    config: CondenseConfig, data: Blank, evaluation: Evaluation, networks: int | None, machine: Machine, profile: str
) -> float:
    """The predicted seconds of one evaluation of one set.

    `networks` is the number of networks; None: the recipe's number. `profile` decides the size of a stream. The time
    includes the networks that are only trained to choose a learning rate.
    """
    recipe = recipe_for(evaluation.recipe or config.recipe, config.dataset)
    images = config.seen_ipc * len(data.classes)
    labels = chosen_labels(evaluation.labels, recipe)
    seconds = 0.0
    for name in evaluation.architectures or (config.architecture,):
        epoch = machine.step(name, len(data.classes), data.image_shape, images)
        if labels is not None:  # the teacher's forward pass; its training is not predicted
            teacher = resolved(labels.teacher, config.architecture, config.dataset).architecture
            epoch += machine.step(teacher or name, len(data.classes), data.image_shape, images) / 3
        if evaluation.incremental:
            orders, each = stream_size(evaluation, profile)
            # The memory grows with the steps: after step k of S it has k/S of the images. The training of all steps
            # therefore takes as long as (S + 1) / 2 trainings on the whole set.
            count = orders * each * ((evaluation.steps or 1) + 1) / 2
        else:
            count = networks or recipe.repeats
        chosen = len(recipe.grid) * recipe.rate_networks if _by_grid(config, recipe, evaluation) else 0
        seconds += (count + chosen) * recipe.epochs * epoch
    return seconds


def _by_grid(config: CondenseConfig, recipe: Recipe, evaluation: Evaluation) -> bool:
    """Whether the learning rate of an evaluation is chosen from a grid, by networks that are trained for each rate.

    Only methods that match trajectories learn a step size for evaluations. The sets of other methods use the grid.
    """
    if evaluation.incremental and PROTOCOLS.get(evaluation.protocol).trains_itself:
        return False  # such a protocol has a learning rate of its own
    policy = recipe.learning_rate if evaluation.rate == "own" else evaluation.rate
    return policy == "grid" or (policy == "learned" and not METHODS.get(config.method).matches_trajectories)


def too_large(peak: float | None, machine: Machine) -> str:
    """The reason why a condensation does not fit the machine's memory; "" if it fits.

    `peak` is the number of bytes that the condensation needs. If this number is not known, `peak` is None, and the
    result is "".
    """
    memory = total_memory(machine.device)
    if peak is None or peak <= memory:
        return ""
    return (
        f"an outer step takes about {peak / 1e9:,.0f} GB of memory, and this machine has {memory / 1e9:,.0f} GB; give "
        "a smaller --profile, or another --device"
    )


def _blank(config: CondenseConfig) -> Blank:
    return Blank(config.dataset, config.image_size or CATALOGUE.get(config.dataset).image_size)
