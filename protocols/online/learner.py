"""The learner of online protocols: one pass over each step's images, with replay from an online memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from evaluation.train import raise_if_stopping
from protocols.base import State, StreamContext
from protocols.online.batches import balanced_batches
from satm.errors import ConfigError
from satm.training import SGDConfig
from satm.types import Images

SCALES = {"cpu": {"memory_batch_size": 30}, "smoke": {"memory_batch_size": 10}}
"""The settings that replace defaults at a smaller scale, by the name of the scale. They are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineConfig:
    """The settings of SGD on the batches of an online stream. Raises ConfigError for a value out of its range.

    The defaults are those of SSD's command for CIFAR-100 (README.md and general_main.py at 7fe1000). SGD has no
    momentum, so the network and the memory are all that one step leaves to the next.
    """

    batch_size: int = 10  # the number of images of the stream in a batch
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    memory_batch_size: int = 100  # the number of memory images beside each batch; all of them if there are fewer

    def __post_init__(self) -> None:
        SGDConfig(
            epochs=1, lr=self.learning_rate, batch_size=self.batch_size, weight_decay=self.weight_decay
        )  # checks the ranges
        if self.memory_batch_size < 1:
            raise ConfigError(f"memory_batch_size {self.memory_batch_size}: expected at least 1")


class OnlineLearner:
    """A `Learner` that sees each real image of the stream at most once.

    With each batch of the stream, in this order: images are drawn from the memory; if there are any, `network` takes
    one step of SGD on both together; the memory is updated with the batch (`OnlineMemory.update`). A subclass has the
    loss, and the network that is judged.
    """

    network: nn.Module  # the network that is trained

    def __init__(self, context: StreamContext, config: OnlineConfig) -> None:
        if context.keeping is None:
            raise ConfigError("an online protocol needs an online memory; give it one")
        self._context, self._config = context, config
        self.memory = context.keeping.begin(context.networks)

    def loss(self, images: Images, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The loss, 0-dimensional, on images [n, C, H, W] with classes [n] of stream and memory together."""
        raise NotImplementedError

    def judged(self, seen: Sequence[int]) -> nn.Module:
        """The network whose logits [n, K] are judged, after the classes `seen` have arrived."""
        raise NotImplementedError

    def augmented(self, images: Images, generator: torch.Generator) -> Images:
        """The images after the augmentation of the recipe, or as they are if it has none."""
        augment = self._context.networks.recipe.augmentation
        return images if augment is None else augment(images, generator)

    @property
    def held(self) -> int:
        """See `Learner`."""
        return len(self.memory)

    def learn(self, experience: Any) -> nn.Module:
        """See `Learner`."""
        step, config, progress = experience.current_experience, self._config, self._context.networks.progress
        seed = self._context.step_seed(step)
        self.memory.begin(sorted(experience.classes_in_this_experience), seed.child("memory"))
        draws = seed.child("online").generator()
        optimizer = torch.optim.SGD(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        labels = torch.tensor(list(experience.dataset.targets))
        batches = balanced_batches(labels, config.batch_size, draws)
        with progress.bar(f"step {step + 1}: {len(batches)} batches", len(batches)) as bar:
            for positions in batches:
                raise_if_stopping(progress)
                images, targets = self._read(experience.dataset, positions)
                replayed = self.memory.sample(config.memory_batch_size, draws)
                if len(replayed[0]):
                    self.network.train()
                    loss = self.loss(torch.cat([replayed[0], images]), torch.cat([replayed[1], targets]), draws)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                self.memory.update(images, targets)
                bar.advance()
        return self.judged(sorted(experience.classes_seen_so_far))

    def skip(self, experience: Any) -> None:
        """See `Learner`. Nothing is to do: `restore` has loaded the memory as it was after the last of these steps."""

    def state(self) -> State:
        """See `Learner`. The state consists of the weights of the network and the whole memory."""
        weights = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        state = weights | {f"memory/{name}": value for name, value in self.memory.state().items()}
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Learner`."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network/"))
        self.memory.restore(part("memory/"))

    def _read(self, dataset: Any, positions: torch.Tensor) -> tuple[Images, torch.Tensor]:
        images, labels, *_ = default_collate([dataset[position] for position in positions.tolist()])
        device = self._context.networks.device
        return images.to(device), labels.to(device)
