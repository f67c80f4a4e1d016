"""Trains expert trajectories on the real set (Cazenavette et al. 2022; mtt-distillation, buffer.py at 50dccea)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from satm import networks
from satm.augment import DSA
from satm.config import LATER, to_dict
from satm.data import ImageData
from satm.engine import FlatNetwork, flatten
from satm.errors import ConfigError, DamagedFile, Interrupted
from satm.experts.filter import Filter, FilterConfig, el2n
from satm.experts.flat import FlatConfig, FlatGradient
from satm.experts.store import EpochRecord, Trajectory, TrajectoryStore
from satm.home import held, make_folder
from satm.machine.fused import Compilation, Fused, how_trained, plan_fused
from satm.networks import NetworkPlan
from satm.progress import SILENT, Bar, Progress
from satm.rng import Seed
from satm.training import EpochStats, SGDConfig, accuracy, fit, predict


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertConfig:
    """How each expert is trained: by MTT's plain SGD at a constant learning rate, or by FTD's flat steps."""

    count: int = 100  # the number of experts, as in MTT; no published preset needs more
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 256
    augment: str | None = "color_crop_cutout_flip_scale_rotate"  # augmentations in DSA's notation; None: none
    flat: FlatConfig | None = None  # the settings of GSAM on top of SGD, as in FTD; None: plain SGD
    seed: int = 0  # the seed of the experts only, so that condensations with different seeds share the experts
    # Which real images each epoch uses, by their difficulty, as in PAD; None: all.
    filter: FilterConfig | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"experts.count {self.count}: expected at least 1 expert")
        self.sgd(0)
        self.transform()

    def sgd(self, epochs: int) -> SGDConfig:
        """Return the settings of the training loop for `epochs` epochs.

        Raises ConfigError if a setting is outside its range.
        """
        return SGDConfig(
            epochs=epochs,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
        )

    def transform(self) -> DSA | None:
        """Return the augmentation of the training batches; None if there is none."""
        return None if self.augment is None else DSA(self.augment)

    def scoring(self) -> ExpertConfig | None:
        """The experts whose logits decide how difficult an image is; None if there is no filter."""
        return None if self.filter is None else replace(self, filter=None, count=self.filter.scorers)


def expert_store(data: ImageData, architecture: str, config: ExpertConfig) -> TrajectoryStore:
    """Return the store of the experts trained with `config`.

    Its key is a hash of the data, the preprocessing, the network and the training.
    """
    facts: dict[str, Any] = {
        "version": 1,
        "data": data.fingerprint,
        "preprocessing": data.preprocessing.to_dict(),
        "architecture": architecture,
        "image_shape": list(data.image_shape),
        # If `flat` is None it is left out: experts that were stored before this setting existed keep their key.
        "training": {k: v for k, v in to_dict(config).items() if k != "count" and (k, v) != ("flat", None)},
    }
    return TrajectoryStore(facts)


def train_experts(
    data: ImageData,
    architecture: str,
    config: ExpertConfig,
    *,
    epochs: int,
    only: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    compilation: Compilation = "auto",
    progress: Progress = SILENT,
) -> list[Trajectory]:
    """Return experts of at least `epochs` epochs each. Trains only the epochs that the store lacks.

    `only` holds the indices of the experts to return; None: all `config.count` experts.

    A snapshot is stored after every epoch. An interrupted training continues from the last complete epoch and gives the
    same bits as one without interruption. If `compilation` is "auto", training is compiled if this saves time even for
    a single epoch. So the choice does not depend on the number of epochs, and an expert that is trained further is
    trained in the same way as before. The record of every epoch says whether the training was compiled.

    If `config` has a filter, the experts that score the images are trained first. They are stored like other experts.

    Stored experts are read and checked. A damaged expert is trained again, and `progress` reports this.

    Raises Interrupted if `progress` asks to stop, Diverged if a loss is not finite, and ConfigError if `compilation` is
    "compiled" and the training cannot be compiled.
    """
    store = expert_store(data, architecture, config)
    found = _found(store, range(config.count) if only is None else only, progress)
    absent = sum(expert is None or expert.epochs < epochs for expert in found.values())
    if not absent:
        return [expert for expert in found.values() if expert]
    have = sum(min(expert.epochs, epochs) for expert in found.values() if expert)
    kind = "experts" if config.flat is None else "flat experts"
    progress.say(f"training {absent} of {len(found)} {kind} ({architecture}, {epochs} epochs) into {store.folder}")
    make_folder(store.folder)
    plan = networks.plan_for(architecture, data)
    fused = plan_fused(
        lambda: plan.create(Seed(config.seed).child("template")).to(device),
        image_shape=data.image_shape,
        images=len(data.train),
        compilation=compilation,
        notify=progress.say,
    )
    training = _Training(
        store=store,
        data=data,
        plan=plan,
        config=config,
        epochs=epochs,
        device=device,
        fused=fused,
        progress=progress,
        filter=image_filter(data, architecture, config, device=device, compilation=compilation, progress=progress),
    )
    with progress.bar("experts", len(found) * epochs, done=have) as bar:
        return [
            expert if expert and expert.epochs >= epochs else training.expert(index, bar)
            for index, expert in found.items()
        ]


def image_filter(
    data: ImageData,
    architecture: str,
    config: ExpertConfig,
    *,
    device: torch.device | str = "cpu",
    compilation: Compilation = "auto",
    progress: Progress = SILENT,
) -> Filter | None:
    """Return which training images each epoch of an expert uses; None if `config` has no filter.

    Experts that score the images are trained if the store lacks them; see `train_experts`.
    """
    scoring = config.scoring()
    if config.filter is None or scoring is None:
        return None
    epoch = config.filter.scorer_epochs
    experts = train_experts(
        data, architecture, scoring, epochs=epoch, device=device, compilation=compilation, progress=progress
    )
    network = networks.plan_for(architecture, data).create(Seed(config.seed).child("template")).to(device)
    logits = []
    for expert in experts:
        FlatNetwork(network).load(expert.snapshot(epoch).to(device))
        logits.append(predict(network, data.train))
    labels = data.train.labels.cpu()
    return Filter(config.filter, el2n(torch.stack(logits), labels).argsort(stable=True), labels)


def _found(store: TrajectoryStore, indices: Sequence[int], progress: Progress) -> dict[int, Trajectory | None]:
    """Return the stored experts by index; None for an expert that is missing or damaged.

    The files of the experts are read whole, so this takes time and has a progress bar.
    """
    found: dict[int, Trajectory | None] = dict.fromkeys(indices)
    with progress.bar("check experts", len(indices)) as bar:
        for index in indices:
            with suppress(DamagedFile):  # `_Training.expert` reports the damage
                found[index] = _whole(store, index)
            bar.advance(1)
            if found[index] and progress.stopping():
                raise Interrupted("stopped while the stored experts were checked; nothing was lost")
    return found


def _whole(store: TrajectoryStore, index: int) -> Trajectory | None:
    """Return expert `index` after a check of its file; None if it is not stored. Raises DamagedFile for a bad file."""
    expert = store.find(index)
    if expert is not None:
        expert.check()
    return expert


@dataclass(frozen=True, kw_only=True)
class _Training:
    """The training of the experts of one store up to `epochs` epochs."""

    store: TrajectoryStore
    data: ImageData
    plan: NetworkPlan
    config: ExpertConfig
    epochs: int
    device: torch.device | str
    fused: Fused | None  # the compiled training step; None: training runs uncompiled
    filter: Filter | None  # the images that each epoch uses; None: all
    progress: Progress

    def expert(self, index: int, bar: Bar) -> Trajectory:
        """Train expert `index` up to `epochs` epochs, from its last stored epoch or from the start, and return it.

        During this time other processes that want to train this expert wait for a lock.
        """
        with held(self.store.folder / f"{index:04d}.lock", f"expert {index}", self.progress):
            try:
                stored = _whole(self.store, index)
            except DamagedFile as error:
                self.progress.say(f"{error.path} is damaged ({error.reason}); training expert {index} again")
                stored = None
            if stored is not None and stored.epochs >= self.epochs:
                return stored
            return self._train(index, stored, bar)

    def _train(self, index: int, stored: Trajectory | None, bar: Bar) -> Trajectory:
        seed = Seed(self.config.seed).child("expert", index)
        network = self.plan.create(seed.child("init")).to(self.device)
        sgd = self.config.sgd(self.epochs)
        optimizer = sgd.optimizer(network)
        # `flatten` copies. A detached view of live CPU weights would make every snapshot equal the last one.
        snapshots = [flatten(network.parameters()).detach().cpu()]
        records: list[EpochRecord] = []
        if stored is not None:
            snapshots = [stored.snapshot(epoch) for epoch in range(stored.epochs + 1)]
            records = list(stored.records)
            FlatNetwork(network).load(snapshots[-1].to(self.device))
            _set_momentum(network, optimizer, stored.momentum())

        def keep(stats: EpochStats) -> None:
            snapshots.append(flatten(network.parameters()).detach().cpu())
            held_out = self.data.validation
            validation = accuracy(network, held_out, fused=self.fused) if len(held_out) else None
            network.train()
            compiled = how_trained(self.fused) == "compiled"
            records.append(EpochRecord(stats.loss, stats.accuracy, validation, compiled))
            self.store.write(index, snapshots, records, _momentum(network, optimizer))
            bar.advance(1, loss=stats.loss, **({} if validation is None else {"validation": validation}))

        def stop_if_asked() -> None:
            if self.progress.stopping():
                raise Interrupted(
                    f"stopped with {len(records)} epochs of expert {index} stored; "
                    "the same command continues from there"
                )

        fit(
            network,
            self.data.train,
            sgd,
            seed=seed.child("training"),
            augment=self.config.transform(),
            first_epoch=len(records),
            optimizer=optimizer,
            fused=self.fused,
            on_epoch=keep,
            on_batch=stop_if_asked,
            rule=None if self.config.flat is None else FlatGradient(self.config.flat),
            among=None if self.filter is None else self.filter.indices,
        )
        # With 0 epochs nothing is stored yet: the trajectory is the initial weights.
        return self.store.find(index) or self.store.write(index, snapshots, records, None)


def _momentum(network: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor | None:
    state: Mapping[Any, Any] = optimizer.state
    buffers = [state[p].get("momentum_buffer") if p in state else None for p in network.parameters()]
    present = [buffer for buffer in buffers if buffer is not None]
    return flatten(present).detach().cpu() if present else None


def _set_momentum(network: nn.Module, optimizer: torch.optim.Optimizer, momentum: torch.Tensor | None) -> None:
    if momentum is None:
        return
    offset = 0
    for p in network.parameters():
        optimizer.state[p]["momentum_buffer"] = momentum[offset : offset + p.numel()].view_as(p).to(p.device).clone()
        offset += p.numel()
