"""A network as a pure function of one flat parameter vector, in `.parameters()` order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import torch
from torch import nn

from satm.errors import ShapeError
from satm.types import FlatParams, Images


def flatten(parameters: Iterable[torch.Tensor]) -> FlatParams:
    """Join parameters to one vector [P]; differentiable, and always a copy (never a view of live weights)."""
    return torch.cat([p.reshape(-1) for p in parameters])


def unflatten(theta: FlatParams, shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    """Views of `theta` [P] in the given shapes; raises ShapeError when the sizes do not add up to P."""
    sizes = [prod(shape) for shape in shapes]
    if sum(sizes) != theta.numel():
        raise ShapeError(f"a parameter vector of {theta.numel()} values for a network of {sum(sizes)}")
    return [part.view(shape) for part, shape in zip(theta.split(sizes), shapes, strict=True)]


class FlatNetwork:
    """`network(x)` with its parameters taken from a flat vector θ [P]; the network itself is never changed."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._names = [name for name, _ in network.named_parameters()]
        self.shapes = [p.shape for p in network.parameters()]

    def __call__(self, theta: FlatParams, images: Images) -> torch.Tensor:
        """Logits [b, K] of images [b, C, H, W] at θ."""
        parameters = dict(zip(self._names, unflatten(theta, self.shapes), strict=True))
        logits: torch.Tensor = torch.func.functional_call(self.network, parameters, (images,))
        return logits

    def load(self, theta: FlatParams) -> None:
        """Copy θ into the network's own parameters."""
        with torch.no_grad():
            for parameter, value in zip(self.network.parameters(), unflatten(theta, self.shapes), strict=True):
                parameter.copy_(value)
