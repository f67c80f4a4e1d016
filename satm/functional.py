"""A network as a pure function of one flat parameter vector, in `.parameters()` order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import torch
from torch import nn

from satm.errors import ShapeError
from satm.types import FlatParams, Images


def flatten(parameters: Iterable[torch.Tensor]) -> FlatParams:
    """Join parameters to one vector [P]. It is differentiable and always a copy, never a view of the parameters."""
    return torch.cat([p.reshape(-1) for p in parameters])


def unflatten(theta: FlatParams, shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    """Return views of `theta` [P] in the given shapes. Raises ShapeError if the sizes do not add up to P."""
    sizes = [prod(shape) for shape in shapes]
    if sum(sizes) != theta.numel():
        raise ShapeError(f"a parameter vector of {theta.numel()} values for a network of {sum(sizes)}")
    return [part.view(shape) for part, shape in zip(theta.split(sizes), shapes, strict=True)]


class FlatNetwork:
    """`network(x)` with its parameters taken from a flat vector θ [P]. A call leaves the network's own parameters."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.shapes = [p.shape for p in network.parameters()]
        # Every name under which the network holds a parameter, with the parameter's position in `shapes`. A shared
        # parameter has several names. Torch can handle these itself (`tie_weights`), but that is off here, because it
        # breaks a network that holds one module under two names.
        position = {id(p): i for i, p in enumerate(network.parameters())}
        self._places = {
            f"{prefix}.{name}" if prefix else name: position[id(p)]
            for prefix, module in network.named_modules()
            for name, p in module.named_parameters(recurse=False, remove_duplicate=False)
        }

    def __call__(self, theta: FlatParams, images: Images) -> torch.Tensor:
        """Return the logits [b, K] of the images [b, C, H, W] at θ."""
        parts = unflatten(theta, self.shapes)
        parameters = {name: parts[i] for name, i in self._places.items()}
        logits: torch.Tensor = torch.func.functional_call(self.network, parameters, (images,), tie_weights=False)
        return logits

    def load(self, theta: FlatParams) -> None:
        """Copy θ into the network's own parameters."""
        with torch.no_grad():
            for parameter, value in zip(self.network.parameters(), unflatten(theta, self.shapes), strict=True):
                parameter.copy_(value)
