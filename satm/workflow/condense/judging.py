"""The validation curve of a condensation.

While the condensation runs, networks are trained on its images from time to time, and are tested on the validation
split. This is called judging the images.
"""

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
"""The name of a metric of the run: the mean validation accuracy of the networks, in 0..1. `validation_accuracy.0` is
the accuracy of network 0 alone."""
ROOT = Seed(0).child("judging")  # network k starts with the same weights at every point of every run (paired points)
STATE = "judging."  # the prefix of the names of this module's tensors in a saved state


def judging_recipe(*, networks: int = 3, epochs: int = 100) -> Recipe:
    """The recipe that judges images: the usual recipe of this field, with fewer epochs and networks.

    Each point of the curve has `networks` networks. Raises ConfigError if `networks` or `epochs` is below 1.
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
    """How and how often the images are judged during a condensation. Judging never changes the set that is made.

    A point of the curve is the validation accuracy of `recipe.repeats` networks. They are trained by `recipe` on the
    images as they are at this step, with the images' step size α as learning rate. If the images have no α, networks
    are trained with each rate of the recipe's grid, and the rate with the best mean is used. A network that diverges
    has the accuracy 1/K, that of a random guess among K classes. Raises ConfigError if `every` is below 1.
    """

    every: int  # the number of outer steps between two points; the last images are always judged
    recipe: Recipe = RECIPE
    keep_best: bool = False  # whether to also store the images at the best point, as the set `METHOD-best`

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"judged every {self.every} outer steps: expected 1 or more")

    def on(self, dataset: str) -> Judging:
        """The same judging, but with only those augmentations of the recipe that suit the data set."""
        known = CATALOGUE.get(dataset).augment if dataset in CATALOGUE else None
        return replace(self, recipe=self.recipe.variant(augment=known))

    def check(self, config: CondenseConfig, data: ImageData) -> None:
        """Raise ConfigError if the images cannot be judged, before anything is trained.

        This is so if there are no validation images, or if the recipe's batches do not suit the network.
        """
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
    """One point of the validation curve."""

    step: int  # the number of outer steps done
    accuracies: tuple[float, ...]  # the accuracy of each network on the validation split, in 0..1
    rate: float  # the learning rate of the networks
    diverged: int = 0  # the number of networks that diverged; their accuracy is 1/K

    @property
    def mean(self) -> float:
        """The mean accuracy of the networks."""
        return fmean(self.accuracies)

    def metrics(self) -> dict[str, float]:
        """The metrics that a run stores for this point, by name."""
        found = {CURVE: self.mean, "validation_rate": self.rate}
        found |= {f"{CURVE}.{k}": value for k, value in enumerate(self.accuracies)}
        return found | ({"validation_diverged": float(self.diverged)} if self.diverged else {})


class Watcher(Protocol):
    """Follows the curve while the run goes on, and may stop the run."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is stored with the run as `tuning`; it can be written as JSON."""

    def judged(self, points: Sequence[Point]) -> str | None:
        """Called with the whole curve after each new point. Returns a reason to stop the run now, or None."""


class Judge:
    """Judges the images of one condensation, and keeps the curve and the best images."""

    def __init__(self, judging: Judging, job: Job, progress: Progress, watcher: Watcher | None = None) -> None:
        config = job.preset.config
        self.judging, self.watcher = judging, watcher
        self.points: list[Point] = []
        self.best: tuple[int, Outcome] | None = None  # the outer steps done, and the images at that time
        self._job, self._progress = job, progress
        self._plan: NetworkPlan = plan_for(config.architecture, job.data)
        compilation = METHODS.get(config.method).compilation(config.settings)
        self._trainer = Trainer(device=job.device, compilation=compilation, progress=progress)

    def due(self, condensation: Condensation) -> bool:
        """Whether the images must be judged at the present outer step, and are not judged there yet."""
        step = condensation.step
        if self.points and self.points[-1].step >= step:
            return False
        return step >= condensation.steps or (step > 0 and step % self.judging.every == 0)

    def judge(self, condensation: Condensation) -> Point:
        """Judge the present images, and add the point to the curve and return it.

        If the user asks to stop, Interrupted is raised, and no point is added.
        """
        outcome = condensation.result()
        point = self._point(condensation.step, self._job.describe(outcome))
        if self.judging.keep_best and point.mean > max((each.mean for each in self.points), default=-1.0):
            # A copy, because the condensation may later change these tensors in place.
            self.best = (point.step, outcome._replace(images=outcome.images.clone(), labels=outcome.labels.clone()))
        self.points.append(point)
        return point

    def reason_to_stop(self) -> str | None:
        """A reason to stop the run now, from the watcher; None to go on."""
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
        """The curve, and the best images if there are any, as tensors for a saved state."""
        points = [[each.step, list(each.accuracies), each.rate, each.diverged] for each in self.points]
        facts: dict[str, Any] = {"recipe": self.judging.recipe.digest, "points": points}
        tensors = {}
        if self.best is not None:
            step, outcome = self.best
            facts["best"] = [step, outcome.label_kind, outcome.step_size]
            tensors = {f"{STATE}images": outcome.images, f"{STATE}labels": outcome.labels}
        return tensors | {f"{STATE}facts": torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load the curve and the best images from `state`. Nothing is loaded if another recipe made the curve."""
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
        """The set of the best point; None if best images are not kept, or if there is no point yet."""
        if self.best is None:
            return None
        found = self._job.describe(self.best[1], sibling=BEST)
        return replace(found, config={**found.config, "judging": self.judging.to_dict()})

    def about(self) -> dict[str, Any]:
        """What the run stores: how its images are judged, and the best point if the images of that point are kept."""
        if self.best is None:
            return {"judging": self.judging.to_dict()}
        step = self.best[0]
        mean = next(point.mean for point in self.points if point.step == step)
        return {"judging": self.judging.to_dict(), "best": {"step": step, CURVE: mean}}
