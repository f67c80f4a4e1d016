"""The trajectory store: one safetensors file for each expert. Its folder is named by a hash of all that shapes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from satm.errors import ExpertError
from satm.home import home, write_atomically
from satm.synthetic import digest
from satm.types import FlatParams


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The mean loss of one epoch of training, and accuracies as fractions."""

    loss: float
    train: float  # on the augmented batches of the epoch
    validation: float | None  # after the epoch; None: no images are held out
    compiled: bool = False  # whether the training step was compiled; this changes round-off only, so no key has it


@dataclass(frozen=True)
class Trajectory:
    """One expert on disk: snapshots θ_0 … θ_E [P] of its parameters, before training and after each epoch.

    The file is memory-mapped, and each snapshot is read when it is used.
    """

    path: Path
    epochs: int  # E: the file holds snapshots 0 … E
    records: tuple[EpochRecord, ...]  # E of them

    def snapshot(self, epoch: int) -> FlatParams:
        """θ_epoch [P], a copy. Raises ExpertError for an epoch that is not stored, or a damaged file."""
        if not 0 <= epoch <= self.epochs:
            raise ExpertError(f"{self.path} holds epochs 0 to {self.epochs}, not epoch {epoch}; train the expert on")
        return _read(self.path, [f"epoch/{epoch:04d}"])[0]

    def momentum(self) -> torch.Tensor | None:
        """The momentum of the optimiser after the last epoch, [P]; None if the expert trains without momentum."""
        with _opened(self.path) as file:
            return file.get_tensor("momentum").clone() if "momentum" in file.keys() else None  # noqa: SIM118


class TrajectoryStore:
    """All experts of one kind: `SATM_HOME/experts/<key>/<index>.safetensors`.

    `facts` are the data, the network and the training of these experts, and the key is a hash of them. The number of
    epochs and the number of experts are not in the key, so that an expert can be trained for more epochs, and more
    experts can be added.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self.key = digest(self.facts)[:32]
        self.folder = home() / "experts" / self.key

    def path(self, index: int) -> Path:
        """The file of expert `index`."""
        return self.folder / f"{index:04d}.safetensors"

    def find(self, index: int) -> Trajectory | None:
        """Expert `index`, or None if it is not stored. Raises ExpertError for a damaged file."""
        path = self.path(index)
        if not path.exists():
            return None
        with _opened(path) as file:
            try:
                about = json.loads(file.metadata()["satm"])
                facts, records = about["facts"], tuple(EpochRecord(**record) for record in about["epochs"])
            except (KeyError, TypeError, ValueError) as error:
                raise ExpertError(f"{path} is not an expert of this suite; remove it") from error
            missing = [e for e in range(len(records) + 1) if f"epoch/{e:04d}" not in set(file.keys())]
        if facts != self.facts or missing:
            raise ExpertError(f"{path} is not what its place says; remove it and it will be trained again")
        return Trajectory(path, len(records), records)

    def write(
        self,
        index: int,
        snapshots: Sequence[FlatParams],
        records: Sequence[EpochRecord],
        momentum: torch.Tensor | None,
    ) -> Trajectory:
        """Store the snapshots 0 … E of expert `index`. Replaces an older file completely, or not at all."""
        from safetensors.torch import save_file

        tensors = {f"epoch/{epoch:04d}": theta for epoch, theta in enumerate(snapshots)}
        if momentum is not None:
            tensors["momentum"] = momentum
        about = {"facts": self.facts, "epochs": [{f: getattr(r, f) for f in r.__slots__} for r in records]}
        path = self.path(index)
        write_atomically(path, lambda to: save_file(tensors, to, metadata={"satm": json.dumps(about)}))
        return Trajectory(path, len(records), tuple(records))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ExpertError(f"{path} cannot be read ({error}); remove it and it will be trained again") from error


def _read(path: Path, names: Sequence[str]) -> list[torch.Tensor]:
    # Clone, because safetensors returns a view of the mapped file.
    with _opened(path) as file:
        return [file.get_tensor(name).clone() for name in names]
