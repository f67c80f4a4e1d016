"""What an evaluation works on: a stored set, its real data, and the recipe it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evaluation import RECIPES, Recipe
from registry import Registry, SetRecord
from satm.data import CATALOGUE, ImageData
from satm.errors import DataError, UnknownName
from satm.methods import class_major_labels, random_images
from satm.presets import get_profile, weaker
from satm.progress import Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.types import Images
from satm.workflow.condensation import default_profile
from satm.workflow.prepared import Judged, check_fits, judged, load_prepared

Memory = Literal["condensed", "random"]
ROOT = Seed(0)  # evaluation networks differ in their repeat alone, so that results are paired between sets


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A stored set with everything needed to judge it."""

    record: SetRecord
    synthetic: SyntheticSet
    config: Judged
    data: ImageData
    recipe: Recipe
    prefix: int | None = None  # only the first so many images of each class

    @property
    def profile(self) -> str:
        """What numbers of this set under this recipe may be called."""
        return weaker(self.record.profile, self.recipe.scale)

    def stored_memory(self, memory: Memory) -> str:
        """What results call it: `condensed`, or `condensed[:3]` for the first 3 images of each class."""
        return memory if self.prefix is None else f"{memory}[:{self.prefix}]"

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
    """The set `reference` names, with its data and recipe.

    The recipe is the one named, else that of the set's profile (of this machine's, for an imported set), with the
    augmentation that the data may undergo; `learning_rate` replaces its policy; `prefix` keeps the first so many images
    of each class. Raises UnknownName for a set or recipe, ConfigError for a prefix the set does not have, DataError for
    other real images than those the set was made from.
    """
    record = store.find(reference)
    synthetic = store.load(record.id)
    if prefix is not None:
        synthetic = synthetic.prefix(prefix)
    config = judged(synthetic)
    base = RECIPES.get(recipe or config.recipe or get_profile(default_profile()).recipe)
    augment = CATALOGUE.get(config.dataset).augment if config.dataset in CATALOGUE else None
    chosen = base.variant(augment=augment, learning_rate=learning_rate)
    data = _load(store, record, synthetic, data_root, device, progress)
    check_fits(synthetic, data)
    return Subject(record=record, synthetic=synthetic, config=config, data=data, recipe=chosen, prefix=prefix)


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
