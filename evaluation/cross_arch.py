"""Trains networks of one or several architectures on the same images and tests them.

Several networks of each architecture are trained. They are called repeats, and they differ only in their seeds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import nn

from evaluation.learning_rate import RateChoice, choose_learning_rate, stated_learning_rate
from evaluation.metrics import DIVERGED, METRICS, Metric
from evaluation.recipe import Recipe
from evaluation.train import raise_if_stopping, train_network, watching
from evaluation.trainer import Trainer
from satm import networks
from satm.errors import Diverged, PluginError, ShapeError
from satm.machine.fused import Trained, how_trained
from satm.networks import NetworkPlan
from satm.progress import Bar
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.teachers import Teacher
from satm.training import predictions
from satm.types import Examples

if TYPE_CHECKING:
    from satm.data import ImageData, Split

RateSource: TypeAlias = Literal["learned", "fixed", "grid on validation"]
"""The source of a learning rate: "learned" is the step size of the set, and "fixed" a number that the recipe or the
user gives. With "grid on validation", several rates (the grid) were tried, and the one with the best mean accuracy on
the validation images was chosen."""

CHOOSING = -1
"""Repeats have the numbers 0, 1, 2 … Random images that are drawn only to choose a learning rate belong to no repeat.
Their first draw has this number in place of a repeat's number, and further draws have -2, -3 …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """The metrics of one trained network on the test images, and how it was trained, for example its seed.

    If the loss of a network was not finite in training, the network has only one metric, `diverged`, with the value 1.
    """

    architecture: str  # the canonical name of the architecture
    repeat: int  # the number of the repeat, counted from 0
    metrics: Mapping[str, float]  # the value of every metric in `METRICS` that could be computed, by name
    learning_rate: float
    policy: RateSource  # the source of the learning rate
    adaptation: Mapping[str, Any]  # how the network was changed to fit the images; {} if nothing was changed
    seed: int  # the seed of this network, 63 bits
    seconds: float  # the duration of training and test
    training: Trained = "eager"  # whether the training code was compiled; the results differ only by round-off
    choice: RateChoice | None = None  # how the learning rate was chosen from a grid; None if it was not
    predicted: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """[n] int64, the predicted class of each test image. It is the class with the largest logit, or the first of
    several such classes. None if the network diverged."""

    @property
    def accuracy(self) -> float:
        """The fraction (0..1) of the test images that are classified correctly; NaN if the network diverged."""
        return self.metrics.get("accuracy", math.nan)

    @property
    def diverged(self) -> bool:
        """Whether the loss was not finite in training. Such a network is not tested."""
        return DIVERGED in self.metrics


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What earlier, interrupted sessions of the same evaluation have finished."""

    trained: Collection[tuple[str, int]] = ()  # (architecture, repeat) of each network that is trained already
    # The learning rates that were chosen from the grid, by architecture.
    learning_rates: Mapping[str, RateChoice] = field(default_factory=dict)


