"""The subject of an evaluation: a stored set, the recipe that its networks are trained by, and its real data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from evaluation import RatePolicy, Recipe, check_batches, recipe_for
from registry import Registry, SetRecord
from satm.data import CATALOGUE, ImageData
from satm.data.lookup import places
from satm.errors import ConfigError, DataError, UnknownName
from satm.methods import METHODS, Method, class_major_labels, random_images
from satm.networks import NetworkPlan, plan_for
from satm.parametrisation import PIXELS
from satm.presets import get_profile, weaker
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.teachers import Teacher, check_teacher, train_teacher
from satm.types import Images
from satm.workflow.choosing import default_profile
from satm.workflow.evaluate.prepared import SetConfig, check_fits, load_prepared, set_config
from satm.workflow.teachers import Labelling, chosen_labels, resolved
from satm.workflow.workspace import Workspace

MemoryKind = Literal["condensed", "random", "herding", "none"]
"""The images that networks learn from: the set itself, or real images in its place."""
ROOT = Seed(0)  # one seed for every set: networks of one repeat start alike, so results of two sets are paired


NO_STEP_SIZE = "without a learned step size, so its rate is chosen from the grid"


@dataclass(frozen=True, kw_only=True)
class Judging:
    """The user's choices for the evaluation of sets."""

    recipe: str | None = None  # its name; None: the set's own
    learning_rate: RatePolicy | None = None  # None: the policy of the recipe
    prefix: int | None = None  # only this many images of each class, the first ones
    labels: Labelling | None = None  # a teacher's or the set's own; None: as the recipe has them


def policies(learning_rate: RatePolicy | Literal["both"] | None) -> tuple[RatePolicy | None, ...]:
    """The policies to evaluate under, one after the other: `both` stands for learned and grid.

    The results of two policies have two recipes, so they lie side by side. A memory without a step size has only the
    grid: under `both` it is trained once.
    """
    return ("learned", "grid") if learning_rate == "both" else (learning_rate,)


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A stored set and the recipe that its networks are trained by. Its real data are not read."""

    record: SetRecord
    synthetic: SyntheticSet
    config: SetConfig
    recipe: Recipe
    prefix: int | None = None  # only this many images of each class, the first ones
    hardened: bool = False  # its soft labels are replaced by the class of each image

    @property
    def profile(self) -> str:
        """The scale of results of this set under this recipe: the smaller scale of the two."""
        return weaker(self.record.profile, self.recipe.scale)

    @property
    def own(self) -> str:
        """The canonical name of the architecture that the set was made with: "in-domain"."""
        return self.plan(self.config.architecture).name

    def plan(self, architecture: str) -> NetworkPlan:
        """How a network of this name is made for the set's images. Raises as `satm.networks.plan`."""
        return plan_for(architecture, self.synthetic)

    def canonical(self, architecture: str) -> str:
        """The canonical name of an architecture.

        Raises the errors of `plan`, and ConfigError if the network cannot train on the set.
        """
        plan = self.plan(architecture)
        check_batches(plan, self.recipe, examples=len(self.synthetic))
        return plan.name

    def recipe_of(self, memory: MemoryKind) -> Recipe:
        """The recipe that results of `memory` are stored under: without a step size, `learned` is `grid`."""
        learnt = memory == "condensed" and self.synthetic.step_size is not None
        return self.recipe if learnt else self.recipe.without_step_size()

    @property
    def policy(self) -> RatePolicy:
        """The policy of the learning rate on the set itself: a set without a step size has only the grid."""
        policy = self.recipe.learning_rate
        return "grid" if policy == "learned" and self.synthetic.step_size is None else policy

    def check_learning_rate(self, memory: MemoryKind) -> None:
        """Raise ConfigError if a rate for `memory` would be chosen on validation images, and none are held out."""
        policy = self.recipe.learning_rate
        learned = policy == "learned" and memory == "condensed" and self.synthetic.step_size is not None
        if self.config.validation or learned or not isinstance(policy, str):
            return
        raise ConfigError(
            f"{self.record.name} holds out no images (validation=0), and the learning rate for its {memory} images "
            f"would be chosen on them (recipe {self.recipe.name}: {policy}); give a number with --learning-rate"
        )

    @property
    def held_out(self) -> dict[str, float]:
        """For the details of every result: `validation` 0 if no images are held out; else nothing."""
        return {} if self.config.validation else {"validation": 0.0}

    @property
    def remark(self) -> str:
        """For the opening line: that no images are held out, and that a learned rate is asked for and there is none."""
        held = "" if self.config.validation else ", all training images used and nothing selected (validation=0)"
        learned = self.recipe.learning_rate == "learned" and self.synthetic.step_size is None
        return held + (f", {NO_STEP_SIZE}" if learned else "")

    def protocol(self, architecture: str) -> str:
        """The protocol of an evaluation on the network of this canonical name."""
        return "in-domain" if architecture == self.own else "cross-arch"

    def stored_memory(self, memory: MemoryKind) -> str:
        """The name in results: `condensed`, or `condensed[:3]` for the first 3 images of each class.

        `condensed[hard]` has the class of each image in place of the set's soft labels.
        """
        notes = [*([] if self.prefix is None else [f":{self.prefix}"]), *(["hard"] if self.hardened else [])]
        return f"{memory}[{','.join(notes)}]" if notes else memory


