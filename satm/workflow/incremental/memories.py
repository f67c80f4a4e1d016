"""The memories that class-incremental protocols are handed: condensed whole or step by step, or real images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from registry import Registry
from satm.config import to_dict
from satm.errors import ExpertError
from satm.experts.train import expert_store
from satm.machine.device import resolve_device
from satm.methods import METHODS, Task, check_ipc
from satm.presets import PROFILES, CondenseConfig, find_preset
from satm.progress import Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.workflow.choosing import default_profile
from satm.workflow.evaluate.subject import Subject
from satm.workflow.incremental.per_step import condense_steps, joined, mean_step_size, step_presets

Kind: TypeAlias = Literal["condensed", "random", "herding", "none"]
Budget: TypeAlias = Literal["images", "bytes"]
Groups: TypeAlias = Sequence[Sequence[int]]

WHOLE = "whole set, split along the class order"
PER_STEP = "each step's classes on their own"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What one class order's networks learn from."""

    images: SyntheticSet | None
    step_sizes: tuple[float | None, ...]  # learned, for what is held at each step
    parts: tuple[str, ...] = ()  # ids of the sets it was put together from


@dataclass(frozen=True, kw_only=True)
class MemorySource:
    """A memory for each class order. `detail` says with every result what it is and what it costs."""

    kind: Kind
    name: str  # what results call it
    detail: Mapping[str, Any]
    at: Callable[[int, Groups], Memory]  # of a class order, by its number and its groups


def memory_source(
    store: Registry,
    subject: Subject,
    kind: Kind,
    *,
    budget: Budget,
    per_step: Groups | None,
    data_root: Path | None,
    device: str,
    progress: Progress,
) -> MemorySource:
    """The source that was asked for, checked as far as can be before anything is stored.

    `budget` says how many real images equal the set (`real_images_a_class`); `per_step` holds the groups of the first
    class order where each step is to be condensed on its own. Raises ConfigError for more real images than a class has,
    ExpertError where herding's expert is missing.
    """
    if kind == "none":
        nothing = Memory(images=None, step_sizes=())
        return MemorySource(kind=kind, name="none", detail={"budget": None}, at=lambda order, groups: nothing)
    synthetic = subject.synthetic
    if kind == "condensed":
        detail: dict[str, Any] = {"budget": {"images": len(synthetic), "bytes": tensor_bytes(synthetic)}}
        if per_step is None:
            return MemorySource(
                kind=kind,
                name="condensed",
                detail=detail | {"condensed": WHOLE},
                at=lambda order, groups: _same_rate(synthetic, groups),
            )
        step_presets(store, subject, per_step)  # refuses what cannot be condensed

        def condensed(order: int, groups: Groups) -> Memory:
            records = condense_steps(store, subject, groups, data_root=data_root, device=device, progress=progress)
            parts = [store.load(record.id) for record in records]
            return Memory(
                images=joined(synthetic, parts, groups),
                step_sizes=tuple(mean_step_size(parts[: step + 1]) for step in range(len(groups))),
                parts=tuple(record.id for record in records),
            )

        return MemorySource(
            kind=kind, name="condensed[per-step]", detail=detail | {"condensed": PER_STEP}, at=condensed
        )
    ipc = real_images_a_class(synthetic, budget)
    check_ipc(subject.data, ipc)
    images = ipc * len(subject.data.classes)
    pixels = _pixels(synthetic)
    detail = {"budget": {"equal in": budget, "images": images, "bytes": images * pixels}, "condensed": None}
    name = kind if budget == "images" else f"{kind}[bytes]"
    if kind == "random":
        return MemorySource(
            kind=kind,
            name=name,
            detail=detail,
            at=lambda order, groups: _same_rate(subject.random(order, ipc), groups),
        )
    herded = _herded(subject, ipc, device)
    return MemorySource(kind=kind, name=name, detail=detail, at=lambda order, groups: _same_rate(herded, groups))


def real_images_a_class(synthetic: SyntheticSet, budget: Budget) -> int:
    """How many real images a class cost what the set does.

    In images: as many. In bytes: as many images of one byte a value as fit the bytes of the set's tensors, its images
    (four bytes a value) and its soft labels. A hard label costs both the same and is not counted, nor is a step size.
    """
    if budget == "images":
        return synthetic.ipc
    return tensor_bytes(synthetic) // len(synthetic.classes) // _pixels(synthetic)


def tensor_bytes(synthetic: SyntheticSet) -> int:
    """Bytes of the images and of soft labels."""
    labels = 0 if synthetic.label_kind == "hard" else synthetic.labels.nbytes
    return synthetic.images.nbytes + labels


def _pixels(synthetic: SyntheticSet) -> int:
    channels, height, width = synthetic.image_shape
    return channels * height * width


def _same_rate(images: SyntheticSet, groups: Groups) -> Memory:
    return Memory(images=images, step_sizes=(images.step_size,) * len(groups))


def _herded(subject: Subject, ipc: int, device: str) -> SyntheticSet:
    """Real images chosen by herding, on the features of the first of the set's own experts.

    Raises ExpertError where that expert is missing or too short, naming the command that trains it.
    """
    method = METHODS.get("herding")
    profile = subject.record.profile if subject.record.profile in PROFILES else default_profile()
    config = find_preset(
        subject.config.dataset, ipc, method="herding", profile=profile, image_size=subject.data.image_shape[-1]
    ).config
    changes: list[str] = []
    if isinstance(subject.config, CondenseConfig):
        ours = subject.config
        changes = [
            f"--set {name}={str(getattr(ours, name)).lower()}"
            for name in ("architecture", "zca")
            if getattr(ours, name) != getattr(config, name)
        ]
        theirs, plain = to_dict(ours.experts), to_dict(config.experts)
        changes += [f"--set experts.{k}={json.dumps(v)}" for k, v in theirs.items() if k != "count" and v != plain[k]]
        config = replace(
            config,
            architecture=ours.architecture,
            zca=ours.zca,
            image_size=ours.image_size,
            experts=replace(ours.experts, count=1),
        )
    epochs = method.expert_epochs(config.settings) or 0
    store = expert_store(subject.data, config.architecture, config.experts)
    expert = store.find(0)
    if expert is None or expert.epochs < epochs:
        command = f"satm experts {config.dataset} --ipc {ipc} --method herding --profile {profile}"
        raise ExpertError(
            f"herding chooses by the features of an expert of {epochs} epochs, which is not there; train it: "
            f"{' '.join([command, *changes])}"
        )
    where = resolve_device(device)
    task = Task(
        data=subject.data,
        ipc=ipc,
        architecture=config.architecture,
        seed=Seed(0),
        device=where,
        experts=[expert],
    )
    choosing = method.begin(task, config.settings)
    while choosing.step < choosing.steps:
        choosing.advance()
    return subject.real(choosing.result().images, ipc, "herding")