def evaluate(
    examples: Examples | Callable[[int], Examples],
    data: ImageData,
    architectures: Sequence[str],
    recipe: Recipe,
    *,
    seed: Seed,
    repeats: int | None = None,
    trainer: Trainer | None = None,
    teacher: Teacher | None = None,
    earlier: Earlier | None = None,
    on_result: Callable[[EvaluationResult], None] | None = None,
    on_network: Callable[[EvaluationResult, nn.Module], None] | None = None,
) -> list[EvaluationResult]:
    """Train several networks of each architecture on `examples`, and compute every metric on the test images.

    Args:
        examples: the images to train on. If every repeat needs its own random real images, this is a function from the
            number of a repeat to its images. To choose a learning rate, the function is called once for each of the
            `recipe.rate_networks` networks, with the numbers `CHOOSING`, `CHOOSING` − 1, …
        data: the test and validation images. If the networks are trained on a synthetic set, these images are converted
            to the preprocessing of the set.
        architectures: names that `satm.networks.plan` accepts.
        recipe: how each network is trained, and how its learning rate is found.
        seed: the seed of the evaluation. A network depends only on this seed, its architecture and its repeat. So an
            interruption or another order of the architectures does not change the results.
        repeats: the number of networks of each architecture; None: the number of the recipe.
        trainer: the device and the compiled code, which several calls may share. The default is a trainer on the CPU.
        teacher: the network that labels the training batches, if the recipe has its labels from a teacher.
        earlier: networks that are not trained again, and learning rates that are not chosen again.
        on_result: called with each result as soon as it is known.
        on_network: called after `on_result` with each result and its network, for further tests. It is not called for a
            network that diverged.

    Returns the new results, ordered by architecture and then by repeat. One network that diverges is a normal result.

    Before anything is trained, raises UnknownName or ConfigError for a wrong architecture or teacher, and PluginError
    for a metric that cannot be loaded. During the training, raises ShapeError for a set that does not fit `data`, and
    Interrupted if the user asks to stop. Raises PluginError if a metric fails, after `on_result` was called with the
    other metrics of the network. Raises Diverged if all networks of an architecture diverge at every learning rate of
    the grid, after all other architectures are finished.
    """
    evaluation = _Evaluation(
        draw=examples if callable(examples) else lambda _: examples,
        data=data,
        recipe=recipe,
        metrics=tuple(METRICS.get(name) for name in METRICS),  # loaded before any training, to find a broken one early
        seed=seed,
        trainer=trainer or Trainer(),
        teacher=teacher,
        chosen=dict(earlier.learning_rates if earlier else {}),
        on_result=on_result,
        on_network=on_network,
    )
    recipe.check_teacher(teacher, data.num_classes, data.image_shape)
    plans = {plan.name: plan for plan in (networks.plan_for(name, data) for name in architectures)}
    results, hopeless = list[EvaluationResult](), list[str]()
    count = recipe.repeats if repeats is None else repeats
    for plan in plans.values():
        todo = [repeat for repeat in range(count) if earlier is None or (plan.name, repeat) not in earlier.trained]
        done = (count - len(todo)) * recipe.epochs
        with evaluation.trainer.progress.bar(plan.name, count * recipe.epochs, done=done) as bar:
            try:
                for repeat in todo:
                    raise_if_stopping(evaluation.trainer.progress)
                    results.append(evaluation.network(plan, repeat, bar))
            except Diverged as error:  # no rate of the grid works, so the other repeats have no learning rate either
                hopeless.append(str(error))
    if hopeless:
        raise Diverged("; ".join(hopeless))
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluation:
    """The inputs that all networks of one evaluation share."""

    draw: Callable[[int], Examples]  # (number of a repeat) → the examples to train on
    data: ImageData
    recipe: Recipe
    metrics: Sequence[Metric]
    seed: Seed
    trainer: Trainer
    teacher: Teacher | None
    chosen: dict[str, RateChoice]  # the learning rates that were chosen from the grid so far, by architecture
    on_result: Callable[[EvaluationResult], None] | None
    on_network: Callable[[EvaluationResult, nn.Module], None] | None

    def network(self, plan: NetworkPlan, repeat: int, bar: Bar) -> EvaluationResult:
        """Train and test one network, call `on_result` and `on_network`, and return the result.

        If a metric failed, raises PluginError after these calls. A network that diverges is a normal result. Raises
        Diverged only if the network diverges at every learning rate of the grid, so that no rate can be chosen.
        """
        start = time.perf_counter()
        examples = self._examples(repeat)
        fused = self.trainer.compiled(examples, plan, self.recipe)
        rate, policy = self._learning_rate(plan, examples)
        own = self.seed.child("eval", plan.name, repeat)
        network, logits, targets = self._tested(plan, examples, rate, own, bar)
        metrics, broken = ({DIVERGED: 1.0}, None) if network is None else self._metrics(logits, targets)
        if DIVERGED in metrics:
            self.trainer.progress.say(
                f"{plan.name} (repeat {repeat}) diverged at learning rate {rate:g} ({policy}) and is stored as diverged"
            )
        result = EvaluationResult(
            architecture=plan.name,
            repeat=repeat,
            metrics=metrics,
            learning_rate=rate,
            policy=policy,
            adaptation=plan.adaptation,
            seed=own.value,
            seconds=time.perf_counter() - start,
            training=how_trained(fused),
            choice=self.chosen.get(plan.name) if policy == "grid on validation" else None,
            predicted=None if network is None else logits.argmax(1),
        )
        if self.on_result is not None:
            self.on_result(result)
        if self.on_network is not None and network is not None:
            self.on_network(result, network)
        if broken is not None:
            raise broken
        return result

    def _tested(
        self, plan: NetworkPlan, examples: Examples, rate: float, seed: Seed, bar: Bar
    ) -> tuple[nn.Module | None, torch.Tensor, torch.Tensor]:
        """Train one network, and predict the test images.

        Returns the network, its logits [n, K] and the classes [n] of the test images. If the network diverges, returns
        None and two empty tensors.
        """
        fused = self.trainer.compiled(examples, plan, self.recipe)
        try:
            network = train_network(
                examples,
                plan,
                self.recipe,
                learning_rate=rate,
                seed=seed,
                device=self.trainer.device,
                teacher=self.teacher,
                fused=fused,
                on_epoch=watching(self.trainer.progress, bar),
            )
        except Diverged:
            return None, torch.empty(0), torch.empty(0)
        return network, *predictions(network, _in_space_of(examples, self.data.test), fused=fused)

    def _metrics(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[dict[str, float], PluginError | None]:
        """The values of all metrics that can be computed, and the error of the first metric that fails (or None)."""
        values: dict[str, float] = {}
        broken: PluginError | None = None
        for metric in self.metrics:
            try:
                values[metric.name] = value_of(metric, logits, targets)
            except PluginError as error:
                broken = broken or error
        return values, broken

    def _learning_rate(self, plan: NetworkPlan, examples: Examples) -> tuple[float, RateSource]:
        """The learning rate of a network and its source. A choice from the grid is made once for each architecture."""
        stated = stated_learning_rate(self.recipe.on(plan.name).learning_rate, examples)
        if stated is not None:
            return stated
        if plan.name not in self.chosen:
            drawn = [self._examples(CHOOSING - number) for number in range(self.recipe.rate_networks)]
            self.chosen[plan.name] = choose_learning_rate(
                drawn,
                _in_space_of(drawn[0], self.data.validation),
                plan,
                self.recipe,
                seed=self.seed.child("eval", plan.name, "learning rate"),
                device=self.trainer.device,
                teacher=self.teacher,
                fused=self.trainer.compiled(drawn[0], plan, self.recipe),
                progress=self.trainer.progress,
            )
        return self.chosen[plan.name].rate, "grid on validation"

    def _examples(self, repeat: int) -> Examples:
        """The examples of a repeat, on the device of the trainer if they are a synthetic set.

        Raises ShapeError if they are a synthetic set that does not fit the data.
        """
        examples = self.draw(repeat)
        if not isinstance(examples, SyntheticSet):
            return examples
        if examples.image_shape != self.data.image_shape or len(examples.classes) != len(self.data.classes):
            raise ShapeError(
                f"a set of {len(examples.classes)} classes and images {examples.image_shape}, to be judged on "
                f"{self.data.name}: {len(self.data.classes)} classes and images {self.data.image_shape}"
            )
        return examples.to(self.trainer.device)


def _in_space_of(examples: Examples, split: Split) -> Split:
    """`split`, a part of the real data, with the preprocessing of `examples`, the images that a network is trained on.

    If `examples` is not a synthetic set, the two agree already.
    """
    if not isinstance(examples, SyntheticSet) or examples.preprocessing == split.preprocessing:
        return split
    return split.with_preprocessing(examples.preprocessing)


def value_of(metric: Metric, logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The value of the metric as a float. Raises PluginError if the metric's function fails."""
    try:
        return float(metric.of(logits, targets))
    except Exception as error:  # the metric may come from another package, and its function may raise any exception
        raise PluginError(
            f"metric '{metric.name}' of {METRICS.owner(metric.name)} failed ({type(error).__name__}: {error}); repair "
            "or uninstall that package"
        ) from error
