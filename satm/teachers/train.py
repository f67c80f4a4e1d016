"""Trains a teacher on the real training images. An interrupted training can continue later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from satm import networks
from satm.config import to_dict
from satm.data import ImageData
from satm.errors import ConfigError, DamagedFile, Interrupted
from satm.home import held, make_folder
from satm.networks import NetworkPlan
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.teachers.config import TeacherConfig
from satm.teachers.store import Teacher, TeacherEpoch, TeacherStore
from satm.training import EpochStats, accuracy, fit

MOMENTUM = "momentum_buffer"  # the key of the momentum in the state of torch's SGD


def train_teacher(
    data: ImageData, config: TeacherConfig, *, device: torch.device | str = "cpu", progress: Progress = SILENT
) -> Teacher:
    """The teacher of `data` that `config` describes. It is read from the store, or trained if it is not there.

    It is trained on `data.train` only. The teacher is the network after the last epoch. The validation images are used
    to measure the network after each epoch, but not to choose an epoch. The state is stored after every epoch. So an
    interrupted training continues from the last complete epoch, with exactly the same result.

    If the stored file is damaged, the teacher is trained again, and `progress` shows a message.

    Raises the errors of `check_teacher`, Interrupted if `progress` asks to stop, and Diverged if a loss is not finite.
    """
    plan = check_teacher(data, config)
    store = teacher_store(data, config)
    if missing_epochs(data, config):
        make_folder(store.folder)
        with held(store.path.with_suffix(".lock"), f"the teacher {plan.name}", progress):
            _train(store, data, config, plan, device, progress)
    found = store.read()
    assert found is not None
    tensors, records = found
    network = plan.create(Seed(config.seed).child("teacher", "init"))
    _load(network, tensors)
    network.to(device).eval().requires_grad_(False)
    return Teacher(
        id=store.key,
        network=network,
        num_classes=plan.num_classes,
        image_shape=plan.image_shape,
        records=records,
    )


def check_teacher(data: ImageData, config: TeacherConfig) -> NetworkPlan:
    """The plan from which the teacher's network is made, after checks that its training can work.

    Raises UnknownName for an unknown architecture. Raises ConfigError if no architecture is named, if the network does
    not fit the images of `data` or cannot be trained on them, or if a class has no training image.
    """
    if config.architecture is None:
        raise ConfigError("teacher.architecture is not named; give one, as convnetbn3 (--teacher)")
    plan = networks.plan_for(config.architecture, data)
    counts = torch.bincount(data.train.labels, minlength=len(data.classes))
    if not int(counts.min()):
        raise ConfigError(
            f"a teacher cannot be trained: class {data.classes[int(counts.argmin())]} of {data.name} has no training "
            "image; use the set's own labels (--labels own)"
        )
    plan.check_batches(len(data.train), config.batch_size, way_out="change teacher.batch_size or --teacher")
    return plan


def teacher_store(data: ImageData, config: TeacherConfig) -> TeacherStore:
    """The store of the teacher. Its key is a hash of the data, the preprocessing, the network, training and seed."""
    facts: dict[str, Any] = {
        "version": 1,
        "data": data.fingerprint,
        "preprocessing": data.preprocessing.to_dict(),
        "image_shape": list(data.image_shape),
        "training": to_dict(replace(config, architecture=networks.plan_for(config.architecture or "", data).name)),
    }
    return TeacherStore(facts)


def missing_epochs(data: ImageData, config: TeacherConfig) -> int:
    """The number of epochs that the teacher must still be trained for: all, if its file is missing or damaged."""
    try:
        found = teacher_store(data, config).read()
    except DamagedFile:
        found = None
    return config.epochs - (len(found[1]) if found else 0)


def _train(
    store: TeacherStore,
    data: ImageData,
    config: TeacherConfig,
    plan: NetworkPlan,
    device: torch.device | str,
    progress: Progress,
) -> None:
    """Train the teacher from its last stored epoch to the end. Does nothing if another process has finished it."""
    seed, sgd = Seed(config.seed).child("teacher"), config.sgd()
    network = plan.create(seed.child("init")).to(device)
    optimizer = sgd.optimizer(network)
    records: list[TeacherEpoch] = []
    try:
        found = store.read()
    except DamagedFile as error:
        progress.say(f"{error.path} is damaged ({error.reason}); training the teacher {plan.name} again")
        found = None
    if found is not None:
        tensors, stored = found
        records = list(stored)
        if len(records) == config.epochs:
            return
        _load(network, tensors)
        for name, parameter in network.named_parameters():
            optimizer.state[parameter][MOMENTUM] = tensors[f"momentum/{name}"].to(parameter.device)
    progress.say(f"training the teacher {plan.name} on {len(data.train)} real images ({config.epochs} epochs)")
    with progress.bar(f"teacher {plan.name}", config.epochs, done=len(records)) as bar:

        def keep(stats: EpochStats) -> None:
            validation = accuracy(network, data.validation) if len(data.validation) else None
            network.train()
            records.append(TeacherEpoch(stats.loss, stats.accuracy, validation))
            store.write(_state(network, optimizer, last=len(records) == config.epochs), records)
            bar.advance(1, loss=stats.loss, **({} if validation is None else {"validation": validation}))

        def stop_if_asked() -> None:
            if progress.stopping():
                raise Interrupted(
                    f"stopped with {len(records)} of {config.epochs} epochs of the teacher stored; the same command "
                    "continues from there"
                )

        fit(
            network,
            data.train,
            sgd,
            seed=seed.child("training"),
            augment=config.augmentation,
            first_epoch=len(records),
            optimizer=optimizer,
            on_epoch=keep,
            on_batch=stop_if_asked,
        )


def _state(network: nn.Module, optimizer: torch.optim.Optimizer, *, last: bool) -> dict[str, torch.Tensor]:
    """The tensors that `TeacherStore.write` stores. After the last epoch no momentum is needed, so it is left out."""
    state = {f"network/{name}": each for name, each in network.state_dict().items()}
    if not last:
        for name, parameter in network.named_parameters():
            momentum = optimizer.state[parameter].get(MOMENTUM)
            state[f"momentum/{name}"] = torch.zeros_like(parameter) if momentum is None else momentum
    return state


def _load(network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Load the weights and buffers of a stored teacher."""
    prefix = "network/"
    network.load_state_dict({n.removeprefix(prefix): each for n, each in tensors.items() if n.startswith(prefix)})
