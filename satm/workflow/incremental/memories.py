"""The memories of class-incremental protocols: condensed whole, condensed step by step, or real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from protocols.buffer import check_buffer, quota
from satm.errors import ConfigError
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
SAW_ALL = "saw_all_classes"
"""The key in a result's detail of what knew classes before they arrived: one line each; not there if nothing did."""


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
    remarks: tuple[str, ...] = ()  # to say before the work starts


@dataclass(frozen=True, kw_only=True)
class MemoryTerms:
    """The memory that is asked for."""

    kind: MemoryKind
    groups: Groups  # the steps of the first class order
    budget: Budget = "images"  # whether real images equal the set in number or in bytes (`real_images_a_class`)
    buffer: int | None = None  # images held from the start; None: the memory grows with the classes
    condense_per_step: bool = False  # each step's classes on their own
    keeps_logits: bool = False  # whether the protocol keeps K logits beside each image


def memory_source(workspace: Workspace, subject: Subject, terms: MemoryTerms) -> MemorySource:
    """The source of memories on these `terms`, checked as far as possible before anything is stored.

    Raises ConfigError for a step that cannot be condensed, for more real images than a class has, and for a buffer that
    is smaller than one image a class or larger than the set. Raises ExpertError if herding's expert is missing.
    """
    if terms.kind == "none":
        nothing = Memory(images=None, step_sizes=())
        return MemorySource(kind="none", name="none", detail={"budget": None}, at=lambda order, groups: nothing)
    if terms.buffer is not None:
        check_buffer(terms.buffer, len(subject.synthetic.classes))
    if terms.kind != "condensed":
        return _real(workspace, subject, terms)
    size = len(subject.synthetic.images)
    if terms.buffer is not None and terms.buffer > size:
        raise ConfigError(f"buffer {terms.buffer}: {subject.record.name} has {size} images; take at most {size}")
    if not terms.condense_per_step:
        return _condensed_whole(subject, terms)
    step_presets(workspace.store, subject, terms.groups)  # refuses what cannot be condensed
    return _condensed_per_step(workspace, subject, terms)


def _condensed_whole(subject: Subject, terms: MemoryTerms) -> MemorySource:
    return MemorySource(
        kind="condensed",
        name=_name("condensed", terms),
        detail=_condensed_cost(subject, terms) | {"condensed": WHOLE, SAW_ALL: ["the set was condensed as a whole"]},
        at=lambda order, groups: _same_rate(subject.synthetic, groups),
        remarks=_unfilled(subject, terms),
    )


def _condensed_per_step(workspace: Workspace, subject: Subject, terms: MemoryTerms) -> MemorySource:
    def condensed(order: int, groups: Groups) -> Memory:
        records = condense_steps(workspace, subject, groups)
        parts = [workspace.store.load(record.id) for record in records]
        return Memory(
            images=joined(subject.synthetic, parts, groups),
            step_sizes=tuple(mean_step_size(parts[: step + 1]) for step in range(len(groups))),
            parts=tuple(record.id for record in records),
        )

    return MemorySource(
        kind="condensed",
        name=_name("condensed", terms, "per-step"),
        detail=_condensed_cost(subject, terms) | {"condensed": PER_STEP},
        at=condensed,
        remarks=_unfilled(subject, terms),
    )


