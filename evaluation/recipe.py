"""The class `Recipe`: how a network is trained on a synthetic set when the set is evaluated."""

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
"""Settings that older versions of `Recipe` did not have. The id of a recipe is computed from its description
(`to_dict`). If a recipe does not use one of these settings, the description leaves the setting out. So the recipe still
has the id under which its older results are stored."""

RATE_NETWORKS = 5
"""The number of networks by which a learning rate of the grid is judged. Published evaluations use one network; five
is our choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An exception in a recipe: another batch size or learning rate for some data sets, IPCs or networks.

    The first four fields are conditions: each must be equal to that of the set or network, or None, which fits
    everything. The last two fields are the numbers that replace those of the recipe, and None changes nothing.
    """

    dataset: str | None = None
    classes: int | None = None  # the number of classes K
    ipc: int | None = None
    network: str | None = None  # the canonical name of the network's architecture
    batch_size: int | None = None
    learning_rate: float | None = None

    def fits(self, dataset: str, classes: int, ipc: int) -> bool:
        """Whether the case applies to a set of `dataset` with K = `classes` classes and `ipc` images per class.

        The condition on the network is not checked here (see `Recipe.on`).
        """
        wanted = ((self.dataset, dataset), (self.classes, classes), (self.ipc, ipc))
        return all(ours in (None, theirs) for ours, theirs in wanted)

    def change(self, recipe: Recipe) -> Recipe:
        """`recipe` with the batch size and the learning rate of this case."""
        return replace(
            recipe,
            batch_size=recipe.batch_size if self.batch_size is None else self.batch_size,
            learning_rate=recipe.learning_rate if self.learning_rate is None else self.learning_rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All settings of the training of an evaluation network, except the architecture, the seed and the set.

    The learning rate is a number or a policy. With the policy "learned", it is the step size of the set; if the set has
    no step size, it is chosen from the grid. With the policy "grid", it is the rate of `grid` with the best mean
    accuracy of `rate_networks` networks on the validation split. This choice is made for each architecture. A recipe
    for methods without a step size has the published learning rate as a number, if one is published.

    Raises ConfigError for a value out of its range, UnknownName for an unknown augmentation.
    """

    name: str
    summary: str = field(default="", compare=False)  # one line for lists of recipes; not a part of the recipe's id
    version: int = 1  # raised whenever the settings of the recipe with this name change
    epochs: int
    batch_size: int = 256
    momentum: float = 0.9  # the momentum μ of SGD, or β₁ of AdamW
    weight_decay: float = 5e-4
    drop_at: tuple[int, ...] = ()  # after each of these numbers of epochs the learning rate is multiplied by `decay`
    decay: float = 0.1
    augment: str | None = STRATEGY  # "crop_flip": one of the two on each batch, as in DSA; "crop+flip": both
    learning_rate: Literal["learned", "grid"] | float = "learned"  # the policy, or the learning rate as a number
    grid: tuple[float, ...] = (0.001, 0.005, 0.01, 0.05, 0.1)  # the rates that "grid" tries; these are DD-Ranking's
    rate_networks: int = RATE_NETWORKS  # the networks for each rate of the grid; with 1, the grid is never extended
    repeats: int = 5  # the number of networks of each architecture
    scale: Literal["paper", "cpu", "smoke"] = "paper"  # the profile that the results are labelled with
    source: str  # the paper or code that the settings come from
    departures: tuple[str, ...] = ()  # the differences from the source, each with its reason
    restarts: WarmRestarts | None = None  # a schedule of the learning rate, used instead of `drop_at` and `decay`
    cutmix: CutMix | None = None
    clip_norm: float | None = None  # gradients with a larger norm are scaled down to this norm; None: no limit
    ranges: DSARanges | None = None  # the ranges of the operations of `augment`; None: the ranges of DSA
    optimizer: Literal["adamw"] | None = None  # AdamW with a learning rate that follows half a cosine; None: SGD
    labels: TeacherLabels | None = None  # the teacher that labels every batch; None: the labels of the set are used
    cases: tuple[Case, ...] | None = None  # exceptions; if several fit, later ones override earlier ones

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
        """The settings of the optimiser with `learning_rate`. Raises ConfigError if `learning_rate` is not above 0."""
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
        """The settings of SGD with `learning_rate`. Raises ConfigError if the recipe trains by another optimiser."""
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
        """The augmentation of the images of a training batch; None if images are not augmented."""
        return None if self.augment is None else named(self.augment, self.ranges)

    def mixing(self, num_classes: int, teacher: Teacher | None = None) -> Mix | None:
        """A function that mixes the images and targets of a training batch by CutMix and then labels them by `teacher`.

        The function leaves out what the recipe does not have. Returns None if the recipe has neither CutMix nor labels
        from a teacher. If the recipe has no labels from a teacher, `teacher` is not used. If it has them, call
        `check_teacher` before, because without a teacher this method leaves the labels out and raises no error.
        """
        mix = None if self.cutmix is None else partial(self.cutmix, classes=num_classes)
        if self.labels is None or teacher is None:
            return mix
        return Relabelled(teacher=teacher, temperature=self.labels.temperature, mix=mix)

    def check_teacher(self, teacher: Teacher | None, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        """Raise ConfigError if the recipe needs a teacher and `teacher` is None or does not fit the data."""
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
        """The loss: cross-entropy for the set's own labels, or `distillation_loss` with T for a teacher's labels.

        T is the temperature of the teacher's labels. With SGD, `distillation_loss` is multiplied by T². The reason is
        that its gradient has a factor 1/T², and a step of SGD is proportional to the gradient (Hinton et al. 2015,
        section 2). A step of AdamW does not depend on the scale of the loss. So it needs no such factor, and RDED,
        which uses AdamW, has none.
        """
        if self.labels is None:
            return F.cross_entropy
        temperature = self.labels.temperature
        factor = temperature**2 if self.optimizer is None else 1.0
        return partial(distillation_loss, temperature=temperature, factor=factor)

    def for_set(self, dataset: str, classes: int, ipc: int) -> Recipe:
        """The recipe with the numbers of its cases for a set of this data set, number of classes and IPC.

        Only the cases that depend on the network are left in the returned recipe (see `on`).
        """
        fitting = [case for case in self.cases or () if case.fits(dataset, classes, ipc)]
        recipe = self
        for case in fitting:
            recipe = case.change(recipe) if case.network is None else recipe
        left = tuple(replace(c, dataset=None, classes=None, ipc=None) for c in fitting if c.network is not None)
        return replace(recipe, cases=left or None)

    def on(self, network: str) -> Recipe:
        """The recipe with the numbers of its cases for the network with this canonical name.

        Only cases without a condition on the set are used. So call `for_set` first: it removes these conditions from
        the cases that fit the set.
        """
        recipe = self
        for case in self.cases or ():
            if case.network == network and (case.dataset, case.classes, case.ipc) == (None, None, None):
                recipe = case.change(recipe)
        return replace(recipe, cases=None)

    def labelled(self, labels: TeacherLabels | None) -> Recipe:
        """The same recipe with the labels of a teacher, or with the set's own labels if `labels` is None.

        The name of the returned recipe says which labels these are. Only a recipe that uses the set's own labels, and
        is to keep them, is returned unchanged.
        """
        if labels is None:
            return self if self.labels is None else replace(self, name=f"{self.name}, own labels", labels=None)
        return replace(self, name=f"{self.name}, {labels.spell()}", labels=labels)

    def variant(
        self, *, augment: str | None = None, learning_rate: Literal["learned", "grid"] | float | None = None
    ) -> Recipe:
        """The same recipe with fewer augmentations or with another policy of the learning rate.

        The new name of the recipe lists the changes. If the learning rate changes, it changes for all networks: the
        cases of the recipe lose their learning rates.

        Args:
            augment: a DSA strategy. Operations of the recipe's augmentation that are not in it are removed. None: no
                operation is removed.
            learning_rate: the new policy or number; None: the recipe keeps its own.
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
        """The recipe for images without a step size: the policy "learned" becomes "grid".

        A recipe with `rate_networks` = 1 is returned unchanged, because its older results are stored under the id of
        the unchanged recipe. Its training is the same: for images without a step size, "learned" also chooses from the
        grid.
        """
        chosen = self.learning_rate == "learned" and self.rate_networks > 1
        return self.variant(learning_rate="grid") if chosen else self

    @property
    def digest(self) -> str:
        """The SHA-256 hash of the recipe's description (`to_dict`) as hexadecimal digits."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """A description of the recipe that can be stored as JSON. `from_dict` rebuilds the recipe from it.

        `rate_networks` is in the description only if the policy is "grid" and the number is not 1. In all other cases
        the results are the same as those of older versions, which had no such setting, so the id must not change.
        """
        values = config.to_dict(self)
        left_out = {"summary"} | {name for name in LATER if values[name] is None}
        if self.learning_rate != "grid" or self.rate_networks == 1:
            left_out.add("rate_networks")
        return {k: v for k, v in values.items() if k not in left_out}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Rebuild a recipe from its description.

        If `rate_networks` is missing, it becomes 1 for the policy "grid" (see `to_dict`), otherwise the default 5.
        Raises UnknownName or ConfigError for an unknown, missing or wrongly typed key.
        """
        before = {"rate_networks": 1} if values.get("learning_rate") == "grid" else {}
        return config.from_dict(cls, before | dict(values), "recipe.")
