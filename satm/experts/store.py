"""The trajectory store: one safetensors file for each expert.

The folder of the files is named by a hash of the data, the network and the training of the experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from satm.canonical import digest
from satm.errors import DamagedFile, ExpertError
from satm.home import home
from satm.kept import Kept, keep, opened
from satm.types import FlatParams


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The mean loss of one epoch of training, and accuracies as fractions (0..1)."""

    loss: float
    train: float  # accuracy on the augmented batches of the epoch
    validation: float | None  # accuracy on the validation images after the epoch; None if no images are held out
    compiled: bool = False  # whether the training step was compiled; not part of the key: it changes round-off only


@dataclass(frozen=True)
class Trajectory:
    """One expert on disk: snapshots θ_0 … θ_E [P] of its parameters, before training and after each epoch.

    The file is memory-mapped, and each snapshot is read when it is used.
    """

    path: Path
    epochs: int  # E: the file holds snapshots 0 … E
    records: tuple[EpochRecord, ...]  # E records, one for each epoch

    def snapshot(self, epoch: int) -> FlatParams:
        """Return a copy of θ_epoch [P].

        Raises ExpertError if this epoch is not stored, and DamagedFile if the stored snapshot is damaged.
        """
        if not 0 <= epoch <= self.epochs:
            raise ExpertError(f"{self.path} holds epochs 0 to {self.epochs}, not epoch {epoch}; train the expert on")
        with self._opened() as file:
            return file.tensor(_name(epoch)).clone()  # a copy: the tensor is a view of the file, which is closed now

    def momentum(self) -> torch.Tensor | None:
        """Return the momentum of the optimiser after the last epoch [P]; None if there is none.

        There is none if the expert trains without momentum, or if it has 0 epochs.
        """
        with self._opened() as file:
            return file.tensor("momentum").clone() if "momentum" in file.names else None

    def check(self) -> None:
        """Read the whole file and compare its checksums. Raises DamagedFile if one differs."""
        with self._opened() as file:
            file.check()

    @contextmanager
    def _opened(self) -> Iterator[Kept]:
        with opened(self.path) as file:
            if file is None:
                raise ExpertError(f"{self.path} is gone; run the command again to train it again")
            yield file


class TrajectoryStore:
    """All experts of one kind: `SATM_HOME/experts/<key>/<index>.safetensors`.

    `facts` describe the data, the network and the training of these experts. The key is a hash of the facts. The number
    of epochs and the number of experts are not in the key, so that an expert can be trained for more epochs, and more
    experts can be added.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self.key = digest(self.facts)[:32]
        self.folder = home() / "experts" / self.key

    def path(self, index: int) -> Path:
        """Return the path of the file of expert `index`."""
        return self.folder / f"{index:04d}.safetensors"

    def find(self, index: int) -> Trajectory | None:
        """Return expert `index`, or None if it is not stored. Its snapshots are not read.

        Raises DamagedFile if the file is not a complete file of this expert.
        """
        path = self.path(index)
        with opened(path) as file:
            if file is None:
                return None
            try:
                facts, records = file.about["facts"], tuple(EpochRecord(**record) for record in file.about["epochs"])
            except (KeyError, TypeError) as error:
                raise file.damaged("it does not describe an expert") from error
            if facts != self.facts or not {_name(epoch) for epoch in range(len(records) + 1)} <= file.names:
                raise file.damaged("it is not what its place says")
        return Trajectory(path, len(records), records)

    def epochs(self, index: int) -> int:
        """Return the number of stored epochs of expert `index`; 0 if its file is missing or damaged."""
        try:
            found = self.find(index)
        except DamagedFile:
            return 0
        return found.epochs if found else 0

    def write(
        self,
        index: int,
        snapshots: Sequence[FlatParams],
        records: Sequence[EpochRecord],
        momentum: torch.Tensor | None,
    ) -> Trajectory:
        """Store the snapshots 0 … E of expert `index` and return them as a trajectory.

        An older file is replaced completely or, if the write fails, not at all.
        """
        tensors = {_name(epoch): theta for epoch, theta in enumerate(snapshots)}
        if momentum is not None:
            tensors["momentum"] = momentum
        path = self.path(index)
        keep(path, tensors, {"facts": self.facts, "epochs": [asdict(record) for record in records]})
        return Trajectory(path, len(records), tuple(records))


def _name(epoch: int) -> str:
    """Return the name of the tensor that holds the snapshot after `epoch`."""
    return f"epoch/{epoch:04d}"
