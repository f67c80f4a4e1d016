"""What the images are labelled with: classes, a teacher's probabilities, or logits that are learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from satm.engine import FlatNetwork
from satm.errors import ConfigError
from satm.types import FlatParams, Images, LabelKind, Labels

BATCH = 512  # images an expert looks at at once
State = Mapping[str, torch.Tensor]


class LabelRule(Protocol):
    """One way to label a synthetic set. `state` holds the labels under `labels`, and whatever else the rule keeps."""

    kind: ClassVar[LabelKind]

    def init(self, labels: Labels) -> State:
        """The state for a set that begins with `labels`, of this rule's kind."""

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """The state at an outer step that matches an expert's segment ending at `target` [P]."""

    def targets(self, state: State) -> Labels:
        """What the inner loop's cross-entropy is given: classes [n] or probabilities [n, K]."""

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """The state after an outer step whose loss has `derivative` [n, K] with respect to the targets.

        The move is multiplied by `scale`.
        """

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """The state with the labels of images `rows` [·] int64 no longer moving by what they did before."""


@dataclass(frozen=True, slots=True)
class HardLabels:
    """Classes; they never change."""

    kind: ClassVar[LabelKind] = "hard"

    def init(self, labels: Labels) -> State:
        """See `LabelRule`."""
        return {"labels": labels}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """See `LabelRule`."""
        return state

    def targets(self, state: State) -> Labels:
        """The classes."""
        return state["labels"]

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """See `LabelRule`."""
        return state

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """See `LabelRule`."""
        return state


@dataclass(frozen=True, slots=True)
class TeacherLabels:
    """softmax of the target expert's logits on the images as they are, anew at every outer step (TESLA)."""

    kind: ClassVar[LabelKind] = "probabilities"

    def init(self, labels: Labels) -> State:
        """See `LabelRule`."""
        return {"labels": labels}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """See `LabelRule`."""
        return {"labels": predict(network, target, images).softmax(dim=1)}

    def targets(self, state: State) -> Labels:
        """The probabilities."""
        return state["labels"]

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """See `LabelRule`."""
        return state

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """See `LabelRule`."""
        return state


@dataclass(frozen=True, slots=True)
class LearnedLogits:
    """Logits y under SGD: v ← μ v + ∂F/∂y, y ← y − lr v; the inner loop is given softmax(y) (DATM)."""

    kind: ClassVar[LabelKind] = "logits"
    lr: float
    momentum: float  # μ

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ConfigError(f"lr_labels {self.lr}: expected a number above 0")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum_labels {self.momentum}: expected 0 ≤ momentum < 1")

    def init(self, labels: Labels) -> State:
        """See `LabelRule`."""
        return {"labels": labels, "labels_velocity": torch.zeros_like(labels)}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """See `LabelRule`."""
        return state

    def targets(self, state: State) -> Labels:
        """p = softmax(y)."""
        return state["labels"].softmax(dim=1)

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """∂F/∂y = p ⊙ (∂F/∂p − ⟨p, ∂F/∂p⟩), then SGD."""
        assert derivative is not None
        p = self.targets(state)
        gradient = p * (derivative - (p * derivative).sum(dim=1, keepdim=True))
        velocity = self.momentum * state["labels_velocity"] + gradient
        return {"labels": state["labels"] - scale * self.lr * velocity, "labels_velocity": velocity}

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """See `LabelRule`."""
        return {**state, "labels_velocity": state["labels_velocity"].index_fill(0, rows, 0.0)}


@torch.no_grad()
def predict(network: FlatNetwork, theta: FlatParams, images: Images) -> torch.Tensor:
    """Logits [n, K] of the network at `theta` [P], in evaluation mode."""
    training = network.network.training
    network.network.eval()
    try:
        return torch.cat([network(theta, part) for part in images.split(BATCH)])
    finally:
        network.network.train(training)
