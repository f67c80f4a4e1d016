"""The validation curve of a condensation: its images are judged on the validation split while it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Protocol

import torch

from evaluation import Recipe, Trainer, check_batches, stated_learning_rate, train_network
from evaluation.recipes import FIELD, SHORT_GRID
from evaluation.train import watching
from satm.data import CATALOGUE, ImageData
from satm.errors import ConfigError, Diverged
from satm.methods import METHODS, Condensation, Outcome
from satm.networks import NetworkPlan, plan_for
from satm.presets import CondenseConfig
from satm.progress import Bar, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.training import accuracy
from satm.workflow.condense.job import BEST, Job

CURVE = "validation_accuracy"
"""The metric of a run: the mean of the networks, 0..1. `validation_accuracy.0` is that of the first network."""
ROOT = Seed(0).child("judging")  # network k starts alike at every point of every run, so two points are paired
STATE = "judging."  # the names of our tensors in a saved state begin so


def judging_recipe(*, networks: int = 3, epochs: int = 100) -> Recipe:
    """The small recipe that judges: the field's, with fewer epochs. Its `repeats` are the networks of one point.

    Raises ConfigError for a number below 1.
    """
    return Recipe(
        name="judging",
        summary=f"{epochs} epochs and {networks} networks: the validation curve of a condensation",
        scale="smoke",
        epochs=epochs,
        drop_at=(epochs // 2 + 1,) if epochs > 2 else (),
        grid=SHORT_GRID,
        repeats=networks,
        source=FIELD,
        departures=(f"{epochs} epochs for 1001 and {networks} networks for 5: it is repeated during one condensation",),
    )


RECIPE = judging_recipe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How often and how the images are judged during a condensation. It never changes the set that is made.

    A point of the curve is the validation accuracy of `recipe.repeats` networks that `recipe` trains on the images of
    that moment, at their step size α. Images without α are trained at every rate of the recipe's grid, and the rate
    with the best mean counts. A network that diverges counts as chance, 1/K. Raises ConfigError for a value out of
    its range.
    """

    every: int  # outer steps between two points; the end is always judged
    recipe: Recipe = RECIPE
    keep_best: bool = False  # also store the set of the point with the best mean, as `METHOD-best`

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"judged every {self.every} outer steps: expected 1 or more")

    def on(self, dataset: str) -> Judging:
        """The same with only those augmentations that suit the data set."""
        known = CATALOGUE.get(dataset).augment if dataset in CATALOGUE else None
        return replace(self, recipe=self.recipe.variant(augment=known))

    def check(self, config: CondenseConfig, data: ImageData) -> None:
        """Raise ConfigError if there is nothing to judge on, before anything is trained."""
        if not len(data.validation):
            raise ConfigError(
                f"{config.dataset} holds out no validation images (validation={config.validation:g}) to judge on; hold "
                "some out with --set validation=0.1"
            )
        check_batches(plan_for(config.architecture, data), self.recipe, examples=config.seen_ipc * len(data.classes))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_dict` is its inverse."""
        return {"every": self.every, "recipe": self.recipe.to_dict(), "keep_best": self.keep_best}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Judging:
        """The inverse of `to_dict`."""
        return cls(**{**values, "recipe": Recipe.from_dict(values["recipe"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of the curve."""

    step: int  # outer steps done
    accuracies: tuple[float, ...]  # of each network on the validation split, 0..1
    rate: float  # the learning rate of the networks
    diverged: int = 0  # networks that count as chance

    @property
    def mean(self) -> float:
        """The mean accuracy."""
        return fmean(self.accuracies)

    def metrics(self) -> dict[str, float]:
        """The metrics of the run, by name."""
        found = {CURVE: self.mean, "validation_rate": self.rate}
        found |= {f"{CURVE}.{k}": value for k, value in enumerate(self.accuracies)}
        return found | ({"validation_diverged": float(self.diverged)} if self.diverged else {})


class Watcher(Protocol):
    """Follows the curve while it grows, and may stop the run."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Stored with the run as `tuning`; JSON-able."""

    def judged(self, points: Sequence[Point]) -> str | None:
        """Called with the whole curve after each point. A text is the reason to stop the run now."""


class Judge:
    """Judges the images of one condensation, and keeps the curve and the best images."""

    def __init__(self, judging: Judging, job: Job, progress: Progress, watcher: Watcher | None = None) -> None:
        config = job.preset.config
        self.judging, self.watcher = judging, watcher
        self.points: list[Point] = []
        self.best: tuple[int, Outcome] | None = None  # outer steps done, and the images of that moment
        self._job, self._progress = job, progress
        self._plan: NetworkPlan = plan_for(config.architecture, job.data)
        compilation = METHODS.get(config.method).compilation(config.settings)
        self._trainer = Trainer(device=job.device, compilation=compilation, progress=progress)

    def due(self, condensation: Condensation) -> bool:
        """Whether the images of this moment are a point of the curve that is not there yet."""
        step = condensation.step
        if self.points and self.points[-1].step >= step:
            return False
        return step >= condensation.steps or (step > 0 and step % self.judging.every == 0)

    def judge(self, condensation: Condensation) -> Point:
        """Add a point to the curve. Raises Interrupted if the user asks to stop; then there is no new point."""
        outcome = condensation.result()
        point = self._point(condensation.step, self._job.describe(outcome))
        if self.judging.keep_best and point.mean > max((each.mean for each in self.points), default=-1.0):
            # A copy: the condensation may go on to change these very tensors.
            self.best = (point.step, outcome._replace(images=outcome.images.clone(), labels=outcome.labels.clone()))
        self.points.append(point)
        return point

    def reason_to_stop(self) -> str | None:
        """What the watcher says about the curve."""
        return None if self.watcher is None else self.watcher.judged(self.points)

    def _point(self, step: int, synthetic: SyntheticSet) -> Point:
        stated = stated_learning_rate(self.judging.recipe.learning_rate, synthetic)
        rates = self.judging.recipe.grid if stated is None else (stated[0],)
        total = len(rates) * self.judging.recipe.repeats * self.judging.recipe.epochs
        with self._progress.bar(f"judge after outer step {step}", total) as bar:
            points = [self._at_rate(step, rate, synthetic, bar) for rate in rates]
        return max(points, key=lambda point: point.mean)

    def _at_rate(self, step: int, rate: float, synthetic: SyntheticSet, bar: Bar) -> Point:
        recipe = self.judging.recipe
        found = [self._accuracy(rate, k, synthetic, bar) for k in range(recipe.repeats)]
        chance = 1 / self._job.data.num_classes
        return Point(
            step=step,
            rate=rate,
            accuracies=tuple(chance if value is None else value for value in found),
            diverged=found.count(None),
        )

    def _accuracy(self, rate: float, number: int, synthetic: SyntheticSet, bar: Bar) -> float | None:
        """The validation accuracy of network `number`; None if it diverges."""
        fused = self._trainer.compiled(synthetic, self._plan, self.judging.recipe)
        try:
            network = train_network(
                synthetic,
                self._plan,
                self.judging.recipe,
                learning_rate=rate,
                seed=ROOT.child("network", number),
                device=self._job.device,
                fused=fused,
                on_epoch=watching(self._progress, bar),
            )
        except Diverged:
            return None
        return accuracy(network, self._job.data.validation, fused=fused)

    def state(self) -> dict[str, torch.Tensor]:
        """The curve and the best images, for a saved state."""
        points = [[each.step, list(each.accuracies), each.rate, each.diverged] for each in self.points]
        facts: dict[str, Any] = {"recipe": self.judging.recipe.digest, "points": points}
        tensors = {}
        if self.best is not None:
            step, outcome = self.best
            facts["best"] = [step, outcome.label_kind, outcome.step_size]
            tensors = {f"{STATE}images": outcome.images, f"{STATE}labels": outcome.labels}
        return tensors | {f"{STATE}facts": torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take in the curve and the best images of `state`. A curve of another recipe is left out."""
        facts = json.loads(bytes(state[f"{STATE}facts"].tolist())) if f"{STATE}facts" in state else {}
        if facts.get("recipe") != self.judging.recipe.digest:
            if int(state.get("step", torch.tensor(0))):
                self._progress.say(f"the validation curve begins after outer step {int(state['step'])}")
            return
        self.points = [
            Point(step=step, accuracies=tuple(accuracies), rate=rate, diverged=diverged)
            for step, accuracies, rate, diverged in facts["points"]
        ]
        if "best" in facts and self.judging.keep_best:
            step, kind, step_size = facts["best"]
            images, labels = state[f"{STATE}images"], state[f"{STATE}labels"]
            self.best = (step, Outcome(images=images, labels=labels, label_kind=kind, step_size=step_size))

    def best_set(self) -> SyntheticSet | None:
        """The set of the best point; None if it is not kept."""
        if self.best is None:
            return None
        found = self._job.describe(self.best[1], sibling=BEST)
        return replace(found, config={**found.config, "judging": self.judging.to_dict()})

    def about(self) -> dict[str, Any]:
        """What the run stores: how it is judged and, at the end, which point is the best of those that are kept."""
        if self.best is None:
            return {"judging": self.judging.to_dict()}
        step = self.best[0]
        mean = next(point.mean for point in self.points if point.step == step)
        return {"judging": self.judging.to_dict(), "best": {"step": step, CURVE: mean}}
