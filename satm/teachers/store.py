"""The teacher store: one safetensors file for each teacher, under a key that hashes everything that shaped it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from satm.canonical import digest
from satm.errors import ConfigError
from satm.home import home
from satm.kept import keep, opened
from satm.types import Images

BATCH = 512  # images labelled at once


@dataclass(frozen=True, slots=True)
class TeacherEpoch:
    """The mean loss of one epoch of training, and accuracies as fractions."""

    loss: float
    train: float  # on the augmented batches of the epoch
    validation: float | None  # after the epoch; None without validation images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """A trained network that labels images. It is in evaluation mode, and nothing trains it further."""

    id: str  # the key of its store
    network: nn.Module
    num_classes: int  # K
    image_shape: tuple[int, int, int]  # C, H, W
    records: tuple[TeacherEpoch, ...]

    @property
    def bytes(self) -> int:
        """Bytes of its parameters and buffers: what a set that is labelled by it must store besides its images."""
        return stored_bytes(self.network)

    def spell_validation(self) -> str:
        """`, validation accuracy 93.1`; nothing without validation images."""
        found = self.records[-1].validation if self.records else None
        return "" if found is None else f", validation accuracy {100 * found:.1f}"

    @torch.no_grad()
    def logits(self, images: Images) -> torch.Tensor:
        """Logits [n, K] of preprocessed images [n, C, H, W], on their device."""
        return torch.cat([self.network(part) for part in images.split(BATCH)])

    def probabilities(self, images: Images, temperature: float) -> torch.Tensor:
        """softmax(logits / T) [n, K]."""
        return (self.logits(images) / temperature).softmax(dim=1)

    def check_fits(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        """Raise ConfigError if the teacher has another number of classes, or takes other images (C, H, W)."""
        if (self.num_classes, self.image_shape) != (num_classes, image_shape):
            raise ConfigError(
                f"labels teacher: the teacher knows {self.num_classes} classes of images {self.image_shape}, the set "
                f"has {num_classes} of {image_shape}; train a teacher on the set's own data "
                "(satm.teachers.train_teacher)"
            )


def stored_bytes(network: nn.Module) -> int:
    """Bytes of the parameters and buffers of a network."""
    return sum(each.nbytes for each in network.state_dict().values())


class TeacherStore:
    """One teacher on disk: `SATM_HOME/teachers/<key>.safetensors`, and its state after its last whole epoch."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self.key = digest(self.facts)[:32]
        self.folder = home() / "teachers"
        self.path = self.folder / f"{self.key}.safetensors"

    def read(self) -> tuple[dict[str, torch.Tensor], tuple[TeacherEpoch, ...]] | None:
        """The stored tensors and the record of each epoch; None if nothing is stored.

        The tensors are those of `write`. Raises DamagedFile.
        """
        with opened(self.path) as file:
            if file is None:
                return None
            try:
                facts, records = file.about["facts"], tuple(TeacherEpoch(**each) for each in file.about["epochs"])
            except (KeyError, TypeError) as error:
                raise file.damaged("it does not describe a teacher") from error
            if facts != self.facts:
                raise file.damaged("it is not what its place says")
            return file.tensors(), records

    def write(self, tensors: Mapping[str, torch.Tensor], records: Sequence[TeacherEpoch]) -> None:
        """Store the state after the last of `records` and replace an older file: completely, or not at all.

        `tensors` are `network/NAME` for each entry of the network's state. Before the last epoch they are also
        `momentum/NAME` for each parameter.
        """
        about = {"facts": self.facts, "epochs": [asdict(record) for record in records]}
        keep(self.path, {name: each.detach().cpu() for name, each in tensors.items()}, about)
