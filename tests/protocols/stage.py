"""Ten classes of 8×8 images that are easy to learn, a small ConvNet and a quick recipe: a stream of a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from evaluation import Recipe
from protocols.base import PROTOCOLS, State
from protocols.job import StreamJob
from protocols.networks import Networks
from protocols.online.memory import ONLINE_MEMORIES, Keeping
from protocols.order import class_order, split_classes
from protocols.result import IncrementalResult, StepResult
from protocols.run import run
from satm.networks import plan
from satm.preprocessing import MeanStd
from satm.progress import NoProgress
from satm.rng import Seed
from satm.synthetic import SyntheticSet

CLASSES, IPC, SHAPE = 10, 2, (1, 8, 8)
GROUPS = split_classes(class_order(CLASSES, Seed(1)), 4)  # 3, 3, 2, 2: the steps do not divide the classes
ONLINE = {"batch_size": 3, "memory_batch_size": 12, "learning_rate": 0.1}
STREAM = {"epochs": 12, "batch_size": 4, "learning_rate": 0.05, "momentum": 0.9}
RECIPE = Recipe(name="quick", epochs=20, batch_size=8, drop_at=(15,), augment="scale", scale="smoke", source="tests")


@dataclass(frozen=True)
class Labelled:
    """Images with labels, as a protocol sees a split of real data."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index], self.labels[index]


def drawn(labels: torch.Tensor, name: str, noise: float) -> torch.Tensor:
    # Broad patches, which a ConvNet learns quickly.
    patches = 2 * torch.randn(CLASSES, 1, 4, 4, generator=Seed(7).generator())
    prototypes = nn.functional.interpolate(patches, size=SHAPE[1:])
    wobble = torch.randn(len(labels), *SHAPE, generator=Seed(7).child(name).generator())
    return prototypes[labels] + noise * wobble


def memory(**changes: Any) -> SyntheticSet:
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    facts: dict[str, Any] = {
        "images": drawn(labels, "memory", 0.2),
        "labels": labels,
        "step_size": 0.05,
        "dataset": "toy",
        "classes": tuple(f"class {k}" for k in range(CLASSES)),
        "ipc": IPC,
        "method": "random",
        "preprocessing": MeanStd((0.5,), (0.5,)),
        "profile": "smoke",
        "seed": 0,
    }
    return SyntheticSet(**(facts | changes))


def soft_memory(kind: str) -> SyntheticSet:
    """Labels that favour their class only a little, so that a test would notice rounding."""
    hard = torch.arange(CLASSES).repeat_interleave(IPC)
    logits = 1.5 * nn.functional.one_hot(hard, CLASSES).float()
    logits += torch.randn(logits.shape, generator=Seed(3).generator()) / 4
    return memory(labels=logits if kind == "logits" else logits.softmax(1), label_kind=kind)


def real_images(name: str = "test", noise: float = 0.5, times: int = 1) -> Labelled:
    # Class k has 3 + k % 4 images (`times` as many), so that a mean over classes or steps differs from one over images.
    labels = torch.cat([torch.full((times * (3 + k % 4),), k) for k in range(CLASSES)])
    labels = labels[torch.randperm(len(labels), generator=Seed(2).generator())]
    return Labelled(drawn(labels, name, noise), labels)


def networks(**changes: Any) -> Networks:
    facts: dict[str, Any] = {
        "plan": plan("convnet3_w16", num_classes=CLASSES, image_shape=SHAPE),
        "recipe": RECIPE,
        "rates": (0.1,) * len(GROUPS),
    }
    return Networks(**(facts | changes))


def keeping(name: str, capacity: int = 20, **settings: Any) -> Keeping:
    """An online memory of `capacity` images, which improves images in the few batches of a step."""
    kind = ONLINE_MEMORIES.get(name)
    quick = {"network": "convnet3_w4", "queue": 1, "interval": 4, "slots": 1} if name == "ssd" else {}
    return Keeping(kind=kind, config=kind.config(**(quick | settings)), capacity=capacity)


def stream(name: str, **changes: Any) -> IncrementalResult:
    """One quick run of a protocol. `changes` replace parts of the job, arguments of `run`, or the `settings`."""
    protocol = PROTOCOLS.get(name)
    settings = changes.pop("settings", {})
    how = {key: changes.pop(key) for key in ("earlier", "on_step", "progress") if key in changes}
    if protocol.online:
        settings = ONLINE | settings
    elif protocol.reads == "real":
        settings = STREAM | settings
    parts: dict[str, Any] = {
        "memory": memory() if protocol.memory else None,
        # An online protocol sees each image once, so it needs more of them.
        "train": real_images("train", 0.3, times=8 if protocol.online else 1),
        "test": real_images(),
        "groups": GROUPS,
        "networks": networks(),
        "seed": Seed(5),
        "keeping": keeping("ssd") if protocol.online else None,
    }
    job = StreamJob(protocol=protocol, config=protocol.config(**settings), **(parts | changes))
    return run(job, **how)


class Recorder(NoProgress):
    """Keeps the judged steps, the last state and all messages. Asks to stop once `after` steps are kept."""

    def __init__(self, after: int = 99) -> None:
        self.after = after
        self.said: list[str] = []
        self.kept: list[StepResult] = []
        self.state: State = {}

    def keep(self, result: StepResult, state: State) -> None:
        self.kept.append(result)
        self.state = state

    def say(self, message: str) -> None:
        self.said.append(message)

    def stopping(self) -> bool:
        return len(self.kept) >= self.after
