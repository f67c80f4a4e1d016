"""One network that is trained further on the whole memory in each step, and keeps to what it predicted before.

This module imports Avalanche, which takes long. So import this module only inside functions, as
`protocols.methods.idc` does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from protocols.base import State, StreamContext
from protocols.fresh import FreshNetworks
from satm.networks.features import last_linear
from satm.teachers.labels import distillation_loss
from satm.types import Images, Labels, Mix

_FAR = 1e4  # a logit that is lowered by this much is below those of all other classes


class DistilledNetwork(FreshNetworks):
    """A `Learner` with one network, which is trained on all images of the memory in each step.

    The network has an output for every class, but only the classes seen so far are in the loss and can be predicted.
    The weights of an output begin anew in the step in which its class arrives. So the network is the same as one whose
    last layer grows. The loss is `distilled_loss`; its reference is the network after the step before.
    """

    def __init__(self, *, context: StreamContext, temperature: float, beta: float) -> None:
        super().__init__(context=context)
        self._network = context.start
        self._temperature, self._beta = temperature, beta

    def state(self) -> State:
        """See `Learner`. The state consists of the weights of the network."""
        return {f"network/{name}": value.detach().cpu().clone() for name, value in self._network.state_dict().items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Learner`."""
        weights = {name.removeprefix("network/"): value for name, value in state.items() if "network/" in name}
        self._network.load_state_dict(weights)

    def training_epoch(self, **kwargs: Any) -> None:
        """Train the network further, for all epochs of the recipe. Avalanche calls this method once for each step."""
        networks, step = self._context.networks, self.experience.current_experience
        old = sorted(self.experience.previous_classes)
        seen = sorted(self.experience.classes_seen_so_far)
        seed = self._context.step_seed(step)
        reference = copy.deepcopy(self._network).requires_grad_(requires_grad=False).eval()
        _begin_outputs(self._network, networks.untrained(seed), sorted(set(seen) - set(old)))
        classes = networks.plan.num_classes
        networks.train_further(
            self._network,
            self.memory.examples(),
            seed,
            step=step,
            mix=_WithReference(
                reference=reference,
                old=old,
                temperature=self._temperature,
                classes=classes,
                mix=networks.recipe.mixing(classes),
            ),
            criterion=partial(
                _packed_loss, classes=classes, seen=seen, old=old, temperature=self._temperature, beta=self._beta
            ),
        )
        self.model = _Seen(self._network, seen, classes)
        self.device = next(self.model.parameters()).device


def distilled_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    reference: torch.Tensor,
    *,
    seen: Sequence[int],
    old: Sequence[int],
    temperature: float,
    beta: float,
) -> torch.Tensor:
    """CE(z_seen, y_seen / Σ y_seen) + β T² KL(p ‖ softmax(z_old / T)), each a mean over the batch.

    z are the `logits` [b, K], y the `targets` [b, K] (probabilities). z_seen are the logits of the classes seen so far,
    and z_old those of the classes of earlier steps; without such classes the loss is its first term. Soft labels give
    some probability to classes that have not arrived; the division by the sum over the seen classes corrects this. p is
    the `reference` [b, n_old]: the probabilities softmax(z′_old / T) of the network after the step before, in
    evaluation mode, on the same augmented images. T is the `temperature`.

    Source: IDC (continual-learning/utils/incremental_train_and_eval.py at ceac95a). Its mean over all b·n_old numbers,
    times n_old, is this mean over the batch.
    """
    wanted = targets[:, seen]
    loss = F.cross_entropy(logits[:, seen], wanted / wanted.sum(1, keepdim=True))
    if not len(old):
        return loss
    return loss + distillation_loss(logits[:, old], reference, temperature=temperature, factor=beta * temperature**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithReference:
    """Mixes a batch as the recipe says, and appends the reference's probabilities of the old classes to the targets."""

    reference: nn.Module
    old: Sequence[int]
    temperature: float
    classes: int  # K
    mix: Mix | None

    def __call__(self, images: Images, targets: Labels, generator: torch.Generator) -> tuple[Images, Labels]:
        """The mixed images [b, C, H, W], and their targets and probabilities [b, K + n_old]."""
        if self.mix is not None:
            images, targets = self.mix(images, targets, generator)
        soft = F.one_hot(targets, self.classes) if targets.ndim == 1 else targets
        if not self.old:
            return images, soft.to(images.dtype)
        probabilities = (self.reference(images)[:, self.old] / self.temperature).softmax(1)
        return images, torch.cat([soft.to(probabilities.dtype), probabilities], 1)


def _packed_loss(logits: torch.Tensor, packed: Labels, *, classes: int, **settings: Any) -> torch.Tensor:
    """`distilled_loss` with the targets that `_WithReference` returns."""
    return distilled_loss(logits, packed[:, :classes], packed[:, classes:], **settings)


class _Seen(nn.Module):
    """A network that predicts only the classes seen so far: the logits of the others are far below."""

    def __init__(self, network: nn.Module, seen: Sequence[int], classes: int) -> None:
        super().__init__()
        self.network = network
        self.later = [label for label in range(classes) if label not in set(seen)]

    def forward(self, images: Images) -> torch.Tensor:
        logits: torch.Tensor = self.network(images).clone()
        logits[:, self.later] -= _FAR
        return logits


def _begin_outputs(network: nn.Module, fresh: nn.Module, classes: Sequence[int]) -> None:
    """Give the outputs of `classes` the weights that they have in `fresh`."""
    with torch.no_grad():
        for ours, theirs in zip(last_linear(network).parameters(), last_linear(fresh).parameters(), strict=True):
            ours[classes] = theirs[classes]
