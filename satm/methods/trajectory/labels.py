"""The labels of the synthetic images: classes, probabilities that a teacher gives, or logits that are learned.

Symbols: φ [n, C, H, W] are the synthetic images. A segment is the part of an expert's trajectory that one outer step
matches. θ* [P] are the expert's parameters at the end of the segment. F is the matching loss.
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

BATCH = 512  # the number of images that pass through an expert together
State = Mapping[str, torch.Tensor]


class LabelRule(Protocol):
    """One way to label n images of K classes.

    The object itself never changes. Its methods take and return `state`, a dictionary of tensors. `state` holds the
    labels under the name `labels`, and other tensors if the rule needs them. The function `label_rule` of a method's
    configuration returns the rule of the method.
    """

    kind: ClassVar[LabelKind]  # the kind of the stored labels: `hard` (classes), `probabilities` or `logits`

    def init(self, labels: Labels) -> State:
        """The state before the first outer step. `labels` are the labels at the start, of the kind `kind`."""

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """The state for one outer step, in which the teacher's parameters are θ* = `target` [P].

        `images` are the images that the network sees. Several of them may come from one stored image: they follow one
        another, in the order of the n stored images.
        """

    def targets(self, state: State) -> Labels:
        """The targets of the inner loop's cross-entropy: classes [n] or probabilities [n, K]."""

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """The state after one move of the labels. `scale` multiplies the move.

        `derivative` is ∂F/∂targets [n, K]; it may be None if the labels are not learned.
        """

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """The same state, but with a velocity of zero for the labels of the m images with the indices `rows` [m]."""


@dataclass(frozen=True, slots=True)
class HardLabels:
    """A `LabelRule` with the classes [n] int64 as labels. They never change."""

    kind: ClassVar[LabelKind] = "hard"

    def init(self, labels: Labels) -> State:
        """The state before the first outer step; see `LabelRule`."""
        return {"labels": labels}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """Return `state` unchanged; see `LabelRule`."""
        return state

    def targets(self, state: State) -> Labels:
        """The classes [n]; see `LabelRule`."""
        return state["labels"]

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """Return `state` unchanged; see `LabelRule`."""
        return state

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """Return `state` unchanged; see `LabelRule`."""
        return state


@dataclass(frozen=True, slots=True)
class TeacherLabels:
    """A `LabelRule` with probabilities [n, K] as labels: the softmax of a teacher's logits on φ (TESLA).

    The teacher gets the images without augmentation. It is the expert at the end of the segment, with the parameters
    θ*, so each outer step makes new labels. If networks see several images for each stored image, the label of a stored
    image is the mean of the probabilities of these images.
    """

    kind: ClassVar[LabelKind] = "probabilities"

    def init(self, labels: Labels) -> State:
        """The state before the first outer step; see `LabelRule`."""
        return {"labels": labels}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """The state with the new labels of this outer step; see `LabelRule`."""
        seen = predict(network, target, images).softmax(dim=1)
        return {"labels": seen.unflatten(0, (len(state["labels"]), -1)).mean(dim=1)}

    def targets(self, state: State) -> Labels:
        """The probabilities [n, K]; see `LabelRule`."""
        return state["labels"]

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """Return `state` unchanged; see `LabelRule`."""
        return state

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """Return `state` unchanged; see `LabelRule`."""
        return state


@dataclass(frozen=True, slots=True)
class LearnedLogits:
    """A `LabelRule` with learned logits y [n, K] as labels. They descend F by SGD with momentum (DATM):

        ∂F/∂y = p ⊙ (∂F/∂p − ⟨p, ∂F/∂p⟩)
        v ← μ v + ∂F/∂y
        y ← y − lr v

    The inner loop uses the targets p = softmax(y). v [n, K] is the velocity and μ the momentum. ⊙ multiplies entry by
    entry, and ⟨·,·⟩ is the inner product over the classes of one image.
    """

    kind: ClassVar[LabelKind] = "logits"
    lr: float  # the learning rate
    momentum: float  # μ, 0 ≤ μ < 1

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ConfigError(f"lr_labels {self.lr}: expected a number above 0")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum_labels {self.momentum}: expected 0 ≤ momentum < 1")

    def init(self, labels: Labels) -> State:
        """The state before the first outer step, with v = 0; see `LabelRule`."""
        return {"labels": labels, "labels_velocity": torch.zeros_like(labels)}

    def taught(self, state: State, network: FlatNetwork, target: FlatParams, images: Images) -> State:
        """Return `state` unchanged; see `LabelRule`."""
        return state

    def targets(self, state: State) -> Labels:
        """The probabilities p = softmax(y) [n, K]; see `LabelRule`."""
        return state["labels"].softmax(dim=1)

    def descend(self, state: State, derivative: Labels | None, scale: float = 1.0) -> State:
        """The state after one step of SGD with momentum on y; see `LabelRule`."""
        assert derivative is not None
        p = self.targets(state)
        gradient = p * (derivative - (p * derivative).sum(dim=1, keepdim=True))
        sgd = MomentumSGD(self.lr, self.momentum)
        logits, velocity = sgd(state["labels"], state["labels_velocity"], gradient, scale)
        return {"labels": logits, "labels_velocity": velocity}

    def at_rest(self, state: State, rows: torch.Tensor) -> State:
        """The same state, with v = 0 for the images `rows`; see `LabelRule`."""
        return {**state, "labels_velocity": state["labels_velocity"].index_fill(0, rows, 0.0)}


@torch.no_grad()
def predict(network: FlatNetwork, theta: FlatParams, images: Images) -> torch.Tensor:
    """Compute the logits [n, K] of `images` by the network with the parameters `theta` [P], in evaluation mode."""
    training = network.network.training
    network.network.eval()
    try:
        return torch.cat([network(theta, part) for part in images.split(BATCH)])
    finally:
        network.network.train(training)
