"""What a study would take: its cells, what is there, time and memory foreseen, and what cannot run here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from evaluation import recipe_for
from registry import Registry
from satm.canonical import digest
from satm.config import to_dict
from satm.data.catalogue import CATALOGUE
from satm.engine import InnerWork
from satm.engine.choice import TAPE, EngineChoice
from satm.machine.cost import forward_cost
from satm.machine.device import resolve_device
from satm.machine.ram import total_memory
from satm.methods import METHODS
from satm.networks import plan as plan_network
from satm.presets import CondenseConfig
from satm.progress import SILENT, Progress, spell_seconds
from satm.report.tables import render
from satm.rng import Seed
from satm.studies import Evaluation
from satm.workflow.reproduce.laid import Laid, parse_only, seeds_of
from satm.workflow.reproduce.run import Asked, Layout, layouts, networks_of
from satm.workflow.reproduce.stored import Stored, is_judged, stream_size

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
    size = config.image_size or CATALOGUE.get(config.dataset).image_size
    data = Blank(config.dataset, size)
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
    work = method.outer_work(config.settings, network, data, config.ipc)
    if work is None:
        return 0.0, None, 0.0
    step = machine.step(config.architecture, len(data.classes), data.image_shape, work.batch)
    seconds = work.steps * work.seconds(step)
    if not method.matches_trajectories:
        flops, kept = forward_cost(network, data.image_shape)
        images = config.settings.images_a_step(len(data.classes), config.ipc)
        return seconds, TAPE * kept * min(images, 2 * work.batch), 3 * flops * images * work.steps
    choice, inner = config.settings.choose_engine(network, data.image_shape, config.ipc * len(data.classes))
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
    images = config.ipc * len(data.classes)
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


def foresee(
    asked: Asked,
    *,
    registry: Path | str = "satm.db",
    device: str = "auto",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> str:
    """The cells of a study with what is stored, and time and memory of what is left, as text. Makes nothing.

    Raises as `reproduce`, except for what cannot run here: that is in the text.
    """
    found = layouts(asked, data_root=data_root)
    machine = Machine(resolve_device(device))
    with _opened(Path(registry)) as stored:
        parts = [_foreseen(each, asked, machine, stored, progress) for each in found if each.asked]
    return "\n\n".join(parts)


@contextmanager
def _opened(registry: Path) -> Iterator[Stored | None]:
    """What the registry holds; None if there is none yet."""
    if not registry.exists():
        yield None
        return
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        yield Stored(store)


def _foreseen(layout: Layout, asked: Asked, machine: Machine, stored: Stored | None, progress: Progress) -> str:
    """The table of one study, and its sums."""
    study, only = layout.study, parse_only(asked.only)
    networks = {name: networks_of(study, name, asked) for name in study.evaluations}
    rows: list[tuple[str, ...]] = []
    total = Total()
    with progress.bar(study.name, len(layout.asked)) as bar:
        for laid in layout.asked:
            bar.advance(1)
            seeds = list(seeds_of(laid, only))
            cell = (str(laid.cell.condition), laid.cell.name, ", ".join(laid.cell.evaluations) or "–")
            if laid.preset is None:
                rows.append((*cell, "", f"0/{len(seeds)}", "", "", "", f"cannot run here: {laid.obstacle}"))
                total.missing += len(seeds)
                continue
            done, judged = _there(laid, seeds, networks, stored)
            cost = cost_of(laid, machine, networks)
            left = total.add(laid, cost, missing=len(seeds) - done, unjudged=len(seeds) - judged)
            note = _note(laid, cost, machine)
            rows.append(
                (
                    *(*cell, laid.preset.profile, f"{done}/{len(seeds)}", f"{judged}/{len(seeds)}"),
                    spell_seconds(left),
                    "" if cost.peak is None else f"{cost.peak / 1e9:.1f} GB",
                    note,
                )
            )
    columns = ("cell", "arm", "evaluations", "profile", "made", "judged", "left", "peak", "")
    return "\n".join([f"{study.name}: {study.head.title}", render(columns, rows, "table"), *total.lines()])


def _there(
    laid: Laid, seeds: Sequence[int], networks: Mapping[str, int | None], stored: Stored | None
) -> tuple[int, int]:
    """How many of the sets are stored, and how many of them are judged to the end."""
    if stored is None:
        return 0, 0
    records = [stored.record(laid.seeded(seed), seed) for seed in seeds]
    made = [record for record in records if record is not None]
    evaluations = laid.study.evaluations
    judged = sum(
        all(is_judged(stored.store, record, evaluations[name], networks[name]) for name in laid.cell.evaluations)
        for record in made
    )
    return len(made), judged


def _note(laid: Laid, cost: Cost, machine: Machine) -> str:
    memory = total_memory(machine.device)
    if laid.obstacle:
        return f"cannot run here: {laid.obstacle}"
    if cost.peak is not None and cost.peak > memory:
        return f"cannot run here: {cost.peak / 1e9:.0f} GB of {memory / 1e9:.0f} GB memory"
    return ""


@dataclass(kw_only=True)
class Total:
    """The sums of a study: seconds on this machine, operations at paper scale."""

    seconds: float = 0.0
    operations: float = 0.0
    missing: int = 0  # condensations that cannot run here
    experts: dict[str, float] = field(default_factory=dict)  # seconds, once for cells that share them

    def add(self, laid: Laid, cost: Cost, *, missing: int, unjudged: int) -> float:
        """Add what is left of one cell; its seconds without experts."""
        seconds = missing * (cost.outer or 0.0) + unjudged * cost.judging
        self.operations += missing * cost.operations
        if laid.obstacle:
            self.missing += missing
            return seconds
        self.seconds += seconds
        if missing and cost.experts and laid.preset is not None:
            config = laid.preset.config
            key = digest([config.dataset, config.architecture, config.zca, to_dict(config.experts)])
            self.experts[key] = max(self.experts.get(key, 0.0), missing * cost.experts)
        return seconds

    def lines(self) -> Iterator[str]:
        """The sums in words."""
        experts = sum(self.experts.values())
        yield (
            f"left: about {spell_seconds(self.seconds)} on this machine, and {spell_seconds(experts)} for experts "
            "that are not stored yet"
        )
        hours = self.operations / TABLE_6 / 3600
        yield (
            f"operations of the outer steps: {self.operations:.1e}, {hours:,.1f} hours of an A6000 at the speed of the "
            "paper's Table 6"
        )
        if self.missing:
            yield f"{self.missing} condensations cannot run here"
