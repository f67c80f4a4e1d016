"""What an evaluation works on: a stored set, its real data, and the recipe it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evaluation import RECIPES, Recipe
from registry import Registry, SetRecord
from satm.data import ImageData
from satm.errors import RegistryError
from satm.methods import class_major_labels, random_images
from satm.presets import CondenseConfig
from satm.progress import Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.workflow.condensation import load_data

Memory = Literal["condensed", "random"]
ROOT = Seed(0)  # evaluation networks differ in their repeat alone, so that results are paired between sets


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A stored set with everything needed to judge it."""

    record: SetRecord
    synthetic: SyntheticSet
    config: CondenseConfig
    data: ImageData
    recipe: Recipe

    def draws(self, memory: Memory) -> Callable[[int], SyntheticSet]:
        """The examples of each repeat: the set itself, or fresh random real images of the same number a class."""
        if memory == "condensed":
            return lambda repeat: self.synthetic
        return self._random

    def _random(self, repeat: int) -> SyntheticSet:
        images = random_images(self.data, self.config.ipc, ROOT.child("random memory", repeat))
        labels = class_major_labels(len(self.data.classes), self.config.ipc)
        return replace(
            self.synthetic,
            images=images.cpu(),
            labels=labels,
            label_kind="hard",
            step_size=None,  # chosen on the validation split
            method="random",
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
) -> Subject:
    """The set `reference` names, with its data and recipe.

    The recipe is the one named, else that of the set's profile; `learning_rate` replaces its policy. Its augmentation
    leaves out flips where the set's own data must not be flipped. Raises UnknownName for a set or recipe.
    """
    record = store.find(reference)
    synthetic = store.load(record.id)
    if "condense" not in synthetic.config:
        raise RegistryError(f"{record.name} does not say how its data were prepared; condense it with this suite")
    config = CondenseConfig.from_dict(synthetic.config["condense"])
    chosen = RECIPES.get(recipe or config.recipe)
    if "flip" not in (config.experts.augment or "flip"):
        chosen = chosen.without("flip")
    if learning_rate is not None:
        chosen = replace(chosen, learning_rate=learning_rate)
    data = load_data(config, data_root=data_root, device=device, progress=progress)
    if f"data:{data.fingerprint}" not in synthetic.parents:
        progress.say(f"note: these {config.dataset} images are not the ones {record.name} was condensed from")
    return Subject(record=record, synthetic=synthetic, config=config, data=data, recipe=chosen)
