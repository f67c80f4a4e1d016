"""The subject of an evaluation: a stored set, the recipe by which networks are trained on it, and its real data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from evaluation import RatePolicy, Recipe, check_batches, recipe_for
from registry import Registry, SetRecord
from satm.data import CATALOGUE, ImageData
from satm.data.domain import in_domain
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

MemoryKind = Literal["condensed", "random", "herding", "none", "reservoir", "ssd"]
"""The images that networks learn from: the set itself, real images in its place, no images, or an online memory."""
# The seed of all evaluations. It is the same for every set, so two networks of the same repeat start from the same
# weights, and the results of two sets can be compared in pairs.
ROOT = Seed(0)


NO_STEP_SIZE = "without a learned step size, so its rate is chosen from the grid"


@dataclass(frozen=True, kw_only=True)
class Judging:
    """The user's choices for the evaluation of sets."""

    recipe: str | None = None  # the name of the recipe; None: the set's own recipe
    learning_rate: RatePolicy | None = None  # how the learning rate is found; None: as the recipe says
    prefix: int | None = None  # use only this many first images of each class; None: use all images
    labels: Labelling | None = None  # the labels of a teacher, or the set's own labels; None: as the recipe says


def policies(learning_rate: RatePolicy | Literal["both"] | None) -> tuple[RatePolicy | None, ...]:
    """Return the policies of the learning rate to evaluate with, one after the other; "both" means learned and grid.

    The policy is a part of the recipe. Results of two policies are therefore stored under two recipes, and do not
    replace each other. For images without a learned step size, "learned" becomes "grid" (`Entrant.recipe_of`), so with
    "both" their networks are trained only once. (A recipe with `rate_networks` = 1, such as `smoke`, keeps its older
    ids: the same networks are then trained under both recipes.)
    """
    return ("learned", "grid") if learning_rate == "both" else (learning_rate,)


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A stored set and the recipe by which networks are trained on it. Its real data are not read yet."""

    record: SetRecord
    synthetic: SyntheticSet
    config: SetConfig
    recipe: Recipe
    prefix: int | None = None  # only this many first images of each class are used; None: all images
    hardened: bool = False  # True if the soft labels of the set are replaced by the class of each image

    @property
    def profile(self) -> str:
        """The profile of the results: the smaller of two scales, the profile of the set and the scale of the recipe."""
        return weaker(self.record.profile, self.recipe.scale)

    @property
    def own(self) -> str:
        """The canonical name of the architecture that the set was made with; evaluations on it are "in-domain"."""
        return self.plan(self.config.architecture).name

    def plan(self, architecture: str) -> NetworkPlan:
        """Return how a network of this name is made for the set's images. Raises the errors of `satm.networks.plan`."""
        return plan_for(architecture, self.synthetic)

    def canonical(self, architecture: str) -> str:
        """Return the canonical name of an architecture.

        Raises the errors of `plan`, and ConfigError if the network cannot be trained on the set with this recipe.
        """
        plan = self.plan(architecture)
        check_batches(plan, self.recipe, examples=len(self.synthetic))
        return plan.name

    def recipe_of(self, memory: MemoryKind) -> Recipe:
        """Return the recipe under which results of `memory` are stored.

        If the images have no learned step size, the policy `learned` of the recipe is replaced by `grid`.
        """
        learnt = memory == "condensed" and self.synthetic.step_size is not None
        return self.recipe if learnt else self.recipe.without_step_size()

    @property
    def policy(self) -> RatePolicy:
        """The policy of the learning rate on the set itself. If the set has no step size, `grid` replaces `learned`."""
        policy = self.recipe.learning_rate
        return "grid" if policy == "learned" and self.synthetic.step_size is None else policy

    def check_learning_rate(self, memory: MemoryKind) -> None:
        """Raise ConfigError if the rate for `memory` must be chosen on validation images and there are none."""
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
        """What is added to the details of every result: `validation` 0 if no images are held out; otherwise nothing."""
        return {} if self.config.validation else {"validation": 0.0}

    @property
    def remark(self) -> str:
        """A text for the line that is shown first.

        It says if no images are held out, and if the recipe asks for a learned rate although the set has no step size.
        If neither is so, it is empty.
        """
        held = "" if self.config.validation else ", all training images used and nothing selected (validation=0)"
        learned = self.recipe.learning_rate == "learned" and self.synthetic.step_size is None
        return held + (f", {NO_STEP_SIZE}" if learned else "")

    def protocol(self, architecture: str) -> str:
        """Return the protocol of an evaluation on the architecture with this canonical name."""
        return "in-domain" if architecture == self.own else "cross-arch"

    def stored_memory(self, memory: MemoryKind) -> str:
        """Return the name of a memory in stored results: `condensed`, or `condensed[:3]` for 3 images of each class.

        In `condensed[hard]` the soft labels of the set are replaced by the class of each image.
        """
        notes = [*([] if self.prefix is None else [f":{self.prefix}"]), *(["hard"] if self.hardened else [])]
        return f"{memory}[{','.join(notes)}]" if notes else memory


