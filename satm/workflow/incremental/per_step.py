"""Condenses the classes or the domain of each incremental step separately, and joins the sets to one memory.

Such a memory is faithful to incremental learning, because no step uses the images of later steps. It is expensive,
because every step is a condensation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from protocols.order import Steps
from registry import Registry, SetRecord
from satm.data.domain import UPRIGHT
from satm.errors import ConfigError
from satm.presets import CondenseConfig, Preset
from satm.synthetic import SyntheticSet
from satm.workflow.condense.run import condense
from satm.workflow.evaluate.subject import Subject
from satm.workflow.workspace import Workspace


def step_presets(store: Registry, subject: Subject, steps: Steps) -> list[Preset]:
    """Return one preset for each step: the preset of the subject's set, with only the classes or domain of the step.

    Raises ConfigError if the set was not condensed here, if it began at the saved state of another run, if it is itself
    the set of one step, or if a group has only one class.
    """
    record, config = subject.record, subject.config
    if not isinstance(config, CondenseConfig):
        raise ConfigError(
            f"{record.name} was imported, so nothing says how its steps would be condensed; leave out "
            "--condense-per-step, or condense a set here"
        )
    if any(parent.startswith("run:") for parent in record.parents):
        raise ConfigError(f"{record.name} began from another run's state; condense it again for --condense-per-step")
    if config.classes is not None:
        raise ConfigError(f"{record.name} is one step's set itself; name the set it was made for")
    if steps.domains is None and (small := [list(group) for group in steps.groups if len(group) < 2]):
        raise ConfigError(
            f"steps of one class {small[0]}: a network learns nothing from only one class; take fewer steps with "
            "--condense-per-step"
        )
    run = store.run(record.run_id).config if record.run_id else {}
    return [
        Preset(
            name=f"{record.method}/{own.set_dataset}/ipc{config.ipc}",
            profile=record.profile,
            config=own,
            source=run.get("source", f"the configuration of {record.name}"),
            departures=(*run.get("departures", ()), *_departure(own, record.name)),
        )
        for own in _step_configs(config, steps)
    ]


def _step_configs(config: CondenseConfig, steps: Steps) -> list[CondenseConfig]:
    if steps.domains is not None:
        return [replace(config, domain=None if name == UPRIGHT else name) for name in steps.domains]
    return [replace(config, classes=tuple(sorted(group))) for group in steps.groups]


def _departure(own: CondenseConfig, whole: str) -> tuple[str, ...]:
    """Return how a step's configuration departs from that of the set `whole`; () if it is the same."""
    if own.domain is not None:
        return (f"a step of a domain-incremental stream: the images of {whole} as {own.domain}, in the same space",)
    if own.classes is not None:
        return (f"a step of a class-incremental stream: these classes of {whole} alone, in the space of all",)
    return ()


def condense_steps(workspace: Workspace, subject: Subject, steps: Steps) -> list[SetRecord]:
    """Return the stored set of each step. Missing sets and their experts are made first.

    A set that is made here stores the subject's set as its parent. The order of the classes in a group does not matter,
    so two class orders that have a step with the same classes use the same set. Two orders of domains use the same
    sets, and the set of the images as they are is the subject's own. Raises the errors of `condense`. If the work is
    interrupted, every finished step is stored and the state of the current step is saved.
    """
    made = []
    for step, preset in enumerate(step_presets(workspace.store, subject, steps)):
        own = f"classes {list(preset.config.classes or ())}" if steps.domains is None else steps.domains[step]
        workspace.progress.say(f"step {step + 1} of {len(steps.groups)}, {own}: condensing")
        done = condense(
            preset,
            seed=subject.record.seed,
            device=str(workspace.device),
            registry=workspace.store.path,
            data_root=_root(subject, workspace.data_root),
            parent=subject.record.id,
            log=workspace.log,
            progress=workspace.progress,
        )
        made += [each for each in (done.record, *done.siblings) if each.method == subject.record.method]
    return made


def joined(whole: SyntheticSet, parts: Sequence[SyntheticSet], groups: Sequence[Sequence[int]]) -> SyntheticSet:
    """Return one set of all classes, joined from `parts`, the sets of the steps.

    Its images are sorted by class and then by step, and have the preprocessing of `whole`. Label i (from 0) of a part
    means class i of its group in ascending order. If a part has soft labels, the labels of all parts become
    probabilities over all classes; they are 0 for the classes outside the group. The step size is that of
    `mean_step_size`.
    """
    images, hard, soft = [], [], []
    for part, group in zip(parts, groups, strict=True):
        classes = torch.tensor(sorted(group))
        images.append(part.images)
        hard.append(classes[part.hard_labels])
        spread = torch.zeros(len(part.images), len(whole.classes))
        spread[:, classes] = (
            torch.nn.functional.one_hot(part.labels, len(classes)).float()
            if part.label_kind == "hard"
            else part.targets.float()
        )
        soft.append(spread)
    place = torch.cat(hard).argsort(stable=True)
    kind_is_hard = all(part.label_kind == "hard" for part in parts)
    return replace(
        whole,
        images=torch.cat(images)[place],
        labels=(torch.cat(hard) if kind_is_hard else torch.cat(soft))[place],
        label_kind="hard" if kind_is_hard else "probabilities",
        ipc=sum(map(len, images)) // len(whole.classes),
        step_size=mean_step_size(parts),
        name=None,
    )


def mean_step_size(parts: Sequence[SyntheticSet]) -> float | None:
    """Return the mean step size α over all images, each with the α of its set. Returns None if a set has no α."""
    sizes = [part.step_size for part in parts]
    if None in sizes:
        return None
    counts = [len(part.images) for part in parts]
    return sum(size * n for size, n in zip(sizes, counts, strict=True) if size is not None) / sum(counts)


def _root(subject: Subject, data_root: Path | None) -> Path | None:
    """Return the data root for the steps: `data_root`, or if it is None, the folder where the set's data were found.

    So the steps read the same data as the set.
    """
    return data_root if data_root is not None or subject.data.root is None else Path(subject.data.root)
