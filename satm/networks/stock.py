"""timm's own networks: the input size that one of them needs, found by a trial on shapes only."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch

from satm.errors import ConfigError

SMALLEST = 32
"""Pixels a side. timm's networks shrink an image up to 32 times: a smaller image would shrink to less than one pixel,
so that only padding is left."""
LARGER = (64, 96, 128, 224)  # pixels a side, tried in this order if a network cannot take the images' own size


@cache
def fit(name: str, *, num_classes: int, image_shape: tuple[int, int, int]) -> tuple[tuple[int, int], bool]:
    """The input size (H, W) for images of `image_shape`, and whether the network must be built for it (`img_size`).

    The size is the first of these that works: the images' own size, but at least `SMALLEST`; then the sizes of `LARGER`
    that exceed it; then timm's default for the network. Raises ConfigError if none works.
    """
    from timm.models import PretrainedCfg, get_pretrained_cfg

    config = get_pretrained_cfg(name) or PretrainedCfg()  # a network that a user registered may have none
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
    """Why the network cannot take images of `size`; None if it can.

    Runs on torch's meta device: only shapes, no memory, no random numbers.
    """
    import timm

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            network = timm.create_model(name, pretrained=False, **options)
            if (patch := _patch(network)) and (size[0] % patch[0] or size[1] % patch[1]):
                return f"its patches are {patch[0]}×{patch[1]}, and they do not cover the whole image"
            logits = network(torch.empty(2, options["in_chans"], *size))
    except Exception as error:  # timm's networks may raise anything for a size that does not fit
        return (str(error).splitlines() or [type(error).__name__])[0]
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, options["num_classes"]):
        return "its output is not one score per class"
    return None


def _patch(network: torch.nn.Module) -> tuple[int, int] | None:
    """Sides of the patches that a transformer cuts its images into; None for other networks."""
    sides = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    return tuple(sides) if isinstance(sides, tuple) and len(sides) == 2 else None