def _real(workspace: Workspace, subject: Subject, terms: MemoryTerms) -> MemorySource:
    """Real images: new ones for each class order, or chosen once by herding."""
    synthetic, kind, budget = subject.synthetic, terms.kind, terms.budget
    ipc = real_images_a_class(synthetic, budget, keeps_logits=terms.keeps_logits)
    images = ipc * len(synthetic.classes)
    if terms.buffer is not None:
        smallest = int(torch.bincount(subject.data.train.labels, minlength=len(synthetic.classes)).min())
        images, ipc = terms.buffer, min(quota(terms.buffer, len(terms.groups[0]), 0), smallest)
    check_ipc(subject.data, ipc)
    held = images * (_pixels(synthetic) + _logits(synthetic, terms)) + teacher_bytes(subject)
    equal = budget if terms.buffer is None else "buffer"
    detail: dict[str, Any] = {"budget": {"equal in": equal, "images": images, "bytes": held}, "condensed": None}
    chosen = None
    if kind == "herding":
        chosen = herded(workspace, subject, ipc)
        detail |= {SAW_ALL: ["herding's expert was trained on all classes"]}
    # With logits, equal bytes are another number of images than without: the two must not share a name.
    unit = "" if budget == "images" else "bytes+logits" if terms.keeps_logits else "bytes"
    return MemorySource(
        kind=kind,
        name=_name(kind, terms, unit),
        detail=detail,
        at=lambda order, groups: _same_rate(subject.random(order, ipc) if chosen is None else chosen, groups),
    )


def _name(kind: str, terms: MemoryTerms, *notes: str) -> str:
    """The name of a memory in results: its kind, with notes in brackets."""
    notes = tuple(filter(None, (*notes, f"M={terms.buffer}" if terms.buffer is not None else "")))
    return f"{kind}[{','.join(notes)}]" if notes else kind


def _unfilled(subject: Subject, terms: MemoryTerms) -> tuple[str, ...]:
    """A remark if a condensed set cannot fill the buffer in the first steps."""
    ipc, first = subject.record.ipc, len(terms.groups[0])
    if terms.buffer is None or terms.buffer <= ipc * first:
        return ()
    return (
        f"{subject.record.name} has {ipc} images a class: after the first step the buffer of {terms.buffer} holds "
        f"{ipc * first}",
    )


def real_images_a_class(synthetic: SyntheticSet, budget: Budget, *, keeps_logits: bool = False) -> int:
    """The number of real images a class that cost as much as the set.

    In images: as many as the set has. In bytes: as many as fit the bytes of the set's tensors, which are its images
    (four bytes a value) and its soft labels. A real image has one byte a value. Hard labels cost the same for both and
    are not counted; nor is a step size. If the protocol keeps logits, each image of either kind costs 4·K bytes more. A
    teacher that labels every batch labels those of real images too, so it costs the same for both. It is counted in the
    bytes of each memory, and does not change the number of real images. Images count as they are stored; a protocol
    keeps logits of each image that networks see.
    """
    if budget == "images":
        return synthetic.ipc
    logits = 4 * len(synthetic.classes) if keeps_logits else 0
    total = tensor_bytes(synthetic) + len(synthetic) * logits
    return total // len(synthetic.classes) // (_pixels(synthetic) + logits)


def tensor_bytes(synthetic: SyntheticSet) -> int:
    """Bytes of the images and of soft labels."""
    labels = 0 if synthetic.label_kind == "hard" else synthetic.labels.nbytes
    return synthetic.images.nbytes + labels


def teacher_bytes(subject: Subject) -> int:
    """Bytes of the teacher that labels the memory's batches: its parameters and buffers; 0 without one."""
    facts = label_facts(subject.data, subject.recipe.labels)
    return int(facts["labels"]["bytes"]) if facts else 0


def _condensed_cost(subject: Subject, terms: MemoryTerms) -> dict[str, Any]:
    """Images and bytes of the condensed memory at its largest."""
    synthetic = subject.synthetic
    stored = len(synthetic.images)
    images = stored if terms.buffer is None else terms.buffer
    each = tensor_bytes(synthetic) // stored + synthetic.parametrisation.each * _logits(synthetic, terms)
    return {"budget": {"images": images, "bytes": images * each + teacher_bytes(subject)}}


def _logits(synthetic: SyntheticSet, terms: MemoryTerms) -> int:
    """Bytes of the logits that the protocol keeps beside one image."""
    return 4 * len(synthetic.classes) if terms.keeps_logits else 0


def _pixels(synthetic: SyntheticSet) -> int:
    channels, height, width = synthetic.image_shape
    return channels * height * width


def _same_rate(images: SyntheticSet, groups: Groups) -> Memory:
    return Memory(images=images, step_sizes=(images.step_size,) * len(groups))
