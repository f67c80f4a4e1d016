"""Makes the memories of class-incremental protocols: the images that networks learn from when new classes arrive.

A memory is a set that was condensed as a whole, a set that was joined from parts (the classes or the domain of each
incremental step were condensed separately), real images, or nothing. Online memories are in online.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from protocols.buffer import check_buffer, quota
from protocols.online.memory import Keeping
from protocols.order import Steps
from satm.errors import ConfigError
from satm.methods import check_ipc
from satm.synthetic import SyntheticSet
from satm.workflow.evaluate.subject import MemoryKind, Subject
from satm.workflow.incremental.herding import herded
from satm.workflow.incremental.per_step import condense_steps, joined, mean_step_size, step_presets
from satm.workflow.teachers import label_facts
from satm.workflow.workspace import Workspace

Budget: TypeAlias = Literal["images", "bytes"]

WHOLE = "whole set, split along the class order"
PER_STEP = "each step's classes on their own"
PER_DOMAIN = "each step's domain on its own"
SAW_ALL = "saw_all_classes"
"""A key in the detail of a result. Its value lists the parts of the memory that used images of classes before these
classes arrived in the stream, one line for each part. Without such a part the key is missing."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory of one class order: the images that its networks learn from."""

    # In a domain-incremental stream, the images of each class are sorted by the step in which they arrive, and every
    # step has equally many. None if the protocol keeps no images.
    images: SyntheticSet | None
    # For each incremental step, the learned step size α of the images that are held then; None if it was not learned.
    step_sizes: tuple[float | None, ...]
    parts: tuple[str, ...] = ()  # the ids of the sets that were joined to this memory


@dataclass(frozen=True, kw_only=True)
class MemorySource:
    """A kind of memory, with a function that makes the memory of each class order."""

    kind: MemoryKind
    name: str  # the name of the memory in results
    detail: Mapping[str, Any]  # describes the memory and its cost; stored with every result
    at: Callable[[int, Steps], Memory]  # makes the memory of a class order, from its number and its steps
    remarks: tuple[str, ...] = ()  # lines to show to the user before the work starts
    keeping: Keeping | None = None  # the memory that an online protocol makes while its stream runs; otherwise None


@dataclass(frozen=True, kw_only=True)
class MemoryTerms:
    """The description of the memory that the user asks for."""

    kind: MemoryKind
    steps: Steps  # the steps of the first class order
    budget: Budget = "images"  # how many real images are taken: as many as the set has, or as many bytes as it has
    buffer: int | None = None  # the fixed number of images in the memory; None: the memory grows with the classes
    condense_per_step: bool = False  # whether the classes of each step are condensed separately
    keeps_logits: bool = False  # whether the protocol stores K logits with each image (K: the number of classes)

    @property
    def copies(self) -> int:
        """The number of steps in which each class arrives: all steps of a domain-incremental stream, otherwise 1."""
        return 1 if self.steps.domains is None else len(self.steps.domains)


def memory_source(workspace: Workspace, subject: Subject, terms: MemoryTerms) -> MemorySource:
    """Return the source of the memory that `terms` describe. Everything is checked that can be checked in advance.

    Raises ConfigError if a step cannot be condensed, if a class has fewer real images than are needed, or if the buffer
    is smaller than one image for each class or larger than the set. Raises ExpertError if herding's expert is missing.
    """
    if terms.kind == "none":
        nothing = Memory(images=None, step_sizes=())
        return MemorySource(kind="none", name="none", detail={"budget": None}, at=lambda order, steps: nothing)
    if terms.buffer is not None:
        check_buffer(terms.buffer, len(subject.synthetic.classes), terms.copies)
    if terms.kind != "condensed":
        return _real(workspace, subject, terms)
    size = len(subject.synthetic.images) * terms.copies
    if terms.buffer is not None and terms.buffer > size:
        has = "has" if terms.copies == 1 else f"and the sets of the other {terms.copies - 1} domains have"
        raise ConfigError(f"buffer {terms.buffer}: {subject.record.name} {has} {size} images; take at most {size}")
    if not terms.condense_per_step:
        return _condensed_whole(subject, terms)
    step_presets(workspace.store, subject, terms.steps)  # raises ConfigError if a step cannot be condensed
    return _condensed_per_step(workspace, subject, terms)


def _condensed_whole(subject: Subject, terms: MemoryTerms) -> MemorySource:
    return MemorySource(
        kind="condensed",
        name=_name("condensed", terms),
        detail=_condensed_cost(subject, terms) | {"condensed": WHOLE, SAW_ALL: ["the set was condensed as a whole"]},
        at=lambda order, steps: _same_rate(subject.synthetic, steps),
        remarks=_unfilled(subject, terms),
    )


def _condensed_per_step(workspace: Workspace, subject: Subject, terms: MemoryTerms) -> MemorySource:
    def condensed(order: int, steps: Steps) -> Memory:
        records = condense_steps(workspace, subject, steps)
        parts = [workspace.store.load(record.id) for record in records]
        return Memory(
            images=joined(subject.synthetic, parts, steps.groups),
            step_sizes=tuple(mean_step_size(parts[: step + 1]) for step in range(len(parts))),
            parts=tuple(record.id for record in records),
        )

    return MemorySource(
        kind="condensed",
        name=_name("condensed", terms, "per-step"),
        detail=_condensed_cost(subject, terms) | {"condensed": PER_STEP if terms.steps.domains is None else PER_DOMAIN},
        at=condensed,
        remarks=_unfilled(subject, terms),
    )


