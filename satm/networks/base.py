"""`NETWORKS`, the table of networks, and what an entry of it holds.

The file that defines a network adds it to the table in one statement (see alexnet.py). `plan` and `create` then know
its name, and timm knows it as `dd_NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from satm.names import Names

if TYPE_CHECKING:
    from torch import nn

Shape: TypeAlias = tuple[int, int, int]
"""C, H, W of the images that a network takes."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a network is fitted to images of one shape. Both mappings are JSON-able."""

    options: Mapping[str, Any]  # arguments of `Network.build`, besides num_classes
    adaptation: Mapping[str, Any] = field(default_factory=dict)  # see `NetworkPlan.adaptation`


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network by name, for any number of classes."""

    name: str
    summary: str  # one line for lists
    build: Callable[..., nn.Module]  # build(num_classes=K, **options): the network, freshly initialised
    fit: Callable[[Shape], Fit]  # raises ConfigError for images that the network cannot take
    width: int | None = None
    """Channels of its layers, if `build` takes a `width`: `NAME_w32` is then the same network with 32 channels."""
    cite: tuple[str, ...] = ()  # what a user of it cites: keys of references.bib, or whole BibTeX entries
    twin: str | None = None  # the name of the same network with batch norm in place of instance norm

    def at_width(self, width: int | None) -> str:
        """The name with this width (None: the network's own): `convnet3` or `convnet3_w32`."""
        return self.name if width in (None, self.width) else f"{self.name}_w{width}"


def _from_builder(name: str, builder: Callable[..., nn.Module]) -> Network:
    """Another package's network: its entry point is a function `build(num_classes=K, image_shape=(C, H, W))`."""

    def build(*, num_classes: int, image_shape: Sequence[int]) -> nn.Module:
        return builder(num_classes=num_classes, image_shape=tuple(image_shape))

    return Network(name=name, summary="", build=build, fit=lambda shape: Fit({"image_shape": list(shape)}))


NETWORKS: Names[Network] = Names("architecture", package="satm.networks", group="satm.networks", wrap=_from_builder)


def sides(size: Sequence[int]) -> int | list[int]:
    """`size` (H, W) as it is stored: one number for a square."""
    return size[0] if size[0] == size[1] else list(size)
