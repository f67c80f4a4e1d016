"""Finds a network by its name, fits it to the size of the images, and creates it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Protocol

import torch
from torch import nn

from satm.errors import ConfigError, UnknownName
from satm.networks import stock
from satm.networks.base import NETWORKS, Fit, Network, Shape, sides
from satm.networks.resized import Resized
from satm.rng import Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """Everything that is needed to create a network for images of one shape and a number of classes."""

    name: str  # the full name, such as `convnet3`, `convnetbn3_w32`, `resnet18`, `timm/resnet18`
    num_classes: int  # the number of classes K
    image_shape: Shape  # the shape (C, H, W) of the images
    timm_name: str | None  # the name in timm; None: the network of another package, built by its entry in `NETWORKS`
    options: Mapping[str, Any]  # JSON-able arguments of `timm.create_model`, or of `build` of the entry in `NETWORKS`
    adaptation: Mapping[str, Any] = field(default_factory=dict)
    """What was changed to fit the network to the images, as a JSON-able dictionary. It is empty if nothing was changed.
    It can have these keys:
    - `resize`: the size in pixels to which images are resized before the network.
    - `img_size`: the image size in pixels for which timm builds the network, if it is not timm's default.
    - `adaptive_pool`: the side of the maps that the last pooling makes, if a network for 32×32 sees larger images.

    A size is one number for a square, otherwise [H, W]."""

    def create(self, seed: Seed) -> nn.Module:
        """Create the network on the CPU with freshly initialised weights.

        It computes logits [n, num_classes] from float32 images [n, *image_shape]. The networks of this suite have
        PyTorch's default initialisation, and those of timm have timm's. The weights depend on `seed` only. The global
        random state is not changed.
        """
        import timm

        import satm.networks.entrypoints  # noqa: F401 (the import registers our networks with timm)

        with seed.forked():
            network: nn.Module
            if self.timm_name is None:
                network = NETWORKS.get(self.name).build(**self.options)
            else:
                network = timm.create_model(self.timm_name, pretrained=False, **self.options)
        if "resize" in self.adaptation:
            target = self.adaptation["resize"]
            network = Resized(network, (target, target) if isinstance(target, int) else (target[0], target[1]))
        return network

    def check_batches(
        self, images: int, batch_size: int, *, way_out: str = "change the batch size or the architecture"
    ) -> None:
        """Raise ConfigError if the network cannot train on the last batch, because this batch has only one image.

        A network can usually train on one image, but not if it has a batch normalisation over maps of one pixel.
        `images` images are split into batches of `batch_size`. If the last batch has one image, the check runs a
        forward pass on torch's meta device, which computes only shapes. `way_out` is the end of the error message.
        """
        if (images - 1) % batch_size:
            return
        try:
            with torch.device("meta"), torch.no_grad():
                self.create(Seed(0)).train()(torch.empty(1, *self.image_shape))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"{self.name} has batch normalisation, which cannot train on a last batch of one image "
                f"({images} images in batches of {batch_size}); {way_out}"
            ) from error


def known() -> list[str]:
    """The names of the networks of this suite, without those of ConvNets of other widths, such as `convnet3_w32`."""
    return NETWORKS.known()


def plan(name: str, *, num_classes: int, image_shape: Shape) -> NetworkPlan:
    """The plan to create the network `name` for `num_classes` classes and images of `image_shape` (C, H, W).

    `name` can be:
    - a name of the list `known()`, or a ConvNet with its width, such as `convnetbn3_w32`;
    - the name of a network that another package offers under the entry-point group `satm.networks`;
    - `timm/NAME` for the network NAME of timm. `timm/` can be left out if this suite has no network called NAME.

    Raises UnknownName if there is no such network, PluginError if another package's network cannot be loaded, and
    ConfigError if the network cannot take images of this shape.
    """
    if num_classes < 1 or len(image_shape) != 3 or min(image_shape) < 1:
        raise ConfigError(
            f"{num_classes} classes and images of shape {tuple(image_shape)}: expected 1 class or more and a (C, H, W)"
        )
    shape = image_shape[0], image_shape[1], image_shape[2]
    if found := _ours(name):
        network, width = found
        fit = network.fit(shape)
        if network.width is not None:
            fit = Fit({**fit.options, "width": width or network.width}, fit.adaptation)
        name, timm_name = network.at_width(width), f"dd_{network.name}"
    elif name in NETWORKS:
        fit, timm_name = NETWORKS.get(name).fit(shape), None
    else:
        timm_name = _known_to_timm(name)
        fit, name = _timm_fit(timm_name, num_classes, shape), f"timm/{timm_name}"
    return NetworkPlan(
        name=name,
        num_classes=num_classes,
        image_shape=shape,
        timm_name=timm_name,
        options={"num_classes": num_classes, **fit.options},
        adaptation=fit.adaptation,
    )


def create(name: str, *, num_classes: int, image_shape: Shape, seed: Seed) -> nn.Module:
    """Plan the network `name` (see `plan`) and create it with freshly initialised weights that depend on `seed`."""
    return plan(name, num_classes=num_classes, image_shape=image_shape).create(seed)


class Classified(Protocol):
    """The interface of an object that has classes, and images that all have one shape: a real or a synthetic set."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, in the order of their labels."""

    @property
    def image_shape(self) -> Shape:
        """The shape (C, H, W) of an image."""


