"""What a synthetic set begins as: real images, noise, or images that experts get right with what they say of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from satm.data import ImageData
from satm.engine import FlatNetwork
from satm.methods.base import Task, class_major_labels
from satm.methods.trajectory.labels import BATCH, predict
from satm.rng import Seed
from satm.types import FlatParams, Images, Labels


def noise_images(data: ImageData, ipc: int, seed: Seed) -> Images:
    """[K·ipc, C, H, W] of N(0, 1)."""
    return torch.randn((len(data.classes) * ipc, *data.image_shape), generator=seed.generator())


def images_an_expert_gets_right(task: Task, network: FlatNetwork, theta: FlatParams, seed: Seed) -> Images:
    """[K·ipc, C, H, W] training images, class-major, drawn among those that the expert at `theta` [P] gets right.

    Where a class has fewer, the rest are drawn among its others.
    """
    generator = seed.generator()
    train, chosen = task.data.train, []
    for label in range(len(task.data.classes)):
        members = (train.labels == label).nonzero().squeeze(1)
        members = members[torch.randperm(len(members), generator=generator)]
        right, wrong = [], []
        for batch in members.split(BATCH):
            hit = (predict(network, theta, train.batch(batch)[0].to(task.device)).argmax(dim=1) == label).cpu()
            right.append(batch[hit])
            wrong.append(batch[~hit])
            if sum(map(len, right)) >= task.ipc:
                break
        chosen.append(torch.cat([*right, *wrong])[: task.ipc])
    return train.batch(torch.cat(chosen))[0]


def logits_of_experts(task: Task, network: FlatNetwork, last: Iterable[FlatParams], images: Images) -> Labels:
    """[K·ipc, K]: for each image the mean logits of the experts, at snapshots `last`, that classify it rightly (DATM).

    Where none does, the mean of all, its largest entry and the right class's exchanged: a label that calls an image by
    another class's name would be worse than a hard one.
    """
    classes = class_major_labels(len(task.data.classes), task.ipc).to(images.device)
    logits = torch.stack([predict(network, theta, images) for theta in last])  # [E, n, K]
    right = (logits.argmax(dim=2) == classes).unsqueeze(2)
    count = right.sum(dim=0)
    mean = (logits * right).sum(dim=0) / count.clamp(min=1)
    rows = (count.squeeze(1) == 0).nonzero().squeeze(1)
    fallback = logits.mean(dim=0)[rows]
    largest, own = fallback.argmax(dim=1), classes[rows]
    line = torch.arange(len(rows), device=images.device)
    swapped = fallback.clone()
    swapped[line, own], swapped[line, largest] = fallback[line, largest], fallback[line, own]
    mean[rows] = swapped
    return mean
