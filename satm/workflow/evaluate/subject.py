"""What an evaluation works on: a stored set, its real data, and the recipe it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from evaluation import RECIPES, Recipe, check_batches
from registry import Registry, SetRecord
from satm.data import CATALOGUE, ImageData
from satm.errors import DataError, UnknownName
from satm.methods import class_major_labels, random_images
from satm.networks import NetworkPlan, plan_for
from satm.presets import get_profile, weaker
from satm.progress import Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.types import Images
from satm.workflow.choosing import default_profile
from satm.workflow.evaluate.prepared import Judged, check_fits, judged, load_prepared

Memory = Literal["condensed", "random"]
MemoryKind = Literal["condensed", "random", "herding", "none"]
ROOT = Seed(0)  # evaluation networks differ in their repeat alone, so that results are paired between sets


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A stored set and the recipe it is judged by."""

    record: SetRecord
    synthetic: SyntheticSet
    config: Judged
    recipe: Recipe
    prefix: int | None = None  # only the first so many images of each class

    @property
    def profile(self) -> str:
        """What numbers of this set under this recipe may be called."""
        return weaker(self.record.profile, self.recipe.scale)

    @property
    def own(self) -> str:
        """The architecture it was made with, by its canonical name: what "in-domain" means."""
        return self.plan(self.config.architecture).name

    def plan(self, architecture: str) -> NetworkPlan:
        """How a network of that name is made for its images; raises as `satm.networks.plan` does."""
        return plan_for(architecture, self.synthetic)

    def canonical(self, architecture: str) -> str:
        """Its canonical name, once it is known to train on these images by this recipe; raises as `plan` does."""
        plan = self.plan(architecture)
        check_batches(plan, self.recipe, examples=len(self.synthetic))
        return plan.name

    def protocol(self, architecture: str) -> str:
        """What evaluating it on a network of that canonical name is called."""
        return "in-domain" if architecture == self.own else "cross-arch"

    def stored_memory(self, memory: Memory) -> str:
        """What results call it: `condensed`, or `condensed[:3]` for the first 3 images of each class."""
        return memory if self.prefix is None else f"{memory}[:{self.prefix}]"


@dataclass(frozen=True, kw_only=True)
class Subject(Entrant):
    """A stored set with everything needed to judge it."""

    data: ImageData

    def draws(self, memory: Memory) -> Callable[[int], SyntheticSet]:
        """The examples of each repeat: the set itself, or fresh random real images of the same number a class."""
        if memory == "condensed":
            return lambda repeat: self.synthetic
        return self._random

    def _random(self, repeat: int) -> SyntheticSet:
        return self.random(repeat, self.synthetic.ipc)

    def random(self, repeat: int, ipc: int) -> SyntheticSet:
        """`ipc` real images of each class, drawn afresh for each repeat."""
        return self.real(random_images(self.data, ipc, ROOT.child("random memory", repeat)), ipc, "random")

    def real(self, images: Images, ipc: int, method: str) -> SyntheticSet:
        """Real images [K·ipc, C, H, W], class-major, as a set beside this one: of the same classes, in its space."""
        return replace(
            self.synthetic,
            images=images.cpu(),
            labels=class_major_labels(len(self.data.classes), ipc),
            label_kind="hard",
            step_size=None,  # chosen on the validation split
            ipc=ipc,
            method=method,
            name=None,
        )


def open_subject(
    store: Registry,
    reference: str,
    *,
    recipe: str | None,
    learning_rate: float | Literal["learned", "grid"] | None,
    data_root: Path | None,
    device: str,
    progress: Progress,
    prefix: int | None = None,
) -> Subject:
    """`find_entrant`'s set with its data; raises as that, and DataError for other images than it was made from."""
    found = find_entrant(store, reference, recipe=recipe, learning_rate=learning_rate, prefix=prefix)
    data = _load(store, found.record, found.synthetic, data_root, device, progress)
    check_fits(found.synthetic, data)
    return Subject(**{each.name: getattr(found, each.name) for each in fields(found)}, data=data)


def find_entrant(
    store: Registry,
    reference: str,
    *,
    recipe: str | None,
    learning_rate: float | Literal["learned", "grid"] | None,
    prefix: int | None = None,
) -> Entrant:
    """The set `reference` names and its recipe; its data are not read.

    The recipe is the one named, else that of the set's profile (of this machine's, for an imported set), with the
    augmentation that the data may undergo; `learning_rate` replaces its policy; `prefix` keeps the first so many images
    of each class. Raises UnknownName for a set or recipe, ConfigError for a prefix the set does not have.
    """
    record = store.find(reference)
    synthetic = store.load(record.id)
    if prefix is not None:
        synthetic = synthetic.prefix(prefix)
    config = judged(synthetic)
    base = RECIPES.get(recipe or config.recipe or get_profile(default_profile()).recipe)
    augment = CATALOGUE.get(config.dataset).augment if config.dataset in CATALOGUE else None
    chosen = base.variant(augment=augment, learning_rate=learning_rate)
    return Entrant(record=record, synthetic=synthetic, config=config, recipe=chosen, prefix=prefix)


def _load(
    store: Registry, record: SetRecord, synthetic: SyntheticSet, root: Path | None, device: str, progress: Progress
) -> ImageData:
    """The set's real data: where asked for, else where data are looked for, else where they lay when it was made."""
    try:
        return load_prepared(synthetic, data_root=root, device=device, progress=progress)
    except (DataError, UnknownName):
        before = store.run(record.run_id).config.get("data_root") if record.run_id else None
        if root is not None or before is None:
            raise
        return load_prepared(synthetic, data_root=Path(before), device=device, progress=progress)
