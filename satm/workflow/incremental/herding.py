"""Real images chosen by herding, on the features of an expert of the set that they are compared with."""

from __future__ import annotations

import json
from dataclasses import replace

from satm.config import to_dict
from satm.errors import ExpertError
from satm.experts import Trajectory
from satm.experts.train import expert_store
from satm.methods import METHODS, Task
from satm.presets import PROFILES, CondenseConfig, find_preset
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from satm.workflow.choosing import default_profile
from satm.workflow.evaluate.subject import Subject
from satm.workflow.teachers import own_teacher
from satm.workflow.workspace import Workspace


def herded(workspace: Workspace, subject: Subject, ipc: int) -> SyntheticSet:
    """`ipc` real images of each class, chosen by herding on the features of the first of the set's own experts.

    Raises as `feature_expert`.
    """
    config, expert = feature_expert(subject, ipc)
    task = Task(
        data=subject.data,
        ipc=ipc,
        architecture=config.architecture,
        seed=Seed(0),
        device=workspace.device,
        experts=[expert],
    )
    method = METHODS.get(config.method)
    choosing = method.begin(task, config.settings)
    while choosing.step < choosing.steps:
        choosing.advance()
    return subject.real(choosing.result().images, ipc, method.name)


def feature_expert(subject: Subject, ipc: int) -> tuple[CondenseConfig, Trajectory]:
    """The first of the set's own experts, and herding's configuration, which says after how many epochs it is used.

    Raises ExpertError, with the command that trains it, if that expert is missing or has too few epochs.
    """
    profile = subject.record.profile if subject.record.profile in PROFILES else default_profile()
    plain = find_preset(
        subject.config.dataset, ipc, method="herding", profile=profile, image_size=subject.data.image_shape[-1]
    ).config
    config = plain
    if isinstance(subject.config, CondenseConfig):
        own = subject.config
        experts = replace(own.experts, count=1)
        config = replace(plain, architecture=own.architecture, zca=own.zca, image_size=own.image_size, experts=experts)
        if own_teacher(own) is not None:  # its network has batch norm, and it has no experts
            config = replace(config, architecture=plain.architecture, experts=replace(plain.experts, count=1))
    return config, _first_expert(subject, plain, config, profile)


def _first_expert(subject: Subject, plain: CondenseConfig, config: CondenseConfig, profile: str) -> Trajectory:
    epochs = METHODS.get("herding").expert_epochs(config.settings) or 0
    store = expert_store(subject.data, config.architecture, config.experts)
    expert = store.find(0) if store.epochs(0) >= epochs else None
    if expert is None:
        command = f"satm experts {config.dataset} --ipc {config.ipc} --method herding --profile {profile}"
        raise ExpertError(
            f"the features of an expert of {epochs} epochs are needed, which is not there; train it: "
            f"{' '.join([command, *_changes(plain, config)])}"
        )
    return expert


def _changes(plain: CondenseConfig, config: CondenseConfig) -> list[str]:
    """The options that turn herding's own configuration `plain` into `config`; the number of experts is left out."""
    options = [
        f"--set {name}={str(getattr(config, name)).lower()}"
        for name in ("architecture", "zca")
        if getattr(config, name) != getattr(plain, name)
    ]
    ours, theirs = to_dict(config.experts), to_dict(plain.experts)
    return options + [
        f"--set experts.{key}={json.dumps(value)}"
        for key, value in ours.items()
        if key != "count" and value != theirs[key]
    ]
