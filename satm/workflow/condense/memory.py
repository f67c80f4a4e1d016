"""Foresees the memory of several condensations at once."""

from __future__ import annotations

import torch

from satm.data import ImageData
from satm.engine.choice import TAPE
from satm.machine.ram import free_memory, resident
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.networks import plan_for
from satm.presets import Preset
from satm.progress import Progress
from satm.rng import Seed


def warn_of_memory(
    count: int, preset: Preset, data: ImageData, device: torch.device, progress: Progress, *, free: int | None = None
) -> None:
    """Say so if `count` condensations at once may not fit in the memory that is free. `free` is for tests."""
    each = foreseen_bytes(preset, data, device)
    left = free_memory(device) if free is None else free
    if count * each > left:
        progress.say(
            f"{count} workers may take {count * each / 1e9:,.1f} GB of memory ({each / 1e9:,.1f} GB each), and "
            f"{left / 1e9:,.1f} GB are free: give fewer workers if one dies"
        )


def foreseen_bytes(preset: Preset, data: ImageData, device: torch.device) -> int:
    """The peak memory of one condensation, roughly: a process with its data, as this one, and the inner loop.

    The inner loop is the tape of its window with `higher`; otherwise it is the window's parameters and the tape of one
    step. Other methods have no inner loop that is kept.
    """
    loaded = resident(device) or 0
    settings = preset.config.settings
    if not isinstance(settings, UnrolledConfig):
        return loaded
    network = plan_for(preset.config.architecture, data).create(Seed(0)).to(device)
    images = preset.config.seen_ipc * len(data.classes)
    choice, work = settings.choose_engine(network, data.image_shape, images)
    if choice.engine == "higher":
        return loaded + int(work.tape)
    parameters = 4 * sum(p.numel() for p in network.parameters())
    tape = int(TAPE * (choice.at_once or work.batch) * work.activation_bytes)
    return loaded + (work.kept * work.window + 4) * parameters + tape