@dataclass(frozen=True, kw_only=True)
class Subject(Entrant):
    """A stored set with its recipe and its real data."""

    data: ImageData

    def trained_teacher(self, workspace: Workspace) -> Teacher | None:
        """The teacher of the recipe's labels, trained on the set's real data if it is not stored; None: there is none.

        Raises as `train_teacher`.
        """
        labels = self.recipe.labels
        if labels is None:
            return None
        return train_teacher(self.data, labels.teacher, device=workspace.device, progress=workspace.progress)

    def draws(self, memory: MemoryKind) -> Callable[[int], SyntheticSet]:
        """The examples of each repeat: the set itself, or random real images of the same number per class.

        Raises ConfigError for another memory.
        """
        if memory == "condensed":
            return lambda repeat: self.synthetic
        if memory == "random":
            return lambda repeat: self.random(repeat, self.synthetic.ipc)
        raise ConfigError(f"memory {memory}: expected condensed or random")

    def random(self, repeat: int, ipc: int) -> SyntheticSet:
        """`ipc` real images of each class, new ones for each repeat."""
        return self.real(random_images(self.data, ipc, ROOT.child("random memory", repeat)), ipc, "random")

    def real(self, images: Images, ipc: int, method: str) -> SyntheticSet:
        """Real images [K·ipc, C, H, W], class-major, as a set with the classes and the preprocessing of this one."""
        return replace(
            self.synthetic,
            images=images.cpu(),
            labels=class_major_labels(len(self.data.classes), ipc),
            label_kind="hard",
            step_size=None,  # chosen on the validation split
            ipc=ipc,
            method=method,
            parametrisation=PIXELS,
            name=None,
        )


def open_subject(workspace: Workspace, reference: str, judging: Judging) -> Subject:
    """The set that `reference` names, with its recipe and its real data.

    Raises the errors of `find_entrant`, DataError if the images differ from those that the set was made from, and the
    errors of `check_teacher` for a teacher that cannot be trained.
    """
    found = find_entrant(workspace.store, reference, judging)
    labels = found.recipe.labels
    try:
        data = _load(workspace, found.record, found.synthetic)
        check_fits(found.synthetic, data)
    except (DataError, UnknownName) as error:
        if labels is None:
            raise
        raise DataError(f"labels teacher: a teacher needs the set's real images, and {error}") from error
    if labels is not None:
        check_teacher(data, labels.teacher)
    return Subject(**{each.name: getattr(found, each.name) for each in fields(found)}, data=data)


def find_entrant(store: Registry, reference: str, judging: Judging) -> Entrant:
    """The set that `reference` names and its recipe. Its real data are not read.

    The recipe is the one that `judging` names. By default it is the one that the set's configuration names: at profile
    `paper` its method's. For an imported set it is that of this machine's default profile, at `paper` that of the
    method that made the set. If the recipe's source prints other numbers for the data set, these count. The recipe
    keeps only the augmentations that the data set allows, and has the labels that `judging` names. Raises UnknownName
    for a set, recipe or teacher, ConfigError for a prefix that the set does not have and for a temperature that is not
    above 0.
    """
    record = store.find(reference)
    synthetic = store.load(record.id)
    if judging.prefix is not None:
        synthetic = synthetic.prefix(judging.prefix)
    config = set_config(synthetic)
    named = judging.recipe or config.recipe or usual_recipe(synthetic.method, default_profile())
    base = recipe_for(named, config.dataset).for_set(config.dataset, len(synthetic.classes), synthetic.ipc)
    augment = CATALOGUE.get(config.dataset).augment if config.dataset in CATALOGUE else None
    labels = chosen_labels(judging.labels, base)
    if labels is not None:
        labels = replace(labels, teacher=resolved(labels.teacher, config.architecture, config.dataset))
        plan_for(labels.teacher.architecture or "", synthetic)  # refuses it before any data are read
    chosen = base.variant(augment=augment, learning_rate=judging.learning_rate).labelled(labels)
    return Entrant(record=record, synthetic=synthetic, config=config, recipe=chosen, prefix=judging.prefix)


def usual_recipe(method: str, profile: str) -> str:
    """The recipe of a profile; at `paper` that of `method`, or MTT's for a method that the suite does not have."""
    usual = METHODS.get(method).recipe if method in METHODS else Method.recipe
    return get_profile(profile).recipe or usual


def _found(dataset: str, root: Path) -> bool:
    """Whether data set `dataset` has a folder under `root`."""
    return dataset in CATALOGUE and root.is_dir() and any(each.path.is_dir() for each in places(dataset, root))


def _load(workspace: Workspace, record: SetRecord, synthetic: SyntheticSet) -> ImageData:
    """The set's real data, from the workspace's data root or the usual places, else from where its run had them."""
    device, progress = str(workspace.device), workspace.progress
    try:
        return load_prepared(synthetic, data_root=workspace.data_root, device=device, progress=progress)
    except (DataError, UnknownName):
        before = workspace.store.run(record.run_id).config.get("data_root") if record.run_id else None
        if workspace.data_root is not None or before is None:
            raise
        if not Path(before, synthetic.dataset).exists() and not _found(synthetic.dataset, Path(before)):
            raise DataError(
                f"{record.name} was condensed from '{synthetic.dataset}' in {before}, which is no longer there; give "
                f"--data-root, the folder that holds {synthetic.dataset} now"
            ) from None
        return load_prepared(synthetic, data_root=Path(before), device=device, progress=progress)