def plan_for(name: str, data: Classified) -> NetworkPlan:
    """The plan to create the network `name` for the classes and images of `data`; see `plan`."""
    return plan(name, num_classes=len(data.classes), image_shape=data.image_shape)


def batch_normed_name(name: str) -> str:
    """The name of the network that equals `name`, but has batch norm instead of instance norm.

    For example, `convnet3_w32` gives `convnetbn3_w32`. If there is no such network, `name` itself is returned.
    """
    found = _ours(name)
    if found is None or found[0].twin is None:
        return name
    return NETWORKS.get(found[0].twin).at_width(found[1])


def cited(name: str) -> tuple[str, ...]:
    """The papers that users of the network `name` cite (`Network.cite`).

    The result is empty for networks of timm and for unknown names.
    """
    if found := _ours(name):
        return found[0].cite
    return NETWORKS.get(name).cite if name in NETWORKS else ()


def _ours(name: str) -> tuple[Network, int | None] | None:
    """The network of this suite called `name`, and the width in the name.

    The width is None if the name has no width. The whole result is None if this suite has no such network. The names
    under which timm knows our networks are accepted, too: `dd_resnet18` and `timm/dd_resnet18`. The network
    `timm/resnet18` is timm's, not ours.
    """
    in_timm = name.removeprefix("timm/")
    name = in_timm.removeprefix("dd_") if in_timm.startswith("dd_") else name
    if name in NETWORKS.known():
        return NETWORKS.get(name), None
    wide = re.fullmatch(r"(.+)_w([1-9]\d*)", name)
    if wide and wide[1] in NETWORKS.known() and (network := NETWORKS.get(wide[1])).width is not None:
        return network, int(wide[2])
    return None


def _timm_fit(name: str, num_classes: int, shape: Shape) -> Fit:
    size, built_for_it = stock.fit(name, num_classes=num_classes, image_shape=shape)
    options: dict[str, Any] = {"in_chans": shape[0]}
    adaptation: dict[str, Any] = {}
    if size != shape[1:]:
        adaptation["resize"] = sides(size)
    if built_for_it:
        options["img_size"] = adaptation["img_size"] = sides(size)
    return Fit(options, adaptation)


def _known_to_timm(name: str) -> str:
    import timm

    bare, _, tag = name.removeprefix("timm/").partition(".")
    names = timm.list_models(exclude_filters="dd_*")
    if bare not in names:
        offered = {f"timm/{n}": f"timm/{n}" for n in names}
        if name == bare:  # the user may mean a network of ours, or one of timm without the prefix
            offered = {n: f"timm/{n}" for n in names} | {n: n for n in NETWORKS}
        near = [offered[n] for n in get_close_matches(name, offered, n=3, cutoff=0.5)]
        raise UnknownName("architecture", name, near or known(), "(timm's own are written timm/NAME)")
    if tag:
        raise ConfigError(f"'{name}' names pretrained weights, but networks start untrained here; use timm/{bare}")
    return bare
