"""The teacher of a set: a network that labels images. This module chooses it and trains it on the set's real data."""

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
    """The user's choice that a teacher labels the images of an evaluation.

    A field that is None has the value of the recipe, if the recipe's labels come from a teacher. Otherwise it has the
    default that its comment gives.
    """

    # The architecture of the teacher. Default: the one that the set was made with, with batch norm in place of instance
    # norm.
    architecture: str | None = None
    temperature: float | None = None  # T, by which the teacher's logits are divided before the softmax; default: 20

    def labels(self, recipe: Recipe) -> TeacherLabels:
        """The labels by the teacher of `recipe`, with the user's architecture and temperature.

        If the recipe has no teacher, the default teacher of the recipe's scale is used. Raises ConfigError for a
        temperature of 0 or less.
        """
        usual = recipe.labels or TeacherLabels(teacher=TEACHERS[recipe.scale])
        return TeacherLabels(
            teacher=replace(usual.teacher, architecture=self.architecture or usual.teacher.architecture),
            temperature=usual.temperature if self.temperature is None else self.temperature,
        )


Labelling: TypeAlias = Literal["teacher", "own"] | ByTeacher
"""Where the labels of an evaluation come from: a teacher labels every batch, or the set's own labels are used."""


def chosen_labels(labelling: Labelling | None, recipe: Recipe) -> TeacherLabels | None:
    """The labels of an evaluation by `recipe`, if the user chose `labelling`.

    A `labelling` of None means that the recipe decides. A result of None means that the set's own labels are used.
    """
    if labelling is None:
        return recipe.labels
    if isinstance(labelling, ByTeacher):
        return labelling.labels(recipe)
    return None if labelling == "own" else ByTeacher().labels(recipe)


def resolved(teacher: TeacherConfig, architecture: str, dataset: str) -> TeacherConfig:
    """`teacher` with its open values filled in, for a set of `dataset` that was made with `architecture`.

    A teacher without an architecture gets the set's architecture, with batch norm in place of instance norm. Its
    augmentation keeps only the operations that are allowed for the data set.
    """
    augment = CATALOGUE.get(dataset).augment if dataset in CATALOGUE else None
    return teacher.on(teacher.architecture or batch_normed_name(architecture), augment)


def own_teacher(config: CondenseConfig) -> TeacherConfig | None:
    """The configuration of the teacher that a condensation needs; None if it needs no teacher."""
    teacher = METHODS.get(config.method).teacher(config.settings)
    return None if teacher is None else resolved(teacher, config.architecture, config.dataset)


def prepare_teacher(
    config: CondenseConfig, data: ImageData, *, device: str = "auto", progress: Progress = SILENT
) -> Teacher | None:
    """The teacher that a condensation needs; None if it needs no teacher. It is trained if it is not stored."""
    teacher = own_teacher(config)
    if teacher is None:
        return None
    return train_teacher(data, teacher, device=resolve_device(device), progress=progress)


def label_facts(data: ImageData, labels: TeacherLabels | None) -> Mapping[str, Any]:
    """The details about a teacher's labels that are stored with result rows; {} for a set's own labels.

    They are the teacher's id and architecture, the temperature T and the teacher's size in bytes. The teacher need not
    be trained yet.
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