@dataclass(frozen=True, kw_only=True)
class Subject(Entrant):
    """A stored set with its recipe and its real data."""

    data: ImageData
    domain: str | None = None  # the domain of the real data in a domain-incremental stream; None: that of the set

    def trained_teacher(self, workspace: Workspace) -> Teacher | None:
        """Return the teacher that labels the batches, or None if the recipe uses no teacher.

        A teacher that is not stored is trained on the set's real data. Raises the errors of `train_teacher`.
        """
        labels = self.recipe.labels
        if labels is None:
            return None
        return train_teacher(self.data, labels.teacher, device=workspace.device, progress=workspace.progress)

    def in_domain(self, name: str | None) -> Subject:
        """Return the same subject with its real data in the domain `name` (`satm.data.domain`); None: itself.

        Raises ConfigError if there is no such domain.
        """
        return self if name is None else replace(self, data=in_domain(self.data, name), domain=name)

    def draws(self, memory: MemoryKind) -> Callable[[int], SyntheticSet]:
        """Return a function that gives the training images of a repeat.

        For "condensed" it always gives the set itself. For "random" it gives new random real images, as many of each
        class as the set has. Raises ConfigError for another memory.
        """
        if memory == "condensed":
            return lambda repeat: self.synthetic
        if memory == "random":
            return lambda repeat: self.random(repeat, self.synthetic.ipc)
        raise ConfigError(f"memory {memory}: expected condensed or random")

    def random(self, repeat: int, ipc: int) -> SyntheticSet:
        """Return `ipc` random real images of each class. Each repeat and each domain has other images."""
        seed = ROOT.child("random memory", repeat)
        seed = seed if self.domain is None else seed.child(self.domain)
        return self.real(random_images(self.data, ipc, seed), ipc, "random")

    def real(self, images: Images, ipc: int, method: str) -> SyntheticSet:
        """Return real images as a set with the classes and the preprocessing of this set.

        `images` [K·ipc, C, H, W] are sorted by class: first the `ipc` images of class 0, then those of class 1, and so
        on. K is the number of classes.
        """
        return replace(
            self.synthetic,
            images=images.cpu(),
            labels=class_major_labels(len(self.data.classes), ipc),
            label_kind="hard",
            step_size=None,  # real images have no learned step size; the rate is chosen on the validation split
            ipc=ipc,
            method=method,
            parametrisation=PIXELS,
            name=None,
        )


def open_subject(workspace: Workspace, reference: str, judging: Judging) -> Subject:
    """Return the set that `reference` names, with its recipe and its real data.

    Raises the errors of `find_entrant`, DataError if the real images differ from those that the set was made from, and
    the errors of `check_teacher` for a teacher that cannot be trained.
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
    """Return the set that `reference` names, with its recipe. Its real data are not read.

    The recipe is the first of these that is given: the recipe that `judging` names, the recipe in the configuration of
    the set (which may be without one), `usual_recipe` for this machine's default profile. If the source of the recipe
    gives other numbers for the data set or for sets of this size, these numbers are used. Only the augmentations that
    the data set allows are kept. The learning rate and the labels of `judging` replace those of the recipe, except if
    they are None.

    Raises UnknownName for an unknown set, recipe or teacher. Raises ConfigError for a prefix that the set does not
    have, and for a temperature of the teacher that is not above 0.
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
        plan_for(labels.teacher.architecture or "", synthetic)  # raises for a wrong teacher before any data are read
    chosen = base.variant(augment=augment, learning_rate=judging.learning_rate).labelled(labels)
    return Entrant(record=record, synthetic=synthetic, config=config, recipe=chosen, prefix=judging.prefix)


def usual_recipe(method: str, profile: str) -> str:
    """Return the name of the recipe of a profile.

    The profile `paper` has no recipe of its own; the recipe of `method` is used then, or the recipe of MTT if the suite
    does not have the method.
    """
    usual = METHODS.get(method).recipe if method in METHODS else Method.recipe
    return get_profile(profile).recipe or usual


def _found(dataset: str, root: Path) -> bool:
    """Return whether the data set `dataset` has a folder under `root`."""
    return dataset in CATALOGUE and root.is_dir() and any(each.path.is_dir() for each in places(dataset, root))


def _load(workspace: Workspace, record: SetRecord, synthetic: SyntheticSet) -> ImageData:
    """Return the set's real data.

    They are read from the data root of the workspace or from the usual places. If they are not there, they are read
    from the folder in which the run of the set found them.
    """
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
