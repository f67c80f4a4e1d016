"""Foresees whether something fits in memory, so that too large a request is refused with a number."""

from __future__ import annotations

import torch

from satm.errors import DataError
from satm.machine.ram import free_memory


def check_room(need: int, what: str, way_out: str, device: torch.device | str = "cpu") -> None:
    """Raise DataError if `need` bytes are more than `device` has free. `what` takes them; `way_out` is the advice."""
    free = free_memory(device)
    if need > free:
        raise DataError(f"{what} takes {need / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free; {way_out}")
