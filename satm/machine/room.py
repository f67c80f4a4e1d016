"""Checks whether something fits in memory before the memory is taken. The error message names both sizes."""

from __future__ import annotations

import torch

from satm.errors import DataError
from satm.machine.ram import free_memory


def check_room(need: int, what: str, way_out: str, device: torch.device | str = "cpu") -> None:
    """Raise DataError if `need` bytes are more than `device` has free.

    In the message, `what` names the thing that takes the bytes, and `way_out` is the advice to the user.
    """
    free = free_memory(device)
    if need > free:
        raise DataError(f"{what} takes {need / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free; {way_out}")
