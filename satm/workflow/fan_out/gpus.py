"""The GPUs that workers share."""

from __future__ import annotations

import os


def visible_gpus(device: str) -> tuple[str, ...]:
    """The GPUs that `device` leaves open, as CUDA_VISIBLE_DEVICES names them; none for a certain GPU or another device.

    `auto` and `cuda` take any GPU, `cuda:1` the second one.
    """
    import torch

    if device not in ("auto", "cuda"):
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [each.strip() for each in named.split(",")] if named else [str(index) for index in range(count)]
    return tuple(names[:count])
