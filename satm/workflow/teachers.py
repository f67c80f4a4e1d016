"""The teacher of a set: which one it is, and its training on the set's real data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from satm.data import CATALOGUE, ImageData
from satm.machine.device import resolve_device
from satm.methods import METHODS
from satm.networks import batch_normed_name
from satm.presets import CondenseConfig
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.teachers import Teacher, TeacherConfig, TeacherLabels, check_teacher, train_teacher
from satm.teachers.store import stored_bytes
from satm.teachers.train import teacher_store


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
