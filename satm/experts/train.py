"""Training expert trajectories on the real set (Cazenavette et al. 2022; field notes §2.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from satm import networks
from satm.augment import DSA
from satm.config import to_dict
from satm.data import ImageData
from satm.engine import FlatNetwork, flatten
from satm.errors import ConfigError, Interrupted
from satm.experts.flat import FlatConfig, FlatGradient
from satm.experts.store import EpochRecord, Trajectory, TrajectoryStore
from satm.home import make_folder
from satm.machine.fused import Compilation, Fused, how_trained, plan_fused
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.training import EpochStats, SGDConfig, accuracy, fit, make_optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertConfig:
    """How each expert is trained: MTT's plain SGD, no decay of the learning rate; FTD's flat steps where asked for."""

    count: int = 100  # experts; no published preset needs more (MTT)
    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 256
    augment: str | None = "color_crop_cutout_flip_scale_rotate"  # DSA's strategy; None: no augmentation
    flat: FlatConfig | None = None  # GSAM over the SGD, as FTD trains; null: plain
    seed: int = 0  # the experts' own, so that condensation seeds share them

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"experts.count {self.count}: expected at least 1 expert")
        self.sgd(0)
        self.transform()

    def sgd(self, epochs: int) -> SGDConfig:
        """The training loop's configuration up to epoch `epochs`; checks the numbers."""
        return SGDConfig(
            epochs=epochs,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
        )

    def transform(self) -> DSA | None:
        """The augmentation of the training batches."""
        return None if self.augment is None else DSA(self.augment)


def expert_store(data: ImageData, architecture: str, config: ExpertConfig) -> TrajectoryStore:
    """The store of experts trained so: the key hashes data, preprocessing, network and training."""
    facts: dict[str, Any] = {
        "version": 1,
        "data": data.fingerprint,
        "preprocessing": data.preprocessing.to_dict(),
        "architecture": architecture,
        "image_shape": list(data.image_shape),
        # Without `flat` where there is none, so that experts from before it existed are found.
        "training": {k: v for k, v in to_dict(config).items() if k != "count" and (k, v) != ("flat", None)},
    }
    return TrajectoryStore(facts)


def train_experts(
    data: ImageData,
    architecture: str,
    config: ExpertConfig,
    *,
    epochs: int,
    device: torch.device | str = "cpu",
    compilation: Compilation = "auto",
    progress: Progress = SILENT,
) -> list[Trajectory]:
    """`config.count` experts of at least `epochs` epochs each, training only what the store lacks.

    Snapshots are kept after every epoch, so an interrupted training goes on from the last whole epoch, to the same
    bits. `compilation` "auto" compiles the training where a single epoch is worth it, so that an expert trained on
    later is trained as before; every epoch's record says how it was. Raises Interrupted when `progress` asks to stop,
    Diverged on a loss that is not finite.
    """
    store = expert_store(data, architecture, config)
    found = [store.find(index) for index in range(config.count)]
    absent = sum(expert is None or expert.epochs < epochs for expert in found)
    if not absent:
        return [expert for expert in found if expert]
    have = sum(min(expert.epochs, epochs) for expert in found if expert)
    want = config.count * epochs
    kind = "experts" if config.flat is None else "flat experts"
    progress.say(f"training {absent} of {config.count} {kind} ({architecture}, {epochs} epochs) into {store.folder}")
    make_folder(store.folder)
    fused = plan_fused(
        lambda: _network(data, architecture, Seed(config.seed).child("template")).to(device),
        image_shape=data.image_shape,
        images=len(data.train),
        compilation=compilation,
        notify=progress.say,
    )
    trained: list[Trajectory] = []
    with progress.bar("experts", want, done=have) as bar:
        for index in range(config.count):
            with _alone(store.folder / f"{index:04d}.lock", index, progress):
                expert = _train_one(
                    store, index, data, architecture, config, epochs, device, fused, progress, bar.advance
                )
            trained.append(expert)
    return trained


@contextmanager
def _alone(path: Path, index: int, progress: Progress) -> Iterator[None]:
    """Hold an expert's lock; while another process trains it, say so and listen for a stop."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    waiting = False
    while True:
        try:
            lock.acquire(timeout=1 if waiting else 0)
            break
        except Timeout:
            if not waiting:
                progress.say(f"expert {index} is being trained by another process; waiting for it")
            waiting = True
            if progress.stopping():
                raise Interrupted("stopped while waiting for another process; nothing was lost") from None
    try:
        yield
    finally:
        lock.release()


def _train_one(
    store: TrajectoryStore,
    index: int,
    data: ImageData,
    architecture: str,
    config: ExpertConfig,
    epochs: int,
    device: torch.device | str,
    fused: Fused | None,
    progress: Progress,
    advance: Any,
) -> Trajectory:
    expert = store.find(index)
    if expert is not None and expert.epochs >= epochs:
        return expert
    seed = Seed(config.seed).child("expert", index)
    network = _network(data, architecture, seed.child("init")).to(device)
    sgd = config.sgd(epochs)
    optimizer = make_optimizer(network, sgd)
    # `flatten` copies; a detached view of live CPU weights would make every snapshot the last one.
    snapshots = [flatten(network.parameters()).detach().cpu()]
    records: list[EpochRecord] = []
    if expert is not None:
        snapshots = [expert.snapshot(epoch) for epoch in range(expert.epochs + 1)]
        records = list(expert.records)
        FlatNetwork(network).load(snapshots[-1].to(device))
        _set_momentum(network, optimizer, expert.momentum())

    def keep(stats: EpochStats) -> None:
        nonlocal expert
        snapshots.append(flatten(network.parameters()).detach().cpu())
        validation = accuracy(network, data.validation, fused=fused)
        network.train()
        records.append(EpochRecord(stats.loss, stats.accuracy, validation, how_trained(fused) == "compiled"))
        expert = store.write(index, snapshots, records, _momentum(network, optimizer))
        advance(1, loss=stats.loss, validation=validation)

    def stop_if_asked() -> None:
        if progress.stopping():
            raise Interrupted(
                f"stopped with {len(records)} epochs of expert {index} stored; the same command goes on from there"
            )

    fit(
        network,
        data.train,
        sgd,
        seed=seed.child("training"),
        augment=config.transform(),
        first_epoch=len(records),
        optimizer=optimizer,
        fused=fused,
        on_epoch=keep,
        on_batch=stop_if_asked,
        rule=None if config.flat is None else FlatGradient(config.flat),
    )
    if expert is None:  # 0 epochs: the initial weights alone
        expert = store.write(index, snapshots, records, None)
    return expert


def _network(data: ImageData, architecture: str, seed: Seed) -> nn.Module:
    return networks.create(architecture, num_classes=len(data.classes), image_shape=data.image_shape, seed=seed)


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
