"""The memories of class-incremental protocols: condensed whole, condensed step by step, or real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from satm.methods import check_ipc
from satm.synthetic import SyntheticSet
from satm.workflow.evaluate.subject import MemoryKind, Subject
from satm.workflow.incremental.herding import herded
from satm.workflow.incremental.per_step import condense_steps, joined, mean_step_size, step_presets
from satm.workflow.teachers import label_facts
from satm.workflow.workspace import Workspace

Budget: TypeAlias = Literal["images", "bytes"]
Groups: TypeAlias = tuple[tuple[int, ...], ...]
"""The classes of each incremental step."""

WHOLE = "whole set, split along the class order"
PER_STEP = "each step's classes on their own"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the networks of one class order learn from."""

    images: SyntheticSet | None
    step_sizes: tuple[float | None, ...]  # for each incremental step, the learned α of the images held then
    parts: tuple[str, ...] = ()  # ids of the sets that are joined in it


@dataclass(frozen=True, kw_only=True)
class MemorySource:
    """Gives a memory for each class order. `detail` describes the memory and its cost in every result."""

    kind: MemoryKind
    name: str  # in results
    detail: Mapping[str, Any]
    at: Callable[[int, Groups], Memory]  # of a class order: its number and the classes of its steps


def memory_source(
    workspace: Workspace, subject: Subject, kind: MemoryKind, *, budget: Budget, per_step: Groups | None
) -> MemorySource:
    """The source of memories of this `kind`, checked as far as possible before anything is stored.

    Args:
        budget: whether real images equal the set in number or in bytes (`real_images_a_class`).
        per_step: the steps of the first class order, if each step is condensed on its own.

    Raises ConfigError for a step that cannot be condensed or for more real images than a class has. Raises ExpertError
    if herding's expert is missing.
    """
    if kind == "none":
        nothing = Memory(images=None, step_sizes=())
        return MemorySource(kind=kind, name="none", detail={"budget": None}, at=lambda order, groups: nothing)
    if kind != "condensed":
        return _real(workspace, subject, kind, budget)
    if per_step is None:
        return _condensed_whole(subject)
    step_presets(workspace.store, subject, per_step)  # refuses what cannot be condensed
    return _condensed_per_step(workspace, subject)


def _condensed_whole(subject: Subject) -> MemorySource:
    detail = {**_cost(subject), "condensed": WHOLE}
    return MemorySource(
        kind="condensed",
        name="condensed",
        detail=detail,
        at=lambda order, groups: _same_rate(subject.synthetic, groups),
    )


def _condensed_per_step(workspace: Workspace, subject: Subject) -> MemorySource:
    def condensed(order: int, groups: Groups) -> Memory:
        records = condense_steps(workspace, subject, groups)
        parts = [workspace.store.load(record.id) for record in records]
        return Memory(
            images=joined(subject.synthetic, parts, groups),
            step_sizes=tuple(mean_step_size(parts[: step + 1]) for step in range(len(groups))),
            parts=tuple(record.id for record in records),
        )

    detail = {**_cost(subject), "condensed": PER_STEP}
    return MemorySource(kind="condensed", name="condensed[per-step]", detail=detail, at=condensed)


def _real(workspace: Workspace, subject: Subject, kind: MemoryKind, budget: Budget) -> MemorySource:
    """Real images: new ones for each class order, or chosen once by herding."""
    ipc = real_images_a_class(subject.synthetic, budget)
    check_ipc(subject.data, ipc)
    images = ipc * len(subject.data.classes)
    held = images * _pixels(subject.synthetic) + teacher_bytes(subject)
    cost = {"equal in": budget, "images": images, "bytes": held}
    chosen = herded(workspace, subject, ipc) if kind == "herding" else None
    return MemorySource(
        kind=kind,
        name=kind if budget == "images" else f"{kind}[bytes]",
        detail={"budget": cost, "condensed": None},
        at=lambda order, groups: _same_rate(subject.random(order, ipc) if chosen is None else chosen, groups),
    )


def real_images_a_class(synthetic: SyntheticSet, budget: Budget) -> int:
    """The number of real images a class that cost as much as the set.

    In images: as many as the set has. In bytes: as many as fit the bytes of the set's tensors, which are its images
    (four bytes a value) and its soft labels. A real image has one byte a value. Hard labels cost the same for both and
    are not counted; nor is a step size. A teacher that labels every batch labels those of real images too, so it costs
    the same for both. It is counted in the bytes of each memory, and does not change the number of real images.
    """
    if budget == "images":
        return synthetic.ipc
    return tensor_bytes(synthetic) // len(synthetic.classes) // _pixels(synthetic)


def tensor_bytes(synthetic: SyntheticSet) -> int:
    """Bytes of the images and of soft labels."""
    labels = 0 if synthetic.label_kind == "hard" else synthetic.labels.nbytes
    return synthetic.images.nbytes + labels


def teacher_bytes(subject: Subject) -> int:
    """Bytes of the teacher that labels the memory's batches: its parameters and buffers; 0 without one."""
    facts = label_facts(subject.data, subject.recipe.labels)
    return int(facts["labels"]["bytes"]) if facts else 0


def _cost(subject: Subject) -> dict[str, Any]:
    synthetic = subject.synthetic
    return {"budget": {"images": len(synthetic), "bytes": tensor_bytes(synthetic) + teacher_bytes(subject)}}


def _pixels(synthetic: SyntheticSet) -> int:
    channels, height, width = synthetic.image_shape
    return channels * height * width


def _same_rate(images: SyntheticSet, groups: Groups) -> Memory:
    return Memory(images=images, step_sizes=(images.step_size,) * len(groups))
