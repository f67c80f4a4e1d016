"""How the synthetic images are labelled: classes, a teacher's probabilities, or logits that are learned.

Symbols: φ [n, C, H, W] are the synthetic images. A segment is the part of an expert's trajectory that one outer step
matches, and θ* [P] is the snapshot at its end. F is the matching loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from satm.engine import FlatNetwork
from satm.errors import ConfigError
from satm.methods.momentum import MomentumSGD
from satm.types import FlatParams, Images, LabelKind, Labels

BATCH = 512  # images that an expert sees at once
State = Mapping[str, torch.Tensor]


class LabelRule(Protocol):
    """One way to label n images of K classes. `state` holds the labels under `labels`, and any other tensors it keeps.

    A method chooses its rule in `label_rule` of its configuration.
    """

    kind: ClassVar[LabelKind]

    def init(self, labels: Labels) -> State:
        """The state before the first outer step, for a set that starts with `labels` of this rule's kind."""

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """The state for an outer step whose segment ends at θ* = `target` [P].

        `images` are those that the network sees, in the order of the n stored ones that they come from.
        """

    def targets(self, state: State) -> Labels:
        """The targets of the inner loop's cross-entropy: classes [n] or probabilities [n, K]."""

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """The state after an outer step, given ∂F/∂targets = `derivative` [n, K]. `scale` multiplies the move."""

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """The state with the momentum of the labels of images `rows` [m] int64 set to zero."""


@dataclass(frozen=True, slots=True)
class HardLabels:
    """Classes [n] int64. They never change."""

    kind: ClassVar[LabelKind] = "hard"

    def init(self, labels: Labels) -> State:
        """See `LabelRule`."""
        return {"labels": labels}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """See `LabelRule`."""
        return state

    def targets(self, state: State) -> Labels:
        """See `LabelRule`: the classes."""
        return state["labels"]

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """See `LabelRule`."""
        return state

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """See `LabelRule`."""
        return state


@dataclass(frozen=True, slots=True)
class TeacherLabels:
    """Probabilities [n, K] of a teacher: the softmax of its logits on φ, without augmentation (TESLA).

    If networks see several images of each stored one, its label is their mean.
    The teacher has the parameters θ* at the end of the segment, so each outer step makes new labels.
    """

    kind: ClassVar[LabelKind] = "probabilities"

    def init(self, labels: Labels) -> State:
        """See `LabelRule`."""
        return {"labels": labels}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """See `LabelRule`: new labels from θ*."""
        seen = predict(network, target, images).softmax(dim=1)
        return {"labels": seen.unflatten(0, (len(state["labels"]), -1)).mean(dim=1)}

    def targets(self, state: State) -> Labels:
        """See `LabelRule`: the probabilities."""
        return state["labels"]

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """See `LabelRule`."""
        return state

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """See `LabelRule`."""
        return state


@dataclass(frozen=True, slots=True)
class LearnedLogits:
    """Logits y [n, K] that are learned: they descend F by SGD with momentum. The targets are p = softmax(y) (DATM):

        ∂F/∂y = p ⊙ (∂F/∂p − ⟨p, ∂F/∂p⟩)
        v ← μ v + ∂F/∂y
        y ← y − lr v

    ⟨·,·⟩ is the inner product over the classes of one image.
    """

    kind: ClassVar[LabelKind] = "logits"
    lr: float
    momentum: float  # μ

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ConfigError(f"lr_labels {self.lr}: expected a number above 0")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum_labels {self.momentum}: expected 0 ≤ momentum < 1")

    def init(self, labels: Labels) -> State:
        """See `LabelRule`: v = 0."""
        return {"labels": labels, "labels_velocity": torch.zeros_like(labels)}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """See `LabelRule`."""
        return state

    def targets(self, state: State) -> Labels:
        """See `LabelRule`: p = softmax(y)."""
        return state["labels"].softmax(dim=1)

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """See `LabelRule`."""
        assert derivative is not None
        p = self.targets(state)
        gradient = p * (derivative - (p * derivative).sum(dim=1, keepdim=True))
        sgd = MomentumSGD(self.lr, self.momentum)
        logits, velocity = sgd(state["labels"], state["labels_velocity"], gradient, scale)
        return {"labels": logits, "labels_velocity": velocity}

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """See `LabelRule`."""
        return {**state, "labels_velocity": state["labels_velocity"].index_fill(0, rows, 0.0)}


@torch.no_grad()
def predict(network: FlatNetwork, theta: FlatParams, images: Images) -> torch.Tensor:
    """The logits [n, K] of the network with parameters `theta` [P], in evaluation mode."""
    training = network.network.training
    network.network.eval()
    try:
        return torch.cat([network(theta, part) for part in images.split(BATCH)])
    finally:
        network.network.train(training)
