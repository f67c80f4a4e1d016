"""From an architecture's name to a network: what a name stands for, how it is fitted to the images, its creation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, Protocol, TypeAlias

from torch import nn

from satm.errors import ConfigError, UnknownName
from satm.names import Names
from satm.networks import stock
from satm.networks.convnet import feature_size
from satm.networks.resized import Resized
from satm.rng import Seed

WIDTH = 128  # channels of the field's ConvNet
POOLED = {"alexnet": 4, "resnet18": 1, "resnet18bn": 1, "vgg11": 1, "vgg11bn": 1}
"""Side of the maps that the last pooling leaves, at 32×32 and above; `bn`: batch in place of instance norm."""
Builder: TypeAlias = Callable[..., nn.Module]
"""Another package's network: `build(num_classes=K, image_shape=(C, H, W))` gives it, freshly initialised."""

OTHERS: Names[Builder] = Names("architecture", group="satm.networks")
CONVNET = re.compile(r"convnet(bn)?([345])(?:_w([1-9]\d*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """How a network of this name is made for one image shape and number of classes."""

    name: str  # canonical: `convnet3`, `convnetbn3_w32`, `resnet18`, `timm/resnet18`
    num_classes: int  # K
    image_shape: tuple[int, int, int]  # C, H, W
    timm_name: str | None  # what timm.create_model is asked for; None: another package's builder of this name
    options: Mapping[str, Any]  # and with which arguments; JSON-able
    adaptation: Mapping[str, Any] = field(default_factory=dict)
    """What was done to fit the images, JSON-able, {} for nothing. Sizes are a side in pixels, [H, W] where not square.
    `resize`: images are resized to it; `img_size`: timm builds the network for it in place of its own default;
    `adaptive_pool`: images larger than the network's 32×32 end in a pooling to maps of this side."""

    def create(self, seed: Seed) -> nn.Module:
        """A freshly initialised network on the CPU: images [n, *image_shape] float32 → logits [n, num_classes].

        Ours have PyTorch's default initialisation, timm's their own. Both depend on `seed` only and leave the global
        random state as it is.
        """
        import timm

        import satm.networks.entrypoints  # noqa: F401 (registers ours with timm)

        with seed.forked():
            network: nn.Module
            if self.timm_name is None:
                network = OTHERS.get(self.name)(num_classes=self.num_classes, image_shape=self.image_shape)
            else:
                network = timm.create_model(self.timm_name, pretrained=False, **self.options)
        if "resize" in self.adaptation:
            target = self.adaptation["resize"]
            network = Resized(network, (target, target) if isinstance(target, int) else (target[0], target[1]))
        return network


def known() -> list[str]:
    """Our short names; a ConvNet of another width is `convnet3_w32`."""
    norms: tuple[Literal["", "bn"], ...] = ("", "bn")
    return sorted([*POOLED, *(convnet_name(depth, WIDTH, norm) for depth in (3, 4, 5) for norm in norms)])


def convnet_name(depth: int, width: int, norm: Literal["", "bn"] = "") -> str:
    """The name of a ConvNet, `convnet3` or `convnetbn3_w32`; raises ConfigError when there is no such network."""
    name = f"convnet{norm}{depth}" if width == WIDTH else f"convnet{norm}{depth}_w{width}"
    if not CONVNET.fullmatch(name):
        raise ConfigError(f"ConvNet of depth {depth} and width {width}: expected depth 3, 4 or 5 and width 1 or more")
    return name


def convnet_depth(image_size: int) -> int:
    """The field's depth for images of `image_size` pixels a side: 3 up to 32, 4 up to 64, 5 above (paper A.8)."""
    return 3 if image_size <= 32 else 4 if image_size <= 64 else 5


def plan(name: str, *, num_classes: int, image_shape: tuple[int, int, int]) -> NetworkPlan:
    """How network `name` is made for `num_classes` and images of `image_shape` (C, H, W).

    `name` is one of `known()`, a ConvNet with its width (`convnetbn3_w32`), one that another package offers under the
    entry points `satm.networks`, or `timm/NAME` (`timm/` may be left out where the name is not ours too). Raises
    UnknownName, PluginError, and ConfigError for images the network cannot take.
    """
    if num_classes < 1 or len(image_shape) != 3 or min(image_shape) < 1:
        raise ConfigError(
            f"{num_classes} classes and images of shape {tuple(image_shape)}: expected 1 class or more and a (C, H, W)"
        )
    channels, *size = image_shape

    def of(canonical: str) -> dict[str, Any]:
        return {"name": canonical, "num_classes": num_classes, "image_shape": tuple(image_shape)}

    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    ours = _our_name(name)
    if convnet := CONVNET.fullmatch(ours):
        norm, depth, width = convnet[1] or "", int(convnet[2]), int(convnet[3] or WIDTH)
        feature_size(depth, (size[0], size[1]))
        options |= {"img_size": _sides(size), "width": width}
        name = convnet_name(depth, width, "bn" if norm else "")
        return NetworkPlan(timm_name=f"dd_convnet{norm}{depth}", options=options, **of(name))
    if ours in POOLED:
        adaptation: dict[str, Any] = {}
        if min(size) < 32:
            adaptation["resize"] = _sides([max(side, 32) for side in size])
        if max(size) > 32:
            adaptation["adaptive_pool"] = POOLED[ours]
        return NetworkPlan(timm_name=f"dd_{ours}", options=options, adaptation=adaptation, **of(ours))
    if name in OTHERS:
        OTHERS.get(name)
        options = {"num_classes": num_classes, "image_shape": list(image_shape)}
        return NetworkPlan(timm_name=None, options=options, **of(name))
    return _stock_plan(name, options, image_shape)


def create(name: str, *, num_classes: int, image_shape: tuple[int, int, int], seed: Seed) -> nn.Module:
    """`plan(name, num_classes=…, image_shape=…).create(seed)`."""
    return plan(name, num_classes=num_classes, image_shape=image_shape).create(seed)


class Classified(Protocol):
    """What has classes and images of one shape: a real data set, or a synthetic set."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names by label."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W."""


def plan_for(name: str, data: Classified) -> NetworkPlan:
    """`plan` for the classes and images of a real or synthetic set."""
    return plan(name, num_classes=len(data.classes), image_shape=data.image_shape)


def _stock_plan(name: str, options: dict[str, Any], image_shape: tuple[int, int, int]) -> NetworkPlan:
    timm_name = _known_to_timm(name)
    size, built_for_it = stock.fit(timm_name, num_classes=options["num_classes"], image_shape=image_shape)
    adaptation: dict[str, Any] = {}
    if size != image_shape[1:]:
        adaptation["resize"] = _sides(size)
    if built_for_it:
        options = options | {"img_size": _sides(size)}
        adaptation["img_size"] = _sides(size)
    return NetworkPlan(
        name=f"timm/{timm_name}",
        num_classes=options["num_classes"],
        image_shape=image_shape,
        timm_name=timm_name,
        options=options,
        adaptation=adaptation,
    )


def _our_name(name: str) -> str:
    """`name` in our short form: plain, or as timm knows ours (`dd_resnet18`); `timm/resnet18` is not ours."""
    registered = name.removeprefix("timm/")
    return registered.removeprefix("dd_") if registered.startswith("dd_") else name


def _known_to_timm(name: str) -> str:
    import timm

    bare, _, tag = name.removeprefix("timm/").partition(".")
    names = timm.list_models(exclude_filters="dd_*")
    if bare not in names:
        offered = {*known(), *OTHERS, *names} if name == bare else {f"timm/{n}" for n in names}
        near = get_close_matches(name, offered, n=3, cutoff=0.5)
        raise UnknownName("architecture", name, near or known(), "(timm's own are written timm/NAME)")
    if tag:
        raise ConfigError(f"'{name}' names pretrained weights, but networks start untrained here; use timm/{bare}")
    return bare


def _sides(size: tuple[int, ...] | list[int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
