"""The order of the images within an incremental step of an online stream."""

from __future__ import annotations

import torch


def balanced_batches(labels: torch.Tensor, batch_size: int, generator: torch.Generator) -> list[torch.Tensor]:
    """The positions of the images of a step in batches of `batch_size`, in the order in which they arrive.

    Each image is in at most one batch. The images come in rounds. A round has one image of each class, in random order.
    There are as many rounds as the smallest class has images, and the last, smaller batch is left out. So some images
    of larger classes never arrive. `labels` [n] int64 are the classes of the images of the step.

    If the number of classes divides the batch size, each batch has equally many images of each class, as in SSD's code
    (`BalancedSampler` in continuum/data_utils.py at 7fe1000).
    """
    classes = labels.unique()
    by_class = [(labels == label).nonzero().flatten() for label in classes]
    shuffled = [positions[torch.randperm(len(positions), generator=generator)] for positions in by_class]
    smallest = min(map(len, by_class))
    rounds = torch.stack([positions[:smallest] for positions in shuffled], dim=1)
    order = torch.cat([each[torch.randperm(len(classes), generator=generator)] for each in rounds])
    count = batches_of(len(classes), smallest, batch_size)
    return list(order[: count * batch_size].split(batch_size))


def batches_of(classes: int, smallest: int, batch_size: int) -> int:
    """The number of batches that `balanced_batches` makes of `classes` classes with `smallest` images or more each."""
    return classes * smallest // batch_size
