"""Trains networks of one or several architectures on the same images, several times each, and tests them."""

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
"""The source of a learning rate: the step size of the set, a number given by the user, or the best of a grid."""

CHOOSING = -1
"""The number that stands for a repeat if examples are drawn only to choose the learning rate on them: the first of
several draws. The others have the numbers below it: -2, -3 …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """The metrics of one trained network on the test images, and everything that is needed to train it again.

    A network whose loss was not finite has one metric, `diverged`, which is 1.
    """

    architecture: str  # canonical name
    repeat: int  # counted from 0
    metrics: Mapping[str, float]  # of every metric in `METRICS` that could be computed, by name
    learning_rate: float
    policy: RateSource  # the source of the learning rate
    adaptation: Mapping[str, Any]  # how the network was fitted to the images; {} if it takes them as they are
    seed: int  # 63 bits, of this network
    seconds: float  # duration of training and test
    training: Trained = "eager"  # compiled or not; the results differ in round-off only
    choice: RateChoice | None = None  # how the rate was chosen, if it was
    predicted: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """[n] int64, the class with the largest logit of each test image (of a tie the first); None if it diverged."""

    @property
    def accuracy(self) -> float:
        """Fraction in 0..1 of the test images; NaN if the network diverged."""
        return self.metrics.get("accuracy", math.nan)

    @property
    def diverged(self) -> bool:
        """Whether the loss was not finite, so that there is no network to test."""
        return DIVERGED in self.metrics


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The results of earlier sessions of the same evaluation."""

    trained: Collection[tuple[str, int]] = ()  # (architecture, repeat) of networks that need no training
    learning_rates: Mapping[str, RateChoice] = field(default_factory=dict)  # chosen from the grid, by architecture


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
    """Train `repeats` (or the recipe's) networks of each architecture on `examples`; every metric on the test images.

    Args:
        examples: the images to train on. If each repeat draws its own (random real images), a function from the number
            of a repeat to its images; to choose a learning rate, `rate_networks` numbers from `CHOOSING` down.
        data: test and validation images. For a synthetic set they are converted to its preprocessing.
        architectures: names, as `satm.networks.plan` takes them.
        recipe: how each network is trained, the policy of the learning rate, and `repeats` if that is None here.
        seed: a network depends only on it, its architecture and its repeat. Stopping and reordering change no number.
        trainer: the device and the compiled code, which several calls may share; the CPU by default.
        teacher: labels the batches of a recipe that has its labels from one.
        earlier: networks that are not trained again, and learning rates that are not chosen again.
        on_result: called with each result as soon as it is known.
        on_network: called after that with each network that did not diverge, for further tests.

    Returns the new results, by architecture, then repeat. Before anything is trained, raises UnknownName or ConfigError
    for an architecture or a teacher, and PluginError for a metric that cannot be loaded. Later raises PluginError for a
    metric that fails, after `on_result` has the other ones; ShapeError for a set that does not fit `data`; Interrupted;
    and, after all others, Diverged if networks diverge at every rate of a grid. One that diverges alone is a result.
    """
    evaluation = _Evaluation(
        draw=examples if callable(examples) else lambda _: examples,
        data=data,
        recipe=recipe,
        metrics=tuple(METRICS.get(name) for name in METRICS),  # loads them now, so a broken one is noticed first
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
            except Diverged as error:  # at every rate of the grid: there is none for the other repeats either
                hopeless.append(str(error))
    if hopeless:
        raise Diverged("; ".join(hopeless))
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluation:
    """The inputs that all networks of one evaluation share."""

    draw: Callable[[int], Examples]  # from the number of a repeat to its examples
    data: ImageData
    recipe: Recipe
    metrics: Sequence[Metric]
    seed: Seed
    trainer: Trainer
    teacher: Teacher | None
    chosen: dict[str, RateChoice]  # learning rates chosen from the grid so far, by architecture
    on_result: Callable[[EvaluationResult], None] | None
    on_network: Callable[[EvaluationResult, nn.Module], None] | None

    def network(self, plan: NetworkPlan, repeat: int, bar: Bar) -> EvaluationResult:
        """Train and test one network, and give its result to `on_result`.

        Raises PluginError after that if the metric of another package failed. Raises Diverged only for a grid without a
        rate that works.
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
        """Train one network; its logits [n, K] on the test images, and their classes [n]. None if it diverges."""
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
        """The metrics that can be computed, and the error of the first one that cannot."""
        values: dict[str, float] = {}
        broken: PluginError | None = None
        for metric in self.metrics:
            try:
                values[metric.name] = value_of(metric, logits, targets)
            except PluginError as error:
                broken = broken or error
        return values, broken

    def _learning_rate(self, plan: NetworkPlan, examples: Examples) -> tuple[float, RateSource]:
        """The learning rate of a network and its source. It is chosen from the grid once for each architecture."""
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
        """The examples of a repeat. Raises ShapeError if they are a set that does not fit the data."""
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
    """`split` in the preprocessing of `examples`, because a network is tested in the space that it was trained in."""
    if not isinstance(examples, SyntheticSet) or examples.preprocessing == split.preprocessing:
        return split
    return split.with_preprocessing(examples.preprocessing)


def value_of(metric: Metric, logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The metric as a float. Raises PluginError if the function of another package's metric fails."""
    try:
        return float(metric.of(logits, targets))
    except Exception as error:  # another package's function may raise anything
        raise PluginError(
            f"metric '{metric.name}' of {METRICS.owner(metric.name)} failed ({type(error).__name__}: {error}); repair "
            "or uninstall that package"
        ) from error
