"""Draws the segment θ_t → θ_{t+M} of an expert trajectory that an outer step matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from satm.errors import ConfigError
from satm.experts.store import Trajectory
from satm.types import FlatParams


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one expert's trajectory: from the snapshot after epoch t to the snapshot M epochs later."""

    expert: int  # the index of the expert
    epoch: int  # t, the start epoch
    start: FlatParams  # θ_t [P]
    target: FlatParams  # θ_{t+M} [P]


def start_epochs(max_start_epoch: int, *, inclusive: bool) -> int:
    """Return the number of start epochs t for T = `max_start_epoch`: T for t < T, or T + 1 for t ≤ T if `inclusive`.

    t < T is the range in MTT's code. The paper calls T the maximum start epoch, which means t ≤ T. Raises ConfigError
    if there is no start epoch.
    """
    count = max_start_epoch + inclusive
    if count < 1:
        raise ConfigError(f"max_start_epoch {max_start_epoch}: no start epoch is left; expected at least 1")
    return count


def draw_segment(
    experts: Sequence[Trajectory],
    *,
    epochs: int,
    starts: int,
    first: int = 0,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Segment:
    """Draw an expert and a start epoch `first` ≤ t < `starts`, both uniformly.

    Returns the segment of M = `epochs` epochs, with its snapshots on `device`.
    """
    expert = int(torch.randint(len(experts), (), generator=generator))
    t = int(torch.randint(first, starts, (), generator=generator))
    trajectory = experts[expert]
    return Segment(expert, t, trajectory.snapshot(t).to(device), trajectory.snapshot(t + epochs).to(device))
