"""Chooses real images by herding, as a memory that is compared with a condensed set.

Herding chooses images by the features of a network. This network is an expert of the condensed set, or an expert of
herding's own preset if the set has none (`feature_expert`).
"""

from __future__ import annotations

import json
from dataclasses import replace

from satm.config import to_dict
from satm.data.domain import UPRIGHT
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
    """Return `ipc` real images of each class, chosen by herding with the features of the expert of `feature_expert`.

    Raises the errors of `feature_expert`.
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
    """Return the configuration of herding for this set, and the expert that gives the features.

    The expert is the first one of the configuration that the set was condensed with. For an imported set, and for a set
    that was made with a teacher, it is the first expert of herding's own preset. The returned configuration says after
    how many epochs the parameters of the expert are used. Raises ExpertError if the expert is missing or has too few
    epochs; the message has the command that trains the expert.
    """
    profile = subject.record.profile if subject.record.profile in PROFILES else default_profile()
    plain = find_preset(
        subject.config.dataset, ipc, method="herding", profile=profile, image_size=subject.data.image_shape[-1]
    ).config
    config = replace(plain, domain=_domain(subject))
    if isinstance(subject.config, CondenseConfig):
        own = subject.config
        experts = replace(own.experts, count=1)
        config = replace(config, architecture=own.architecture, zca=own.zca, image_size=own.image_size, experts=experts)
        # A set that was made with a teacher has no experts, and its network has batch norm. Herding then uses an expert
        # of its own preset.
        if own_teacher(own) is not None:
            config = replace(config, architecture=plain.architecture, experts=replace(plain.experts, count=1))
    return config, _first_expert(subject, plain, config, profile)


def _domain(subject: Subject) -> str | None:
    """Return the domain of the subject's real data, as a configuration names it."""
    own = subject.config.domain if isinstance(subject.config, CondenseConfig) else None
    name = subject.domain or own
    return None if name == UPRIGHT else name


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
    """Return the command-line options that change herding's own configuration `plain` into `config`.

    The number of experts is left out.
    """
    options = [
        f"--set {name}={str(getattr(config, name)).lower()}"
        for name in ("architecture", "zca", "domain")
        if getattr(config, name) != getattr(plain, name)
    ]
    ours, theirs = to_dict(config.experts, whole=True), to_dict(plain.experts, whole=True)
    return options + [
        f"--set experts.{key}={json.dumps(value)}"
        for key, value in ours.items()
        if key != "count" and value != theirs[key]
    ]
