"""From an architecture's name to a network: which network it is, how it fits the images, and its creation."""

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
    """How a network of this name is made for one image shape and number of classes."""

    name: str  # canonical: `convnet3`, `convnetbn3_w32`, `resnet18`, `timm/resnet18`
    num_classes: int  # K
    image_shape: Shape  # C, H, W
    timm_name: str | None  # its name in timm; None: another package's network, built by its entry in `NETWORKS`
    options: Mapping[str, Any]  # arguments of `timm.create_model`, or of that entry's `build`; JSON-able
    adaptation: Mapping[str, Any] = field(default_factory=dict)
    """What was done to fit the images, JSON-able, {} for nothing. A size is a side in pixels, or [H, W] if not square.
    `resize`: images are resized to it. `img_size`: timm builds the network for it, not for the network's own default.
    `adaptive_pool`: the network is made for 32×32; its last pooling brings larger images to maps of this side."""

    def create(self, seed: Seed) -> nn.Module:
        """A freshly initialised network on the CPU: images [n, *image_shape] float32 → logits [n, num_classes].

        Ours have PyTorch's default initialisation, timm's have their own. Both depend on `seed` only and leave the
        global random state as it is.
        """
        import timm

        import satm.networks.entrypoints  # noqa: F401 (registers ours with timm)

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
        """Raise ConfigError if `images` in batches of `batch_size` leave a last batch that the network cannot train on.

        Such a batch has one image, and the network has batch normalisation over maps of one pixel. The method runs a
        forward pass on torch's meta device: only shapes. `way_out` ends the message.
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
    """Our short names; a ConvNet of another width is `convnet3_w32`."""
    return NETWORKS.known()


def plan(name: str, *, num_classes: int, image_shape: Shape) -> NetworkPlan:
    """How network `name` is made for `num_classes` and images of `image_shape` (C, H, W).

    `name` is one of these:
    - one of `known()`, or a ConvNet with its width (`convnetbn3_w32`);
    - a network that another package offers under the entry points `satm.networks`;
    - `timm/NAME`, one of timm's own. `timm/` may be left out if the name is not ours too.

    Raises UnknownName, PluginError, and ConfigError for images that the network cannot take.
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
    """`plan(name, num_classes=…, image_shape=…).create(seed)`."""
    return plan(name, num_classes=num_classes, image_shape=image_shape).create(seed)


class Classified(Protocol):
    """What has classes and images of one shape: a real data set, or a synthetic set."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names by label."""

    @property
    def image_shape(self) -> Shape:
        """C, H, W."""


def plan_for(name: str, data: Classified) -> NetworkPlan:
    """`plan` for the classes and images of a real or synthetic set."""
    return plan(name, num_classes=len(data.classes), image_shape=data.image_shape)


def batch_normed_name(name: str) -> str:
    """The name of the same network with batch norm in place of instance norm; `name` itself if there is none.

    `convnet3_w32` gives `convnetbn3_w32`.
    """
    found = _ours(name)
    if found is None or found[0].twin is None:
        return name
    return NETWORKS.get(found[0].twin).at_width(found[1])


def cited(name: str) -> tuple[str, ...]:
    """What a user of this network cites (`Network.cite`); nothing for one of timm's own and for an unknown name."""
    if found := _ours(name):
        return found[0].cite
    return NETWORKS.get(name).cite if name in NETWORKS else ()


def _ours(name: str) -> tuple[Network, int | None] | None:
    """Our network of that name, and the width that the name gives; None for anyone else's.

    timm's name for one of ours is known too: `dd_resnet18`, `timm/dd_resnet18`. `timm/resnet18` is not ours.
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
        if name == bare:  # it may also be meant as one of ours, or as one of timm's without the prefix
            offered = {n: f"timm/{n}" for n in names} | {n: n for n in NETWORKS}
        near = [offered[n] for n in get_close_matches(name, offered, n=3, cutoff=0.5)]
        raise UnknownName("architecture", name, near or known(), "(timm's own are written timm/NAME)")
    if tag:
        raise ConfigError(f"'{name}' names pretrained weights, but networks start untrained here; use timm/{bare}")
    return bare
