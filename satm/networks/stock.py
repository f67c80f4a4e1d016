"""Finds the input size that a network of timm needs, by trial forward passes that compute only shapes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch

from satm.errors import ConfigError

SMALLEST = 32
"""The smallest input size that is tried, in pixels a side. The sides of the maps in timm's networks are up to 32 times
shorter than those of the image. A smaller image would become less than one pixel, and only padding would be left."""
LARGER = (64, 96, 128, 224)  # sizes in pixels a side, tried in this order if a network cannot take the original size


@cache
def fit(name: str, *, num_classes: int, image_shape: tuple[int, int, int]) -> tuple[tuple[int, int], bool]:
    """The input size that timm's network `name` needs for images of `image_shape` (C, H, W).

    Returns the size (H, W), and whether the network must be built for this size (timm's argument `img_size`).

    These sizes are tried in order, and the first one that works is returned:
    1. the original size of the images, but with `SMALLEST` in place of a shorter side;
    2. the squares with a side in `LARGER` that is longer than both sides of the first size;
    3. timm's default size for the network.

    Raises ConfigError if no size works.
    """
    from timm.models import PretrainedCfg, get_pretrained_cfg

    # A network that a user has registered with timm may have no such configuration.
    config = get_pretrained_cfg(name) or PretrainedCfg()
    default = (config.input_size[1], config.input_size[2])
    reason = ""
    for size in _sizes(image_shape, default):
        built_for_it = bool(config.fixed_input_size) and size != default
        options: dict[str, Any] = {"num_classes": num_classes, "in_chans": image_shape[0]}
        failure = _failure(name, options | ({"img_size": list(size)} if built_for_it else {}), size)
        if failure is None:
            return size, built_for_it
        reason = failure
    channels, height, width = image_shape
    raise ConfigError(
        f"timm/{name} cannot take {height}×{width} {channels}-channel images, not even resized ({reason}); "
        "choose another architecture"
    )


def _sizes(image_shape: tuple[int, int, int], default: tuple[int, int]) -> Iterator[tuple[int, int]]:
    own = max(image_shape[1], SMALLEST), max(image_shape[2], SMALLEST)
    yield own
    yield from ((side, side) for side in LARGER if side > max(own))
    yield default


def _failure(name: str, options: dict[str, Any], size: tuple[int, int]) -> str | None:
    """The reason why the network cannot take images of `size` (H, W), as text; None if it can take them.

    The trial runs on torch's meta device, which computes only shapes and needs no memory and no random numbers.
    """
    import timm

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            network = timm.create_model(name, pretrained=False, **options)
            if (patch := _patch(network)) and (size[0] % patch[0] or size[1] % patch[1]):
                return f"its patches are {patch[0]}×{patch[1]}, and they do not cover the whole image"
            logits = network(torch.empty(2, options["in_chans"], *size))
    except Exception as error:  # for a wrong size, timm's networks raise many kinds of exceptions
        return (str(error).splitlines() or [type(error).__name__])[0]
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, options["num_classes"]):
        return "its output is not one score per class"
    return None


def _patch(network: torch.nn.Module) -> tuple[int, int] | None:
    """The height and width of the patches into which a transformer cuts its images; None for other networks."""
    sides = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    return tuple(sides) if isinstance(sides, tuple) and len(sides) == 2 else None
