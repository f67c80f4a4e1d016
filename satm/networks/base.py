"""The table of networks, `NETWORKS`, and the type of its entries, `Network`.

The file that defines a network adds it to the table by one statement (see alexnet.py). The functions `plan` and
`create` in architectures.py then accept its name, and timm accepts it as `dd_NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from satm.names import Names

if TYPE_CHECKING:
    from torch import nn

Shape: TypeAlias = tuple[int, int, int]
"""The shape (C, H, W) of an image that a network takes."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The result of fitting a network to images of one shape. Both mappings are JSON-able."""

    options: Mapping[str, Any]  # the arguments besides num_classes: of `Network.build`, or of timm for timm's networks
    adaptation: Mapping[str, Any] = field(default_factory=dict)  # what was changed; see `NetworkPlan.adaptation`


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """An entry of `NETWORKS`: a network that can be created for any number of classes."""

    name: str
    summary: str  # one line about the network, shown in lists
    build: Callable[..., nn.Module]  # build(num_classes=K, **options) returns a freshly initialised network
    fit: Callable[[Shape], Fit]  # fits the network to images; raises ConfigError if the network cannot take them
    width: int | None = None
    """The default number of channels of the layers, if `build` has an argument `width`; None if it has no such
    argument. With a number here, the name `NAME_w32` means the same network with 32 channels."""
    cite: tuple[str, ...] = ()  # the papers that users of the network cite: keys of references.bib, or BibTeX entries
    twin: str | None = None  # the name of the same network with batch norm instead of instance norm, if there is one

    def at_width(self, width: int | None) -> str:
        """The name of this network with `width` channels, such as `convnet3_w32`.

        If `width` is None or the default width, it is the name alone, such as `convnet3`.
        """
        return self.name if width in (None, self.width) else f"{self.name}_w{width}"


def _from_builder(name: str, builder: Callable[..., nn.Module]) -> Network:
    """The entry of `NETWORKS` for a network that another package offers.

    The package's entry point is the function `builder(num_classes=K, image_shape=(C, H, W))`, which returns the
    network.
    """

    def build(*, num_classes: int, image_shape: Sequence[int]) -> nn.Module:
        return builder(num_classes=num_classes, image_shape=tuple(image_shape))

    return Network(name=name, summary="", build=build, fit=lambda shape: Fit({"image_shape": list(shape)}))


NETWORKS: Names[Network] = Names("architecture", package="satm.networks", group="satm.networks", wrap=_from_builder)


def sides(size: Sequence[int]) -> int | list[int]:
    """The size (H, W) in the form in which it is stored: one number for a square, otherwise the list [H, W]."""
    return size[0] if size[0] == size[1] else list(size)
