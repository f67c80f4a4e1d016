"""Predicts how much memory several condensations need if they run at the same time, each in its own process."""

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
    """Warn the user if `count` condensations at the same time may need more memory than is free.

    `free` replaces the measured free memory (bytes) in tests.
    """
    each = foreseen_bytes(preset, data, device)
    left = free_memory(device) if free is None else free
    if count * each > left:
        progress.say(
            f"{count} workers may take {count * each / 1e9:,.1f} GB of memory ({each / 1e9:,.1f} GB each), and "
            f"{left / 1e9:,.1f} GB are free: give fewer workers if one dies"
        )


def foreseen_bytes(preset: Preset, data: ImageData, device: torch.device) -> int:
    """Return roughly the peak memory (bytes) of one condensation: the process with its data, plus the inner loop.

    A process with its data is taken to need what this process, which has loaded the same data, holds now. The inner
    loop needs memory for its window: the last inner steps, which are differentiated. With the engine `higher` this is
    autograd's graph (the tape) of the whole window. With another engine it is a few vectors of parameters for each step
    of the window, the tape of one step, or of a part of its batch on a CPU, and the activations that steps keep. If the
    method differentiates no inner loop, nothing is added.
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
    return loaded + (work.kept * work.window + 4) * parameters + tape + choice.kept_steps * work.kept_activations