def _real(workspace: Workspace, subject: Subject, terms: MemoryTerms) -> MemorySource:
    """Return the source of real images. They are drawn anew for each class order, or chosen once by herding.

    In a domain-incremental stream, this is done for the images of each domain separately.
    """
    synthetic, kind, budget = subject.synthetic, terms.kind, terms.budget
    ipc = real_images_a_class(synthetic, budget, keeps_logits=terms.keeps_logits)
    images = ipc * len(synthetic.classes) * terms.copies
    if terms.buffer is not None:
        smallest = int(torch.bincount(subject.data.train.labels, minlength=len(synthetic.classes)).min())
        images, ipc = terms.buffer, min(quota(terms.buffer, len(terms.steps.groups[0]), 0), smallest)
    check_ipc(subject.data, ipc)
    held = images * (_pixels(synthetic) + _logits(synthetic, terms)) + teacher_bytes(subject)
    equal = budget if terms.buffer is None else "buffer"
    detail: dict[str, Any] = {"budget": {"equal in": equal, "images": images, "bytes": held}, "condensed": None}
    chosen: dict[str | None, SyntheticSet] = {}  # herding's images of each domain; {} for random images
    if kind == "herding":
        chosen = {name: herded(workspace, subject.in_domain(name), ipc) for name in terms.steps.domains or (None,)}
        detail |= {SAW_ALL: ["herding's expert was trained on all classes"]} if terms.steps.domains is None else {}

    def real(order: int, steps: Steps) -> Memory:
        parts = [
            chosen[name] if chosen else subject.in_domain(name).random(order, ipc) for name in steps.domains or (None,)
        ]
        images = parts[0] if steps.domains is None else joined(parts[0], parts, steps.groups)
        return _same_rate(images, steps)

    # With stored logits, equal bytes give another number of images than without, so the memory gets another name.
    unit = "" if budget == "images" else "bytes+logits" if terms.keeps_logits else "bytes"
    return MemorySource(
        kind=kind,
        name=_name(kind, terms, unit),
        detail=detail,
        at=real,
    )


def _name(kind: str, terms: MemoryTerms, *notes: str) -> str:
    """Return the name of a memory in results: its kind, with the notes and the size of the buffer in brackets."""
    notes = tuple(filter(None, (*notes, f"M={terms.buffer}" if terms.buffer is not None else "")))
    return f"{kind}[{','.join(notes)}]" if notes else kind


def _unfilled(subject: Subject, terms: MemoryTerms) -> tuple[str, ...]:
    """Return a remark if the set has too few images of the first step's classes to fill the buffer; otherwise ()."""
    ipc, first = subject.record.ipc, len(terms.steps.groups[0])
    if terms.buffer is None or terms.buffer <= ipc * first:
        return ()
    return (
        f"{subject.record.name} has {ipc} images a class: after the first step the buffer of {terms.buffer} holds "
        f"{ipc * first}",
    )


def real_images_a_class(synthetic: SyntheticSet, budget: Budget, *, keeps_logits: bool = False) -> int:
    """Return how many real images of each class cost as much as the set, in number or in bytes.

    With the budget "images" it is the IPC of the set. With "bytes" it is the largest number of real images that take no
    more bytes than the set. What is counted:

    - An image of the set has four bytes for each value of a stored image; soft labels are counted too.
    - A real image has one byte for each value.
    - If the protocol keeps logits, 4·K bytes are added for each real image and for each synthetic image that networks
      see (K: the number of classes).
    - Hard labels and the step size are not counted. Hard labels cost the same for both kinds of images.
    - A teacher that labels every batch costs the same for both kinds of images. Its bytes are reported with every
      memory, and do not change the number of real images.
    """
    if budget == "images":
        return synthetic.ipc
    logits = 4 * len(synthetic.classes) if keeps_logits else 0
    total = tensor_bytes(synthetic) + len(synthetic) * logits
    return total // len(synthetic.classes) // (_pixels(synthetic) + logits)


def tensor_bytes(synthetic: SyntheticSet) -> int:
    """Return the bytes of the set's images and of its soft labels. Hard labels are not counted."""
    labels = 0 if synthetic.label_kind == "hard" else synthetic.labels.nbytes
    return synthetic.images.nbytes + labels


def teacher_bytes(subject: Subject) -> int:
    """Return the bytes of the teacher's parameters and buffers; 0 if no teacher labels the batches."""
    facts = label_facts(subject.data, subject.recipe.labels)
    return int(facts["labels"]["bytes"]) if facts else 0


def _condensed_cost(subject: Subject, terms: MemoryTerms) -> dict[str, Any]:
    """Return the number of images and bytes of the condensed memory when it is largest, for the detail of results."""
    synthetic = subject.synthetic
    stored = len(synthetic.images)
    images = stored * terms.copies if terms.buffer is None else terms.buffer
    each = tensor_bytes(synthetic) // stored + synthetic.parametrisation.each * _logits(synthetic, terms)
    return {"budget": {"images": images, "bytes": images * each + teacher_bytes(subject)}}


def _logits(synthetic: SyntheticSet, terms: MemoryTerms) -> int:
    """Return the bytes of the logits that the protocol stores with one image; 0 if it stores none."""
    return 4 * len(synthetic.classes) if terms.keeps_logits else 0


def _pixels(synthetic: SyntheticSet) -> int:
    channels, height, width = synthetic.image_shape
    return channels * height * width


def _same_rate(images: SyntheticSet, steps: Steps) -> Memory:
    return Memory(images=images, step_sizes=(images.step_size,) * len(steps.groups))
