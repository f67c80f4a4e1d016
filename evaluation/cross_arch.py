"""The cross-architecture matrix: every architecture trained on a set, several times, and judged on the test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from evaluation.learning_rate import choose_learning_rate, stated_learning_rate
from evaluation.recipe import Recipe
from evaluation.train import plan_training, raise_if_stopping, train_network, watching
from satm import networks
from satm.errors import Diverged, ShapeError
from satm.machine.fused import Compilation, Fused, Trained, how_trained
from satm.progress import SILENT, Bar, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.training import accuracy
from satm.types import Examples

if TYPE_CHECKING:
    from satm.data import ImageData, Split

Policy: TypeAlias = Literal["learned", "fixed", "grid on validation"]

CHOOSING = -1  # the "repeat" whose examples a learning rate is chosen on


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """One trained network's test accuracy, with what it takes to train it again."""

    architecture: str  # canonical name
    repeat: int
    accuracy: float  # fraction in 0..1 of the test images
    learning_rate: float
    policy: Policy  # where the learning rate came from
    adaptation: Mapping[str, Any]  # what the network does to its input; {} for nothing
    seed: int  # 63 bits, the network's own
    seconds: float  # training and test
    training: Trained = "eager"  # they agree but for round-off


def evaluate(
    examples: Examples | Callable[[int], Examples],
    data: ImageData,
    architectures: Sequence[str],
    recipe: Recipe,
    *,
    seed: Seed,
    repeats: int | None = None,
    learning_rate: Literal["learned", "grid"] | float | None = None,
    chosen: Mapping[str, float] | None = None,
    device: torch.device | str = "cpu",
    compilation: Compilation = "auto",
    progress: Progress = SILENT,
    skip: Collection[tuple[str, int]] = (),
    shared: dict[tuple[str, int], Fused | None] | None = None,
    on_result: Callable[[EvaluationResult], None] | None = None,
) -> list[EvaluationResult]:
    """Train `repeats` networks (the recipe's number by default) of each architecture on `examples` and test each.

    `examples` may be a function of the repeat, for a memory that is drawn anew each time (random real images); it is
    asked for repeat `CHOOSING` too when a learning rate has to be chosen. A synthetic set is judged on images in its
    own preprocessing.

    `learning_rate` overrides the recipe's: the set's own step size ("learned"), the best of the recipe's grid on the
    validation split ("grid", once an architecture; "learned" falls back to it where a set has no step size), or a
    number. `compilation` says whether training is compiled (`satm.machine.fused`); calls that are handed the same
    `shared` (and the same recipe, images and classes) share the code. `chosen` holds what an
    earlier session chose from the grid, by architecture.

    Results come by architecture, then repeat, without the (architecture, repeat) pairs in `skip`; each goes to
    `on_result` as soon as it is there. A network depends on `seed`, its architecture and its repeat alone, so stopping
    (Interrupted), skipping and reordering change no number. Raises UnknownName and ConfigError for an architecture
    before anything is trained, ShapeError for a set of another size, and Diverged at the end, when the other networks
    are done, if some network's loss was not finite.
    """
    matrix = _Matrix(
        draw=examples if callable(examples) else lambda _: examples,
        data=data,
        recipe=recipe,
        policy=recipe.learning_rate if learning_rate is None else learning_rate,
        seed=seed,
        device=device,
        compilation=compilation,
        progress=progress,
        chosen=dict(chosen or {}),
        fused={} if shared is None else shared,
    )
    repeats = recipe.repeats if repeats is None else repeats
    plans = [networks.plan(name, num_classes=len(data.classes), image_shape=data.image_shape) for name in architectures]
    results, diverged = [], []
    for plan in {plan.name: plan for plan in plans}.values():
        todo = [repeat for repeat in range(repeats) if (plan.name, repeat) not in skip]
        done = (repeats - len(todo)) * recipe.epochs
        with matrix.progress.bar(plan.name, repeats * recipe.epochs, done=done) as bar:
            for repeat in todo:
                raise_if_stopping(matrix.progress)
                try:
                    result = matrix.cell(plan, repeat, bar)
                except Diverged as error:
                    diverged.append(f"{plan.name} (repeat {repeat}: {error})")
                    continue
                results.append(result)
                if on_result is not None:
                    on_result(result)
    if diverged:
        raise Diverged(
            f"no accuracy for {', '.join(diverged)}; choose the learning rate on validation (grid) or state it"
        )
    return results


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matrix:
    """What the networks of one evaluation have in common."""

    draw: Callable[[int], Examples]
    data: ImageData
    recipe: Recipe
    policy: Literal["learned", "grid"] | float
    seed: Seed
    device: torch.device | str
    compilation: Compilation
    progress: Progress
    chosen: dict[str, float] = field(default_factory=dict)  # from the grid, by architecture; grows
    fused: dict[tuple[str, int], Fused | None]  # by architecture and number of examples; grows

    def cell(self, plan: networks.NetworkPlan, repeat: int, bar: Bar) -> EvaluationResult:
        """Train and test one network."""
        start = time.perf_counter()
        examples = self._examples(repeat)
        fused = self._fused(plan, examples)
        rate, policy = self._learning_rate(plan, examples)
        own = self.seed.child("eval", plan.name, repeat)
        network = train_network(
            examples,
            plan,
            self.recipe,
            learning_rate=rate,
            seed=own,
            device=self.device,
            fused=fused,
            on_epoch=watching(self.progress, bar),
        )
        return EvaluationResult(
            architecture=plan.name,
            repeat=repeat,
            accuracy=accuracy(network, _judges(self.data.test, examples), fused=fused),
            learning_rate=rate,
            policy=policy,
            adaptation=plan.adaptation,
            seed=own.value,
            seconds=time.perf_counter() - start,
            training=how_trained(fused),
        )

    def _fused(self, plan: networks.NetworkPlan, examples: Examples) -> Fused | None:
        key = plan.name, len(examples)
        if key not in self.fused:
            self.fused[key] = plan_training(
                examples,
                plan,
                self.recipe,
                device=self.device,
                compilation=self.compilation,
                progress=self.progress,
            )
        return self.fused[key]

    def _learning_rate(self, plan: networks.NetworkPlan, examples: Examples) -> tuple[float, Policy]:
        stated = stated_learning_rate(self.policy, examples)
        if stated is not None:
            return stated
        if plan.name not in self.chosen:
            drawn = self._examples(CHOOSING)
            self.chosen[plan.name], _ = choose_learning_rate(
                drawn,
                _judges(self.data.validation, drawn),
                plan,
                self.recipe,
                seed=self.seed.child("eval", plan.name, "learning rate"),
                device=self.device,
                fused=self._fused(plan, drawn),
                progress=self.progress,
            )
        return self.chosen[plan.name], "grid on validation"

    def _examples(self, repeat: int) -> Examples:
        examples = self.draw(repeat)
        if not isinstance(examples, SyntheticSet):
            return examples
        if examples.image_shape != self.data.image_shape or len(examples.classes) != len(self.data.classes):
            raise ShapeError(
                f"a set of {len(examples.classes)} classes and images {examples.image_shape}, to be judged on "
                f"{self.data.name}: {len(self.data.classes)} classes and images {self.data.image_shape}"
            )
        return examples.to(self.device)


def _judges(split: Split, examples: Examples) -> Split:
    """The images of `split` in the space of `examples`: a set condensed in another one is not judged in this."""
    if not isinstance(examples, SyntheticSet) or examples.preprocessing == split.preprocessing:
        return split
    return split.with_preprocessing(examples.preprocessing)
