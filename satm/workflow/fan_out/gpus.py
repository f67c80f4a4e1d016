"""Finds the GPUs that several worker processes can share."""

from __future__ import annotations

import os


def visible_gpus(device: str) -> tuple[str, ...]:
    """Return the GPUs that workers with the setting `device` can use, named as in CUDA_VISIBLE_DEVICES.

    `auto` and `cuda` allow every GPU of this machine. For one certain GPU, such as `cuda:1`, and for other devices the
    result is empty, because then there is nothing to choose.
    """
    import torch

    if device not in ("auto", "cuda"):
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [each.strip() for each in named.split(",")] if named else [str(index) for index in range(count)]
    return tuple(names[:count])
