"""Recipes: how a network is trained on a synthetic set for evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from torch.nn import functional as F

from satm import config
from satm.augment import STRATEGY, CutMix, DSARanges, named, within
from satm.canonical import digest
from satm.errors import ConfigError
from satm.schedule import WarmRestarts
from satm.teachers import Relabelled, Teacher, TeacherLabels, distillation_loss
from satm.training import AdamWConfig, Optimisation, SGDConfig
from satm.types import Augment, Criterion, Mix

LATER = ("restarts", "cutmix", "clip_norm", "ranges", "optimizer", "labels", "cases")
"""Settings that the first recipes did not have. A recipe that does not use them does not list them, so it has the same
id as before they existed, and its old results are still its own."""

RATE_NETWORKS = 5
"""Networks, or draws of random images, by which a rate of the grid is judged. Ours: the field takes one network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Other numbers of a recipe for some sets or networks. A field that is null fits everything, or changes nothing."""

    dataset: str | None = None
    classes: int | None = None  # K
    ipc: int | None = None
    network: str | None = None  # its canonical name
    batch_size: int | None = None
    learning_rate: float | None = None

    def fits(self, dataset: str, classes: int, ipc: int) -> bool:
        """Whether these are numbers for a set of `ipc` images of each of K = `classes` classes of `dataset`."""
        wanted = ((self.dataset, dataset), (self.classes, classes), (self.ipc, ipc))
        return all(ours in (None, theirs) for ours, theirs in wanted)

    def change(self, recipe: Recipe) -> Recipe:
        """`recipe` with these numbers."""
        return replace(
            recipe,
            batch_size=recipe.batch_size if self.batch_size is None else self.batch_size,
            learning_rate=recipe.learning_rate if self.learning_rate is None else self.learning_rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an evaluation network is trained, except for its architecture, its seed and the set.

    The learning rate is a number or a policy. "learned" takes the step size of the set, or chooses from the grid if the
    set has none. "grid" takes the rate of `grid` with the best mean accuracy of `rate_networks` networks on the
    validation split, chosen for each architecture. The recipe of a method without a step size has the published number,
    if there is one. Raises ConfigError for a value out of its range, UnknownName for an unknown augmentation.
    """

    name: str
    summary: str = field(default="", compare=False)  # one line for lists; no part of the description or the id
    version: int = 1  # raised when a recipe of this name changes
    epochs: int
    batch_size: int = 256
    momentum: float = 0.9  # μ of SGD, β₁ of AdamW
    weight_decay: float = 5e-4
    drop_at: tuple[int, ...] = ()  # epochs finished before the learning rate is multiplied by `decay`
    decay: float = 0.1
    augment: str | None = STRATEGY  # "crop_flip": one of them for each batch, as in DSA; "crop+flip": both
    learning_rate: Literal["learned", "grid"] | float = "learned"  # the policy, or a number
    grid: tuple[float, ...] = (0.001, 0.005, 0.01, 0.05, 0.1)  # to choose from on validation; DD-Ranking's
    rate_networks: int = RATE_NETWORKS  # networks for each rate of the grid; 1: one, and the grid is never extended
    repeats: int = 5  # networks for each architecture
    scale: Literal["paper", "cpu", "smoke"] = "paper"  # what its numbers may be called
    source: str
    departures: tuple[str, ...] = ()  # from the source, each with its reason
    restarts: WarmRestarts | None = None  # in place of the drops
    cutmix: CutMix | None = None
    clip_norm: float | None = None  # a longer gradient is shortened to this norm
    ranges: DSARanges | None = None  # how far the operations of `augment` go; null: as far as in DSA
    optimizer: Literal["adamw"] | None = None  # AdamW with a learning rate along half a cosine; null: SGD
    labels: TeacherLabels | None = None  # every batch is labelled by a teacher; null: the set's own labels
    cases: tuple[Case, ...] | None = None  # of several that fit, a later one counts

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.repeats < 1:
            raise ConfigError(f"recipe of {self.epochs} epochs and {self.repeats} repeats: expected 1 or more of each")
        if self.rate_networks < 1:
            raise ConfigError(f"rate_networks {self.rate_networks}: expected 1 or more networks to choose a rate by")
        if list(self.drop_at) != sorted(set(self.drop_at)) or not all(0 < e < self.epochs for e in self.drop_at):
            raise ConfigError(f"drop_at {self.drop_at}: expected rising epochs between 1 and {self.epochs - 1}")
        if not 0 < self.decay <= 1:
            raise ConfigError(f"decay {self.decay}: expected 0 < decay ≤ 1")
        if not self.grid or not all(math.isfinite(lr) and lr > 0 for lr in self.grid):
            raise ConfigError(f"grid {self.grid}: expected one or more finite learning rates above 0")
        if isinstance(self.learning_rate, str) and self.learning_rate not in ("learned", "grid"):
            raise ConfigError(f"learning rate '{self.learning_rate}': expected learned, grid or a number above 0")
        if self.optimizer is not None and (self.drop_at or self.restarts is not None):
            raise ConfigError("AdamW follows half a cosine: leave drop_at and restarts out, or take SGD")
        self.optimisation(self.grid[0] if isinstance(self.learning_rate, str) else self.learning_rate)
        _ = self.augmentation

    def optimisation(self, learning_rate: float) -> Optimisation:
        """The settings of the optimiser at `learning_rate`. Raises ConfigError if that is not above 0."""
        if self.optimizer is None:
            return self.sgd(learning_rate)
        return AdamWConfig(
            epochs=self.epochs,
            lr=learning_rate,
            batch_size=self.batch_size,
            beta1=self.momentum,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )

    def sgd(self, learning_rate: float) -> SGDConfig:
        """`optimisation` of a recipe that trains by SGD. Raises ConfigError for another optimiser."""
        if self.optimizer is not None:
            raise ConfigError(f"recipe {self.name} trains by {self.optimizer}, not by SGD; take another recipe")
        return SGDConfig(
            epochs=self.epochs,
            lr=learning_rate,
            batch_size=self.batch_size,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            milestones=self.drop_at,
            decay=self.decay,
            restarts=self.restarts,
            clip_norm=self.clip_norm,
        )

    @property
    def augmentation(self) -> Augment | None:
        """The augmentation of the images of training batches; None for none."""
        return None if self.augment is None else named(self.augment, self.ranges)

    def mixing(self, num_classes: int, teacher: Teacher | None = None) -> Mix | None:
        """CutMix of the images and targets of training batches, then the labels of `teacher`; None for neither.

        `teacher` is not used if the recipe has the set's own labels; see `check_teacher`.
        """
        mix = None if self.cutmix is None else partial(self.cutmix, classes=num_classes)
        if self.labels is None or teacher is None:
            return mix
        return Relabelled(teacher=teacher, temperature=self.labels.temperature, mix=mix)

    def check_teacher(self, teacher: Teacher | None, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        """Raise ConfigError if the recipe has its labels from a teacher, and there is none that fits."""
        if self.labels is None:
            return
        if teacher is None:
            raise ConfigError(
                f"recipe {self.name} has its labels from a teacher, and there is none; train one "
                "(satm.teachers.train_teacher), or take the set's own labels (--labels own)"
            )
        teacher.check_fits(num_classes, image_shape)

    @property
    def criterion(self) -> Criterion:
        """The loss: cross-entropy with the set's own labels, or `distillation_loss` at the teacher's temperature T.

        SGD takes T² times that, because its steps are as long as the gradient, which has a factor 1/T² (Hinton et al.
        2015, section 2). Steps of AdamW do not depend on the scale, and RDED has no factor.
        """
        if self.labels is None:
            return F.cross_entropy
        temperature = self.labels.temperature
        factor = temperature**2 if self.optimizer is None else 1.0
        return partial(distillation_loss, temperature=temperature, factor=factor)

    def for_set(self, dataset: str, classes: int, ipc: int) -> Recipe:
        """The recipe with its numbers for such a set; only the cases of single networks are left in it."""
        fitting = [case for case in self.cases or () if case.fits(dataset, classes, ipc)]
        recipe = self
        for case in fitting:
            recipe = case.change(recipe) if case.network is None else recipe
        left = tuple(replace(c, dataset=None, classes=None, ipc=None) for c in fitting if c.network is not None)
        return replace(recipe, cases=left or None)

    def on(self, network: str) -> Recipe:
        """The recipe with its numbers for the network of this canonical name; those of certain sets need `for_set`."""
        recipe = self
        for case in self.cases or ():
            if case.network == network and (case.dataset, case.classes, case.ipc) == (None, None, None):
                recipe = case.change(recipe)
        return replace(recipe, cases=None)

    def labelled(self, labels: TeacherLabels | None) -> Recipe:
        """The same recipe with the labels of this teacher, or with the set's own; its new name says which."""
        if labels is None:
            return self if self.labels is None else replace(self, name=f"{self.name}, own labels", labels=None)
        return replace(self, name=f"{self.name}, {labels.spell()}", labels=labels)

    def variant(
        self, *, augment: str | None = None, learning_rate: Literal["learned", "grid"] | float | None = None
    ) -> Recipe:
        """The same recipe with less augmentation or another learning-rate policy. Its new name lists the changes.

        Keeps only those operations of the recipe's augmentation that the DSA strategy `augment` also has.
        """
        name, cases = self.name, self.cases
        kept = self.augment if augment is None or self.augment is None else within(self.augment, augment)
        if kept != self.augment:
            name += f", {kept or 'no augmentation'}"
        if learning_rate is None or learning_rate == self.learning_rate:
            learning_rate = self.learning_rate
        else:
            name += f", lr {learning_rate}"
            if learning_rate == "grid" and self.rate_networks > 1:
                name += f" ({self.rate_networks} networks)"
            cases = tuple(replace(case, learning_rate=None) for case in cases or ()) or None
        return replace(self, name=name, augment=kept, learning_rate=learning_rate, cases=cases)

    def without_step_size(self) -> Recipe:
        """The recipe for images without a step size: `learned` becomes `grid`.

        A recipe with one network for each rate stays as it is. Its results keep the id that they had when that was the
        only way.
        """
        chosen = self.learning_rate == "learned" and self.rate_networks > 1
        return self.variant(learning_rate="grid") if chosen else self

    @property
    def digest(self) -> str:
        """sha256 of the whole recipe, as hex."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `from_dict` rebuilds the recipe.

        It has `rate_networks` only if the policy is "grid" and the number is not 1, because only then results differ
        from those of the time before this setting.
        """
        values = config.to_dict(self)
        left_out = {"summary"} | {name for name in LATER if values[name] is None}
        if self.learning_rate != "grid" or self.rate_networks == 1:
            left_out.add("rate_networks")
        return {k: v for k, v in values.items() if k not in left_out}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe. `rate_networks` is not stored with a policy that does not use it, and becomes the usual 5.

        Raises UnknownName or ConfigError for an unknown, missing or wrongly typed key.
        """
        before = {"rate_networks": 1} if values.get("learning_rate") == "grid" else {}
        return config.from_dict(cls, before | dict(values), "recipe.")
