"""The teacher of a set: which one it is, and its training on the set's real data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from evaluation import Recipe
from satm.data import CATALOGUE, ImageData
from satm.machine.device import resolve_device
from satm.methods import METHODS
from satm.networks import batch_normed_name
from satm.presets import CondenseConfig
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.teachers import TEACHERS, Teacher, TeacherConfig, TeacherLabels, check_teacher, train_teacher
from satm.teachers.store import stored_bytes
from satm.teachers.train import teacher_store


@dataclass(frozen=True, slots=True, kw_only=True)
class ByTeacher:
    """Labels of an evaluation by a teacher; None means as the recipe has it, if its labels are a teacher's."""

    architecture: str | None = None  # of the teacher; None: the set's own, with batch norm in place of instance norm
    temperature: float | None = None  # T; None: 20

    def labels(self, recipe: Recipe) -> TeacherLabels:
        """The labels under `recipe`; without a teacher of its own it gets the teacher of its scale.

        Raises ConfigError for a temperature of 0 or less.
        """
        usual = recipe.labels or TeacherLabels(teacher=TEACHERS[recipe.scale])
        return TeacherLabels(
            teacher=replace(usual.teacher, architecture=self.architecture or usual.teacher.architecture),
            temperature=usual.temperature if self.temperature is None else self.temperature,
        )


Labelling: TypeAlias = Literal["teacher", "own"] | ByTeacher
"""Where the labels of an evaluation come from: a teacher labels every batch, or the set has them."""


def chosen_labels(labelling: Labelling | None, recipe: Recipe) -> TeacherLabels | None:
    """The labels under `recipe`; None: the set's own. A `labelling` of None means: as the recipe has them."""
    if labelling is None:
        return recipe.labels
    if isinstance(labelling, ByTeacher):
        return labelling.labels(recipe)
    return None if labelling == "own" else ByTeacher().labels(recipe)


def resolved(teacher: TeacherConfig, architecture: str, dataset: str) -> TeacherConfig:
    """`teacher` for a set of `dataset` whose own network is `architecture`.

    A teacher without an architecture gets the set's own, with batch norm in place of instance norm. The augmentation
    keeps only those operations that the data set allows.
    """
    augment = CATALOGUE.get(dataset).augment if dataset in CATALOGUE else None
    return teacher.on(teacher.architecture or batch_normed_name(architecture), augment)


def own_teacher(config: CondenseConfig) -> TeacherConfig | None:
    """The teacher that a condensation needs; None if it needs none."""
    teacher = METHODS.get(config.method).teacher(config.settings)
    return None if teacher is None else resolved(teacher, config.architecture, config.dataset)


def prepare_teacher(
    config: CondenseConfig, data: ImageData, *, device: str = "auto", progress: Progress = SILENT
) -> Teacher | None:
    """The teacher that a condensation needs, trained if it is not stored; None if it needs none."""
    teacher = own_teacher(config)
    if teacher is None:
        return None
    return train_teacher(data, teacher, device=resolve_device(device), progress=progress)


def label_facts(data: ImageData, labels: TeacherLabels | None) -> Mapping[str, Any]:
    """What result rows say of a teacher's labels: its id, its architecture, T and its bytes; {} for a set's own labels.

    The teacher need not be trained yet.
    """
    if labels is None:
        return {}
    plan = check_teacher(data, labels.teacher)
    return {
        "labels": {
            "teacher": teacher_store(data, labels.teacher).key,
            "architecture": plan.name,
            "temperature": labels.temperature,
            "bytes": stored_bytes(plan.create(Seed(0))),
        }
    }
