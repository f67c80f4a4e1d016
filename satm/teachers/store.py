"""The teacher store: one safetensors file for each teacher, named by a hash of all that decides the teacher."""

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

BATCH = 512  # the number of images that are labelled at once


@dataclass(frozen=True, slots=True)
class TeacherEpoch:
    """The mean training loss of one epoch, and accuracies as fractions."""

    loss: float
    train: float  # the accuracy on the augmented batches of the epoch
    validation: float | None  # the accuracy after the epoch; None if there are no validation images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """A trained network that labels images. It is in evaluation mode and is not trained further."""

    id: str  # the key of the teacher in its store
    network: nn.Module
    num_classes: int  # K
    image_shape: tuple[int, int, int]  # (C, H, W)
    records: tuple[TeacherEpoch, ...]

    @property
    def bytes(self) -> int:
        """The bytes of the network's parameters and buffers, which training on this teacher's labels has to store."""
        return stored_bytes(self.network)

    def spell_validation(self) -> str:
        """The last validation accuracy as text: `, validation accuracy 93.1`. "" if there are no validation images."""
        found = self.records[-1].validation if self.records else None
        return "" if found is None else f", validation accuracy {100 * found:.1f}"

    @torch.no_grad()
    def logits(self, images: Images) -> torch.Tensor:
        """The logits [n, K] of preprocessed images [n, C, H, W]. Images and network must be on the same device."""
        return torch.cat([self.network(part) for part in images.split(BATCH)])

    def probabilities(self, images: Images, temperature: float) -> torch.Tensor:
        """The probabilities softmax(logits / T) [n, K] with T = `temperature`, of images [n, C, H, W]."""
        return (self.logits(images) / temperature).softmax(dim=1)

    def check_fits(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        """Raise ConfigError if the teacher has another number of classes or another image shape (C, H, W)."""
        if (self.num_classes, self.image_shape) != (num_classes, image_shape):
            raise ConfigError(
                f"labels teacher: the teacher knows {self.num_classes} classes of images {self.image_shape}, the set "
                f"has {num_classes} of {image_shape}; train a teacher on the set's own data "
                "(satm.teachers.train_teacher)"
            )


def stored_bytes(network: nn.Module) -> int:
    """The bytes of the parameters and buffers of a network."""
    return sum(each.nbytes for each in network.state_dict().values())


class TeacherStore:
    """The file of one teacher, `SATM_HOME/teachers/<key>.safetensors`: its state after the last complete epoch.

    `facts` are everything that decides the teacher, as a JSON-able dictionary. The key is their hash.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self.key = digest(self.facts)[:32]
        self.folder = home() / "teachers"
        self.path = self.folder / f"{self.key}.safetensors"

    def read(self) -> tuple[dict[str, torch.Tensor], tuple[TeacherEpoch, ...]] | None:
        """The stored tensors, as `write` describes them, and the record of each epoch.

        The result is None if nothing is stored. Raises DamagedFile if the file cannot be used.
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
        """Store the state after the last epoch in `records`. An older file is replaced completely, or not at all.

        `tensors` has `network/NAME` for each entry of the network's state. If the training is not finished, it also has
        `momentum/NAME` for each parameter.
        """
        about = {"facts": self.facts, "epochs": [asdict(record) for record in records]}
        keep(self.path, {name: each.detach().cpu() for name, each in tensors.items()}, about)
