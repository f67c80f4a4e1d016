"""The first images and labels of a synthetic set, before the first outer step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch

from satm.data import ImageData
from satm.engine import FlatNetwork
from satm.methods.base import Task, class_major_labels
from satm.methods.random import random_images
from satm.methods.trajectory.labels import BATCH, predict
from satm.parametrisation import PIXELS, Parametrisation
from satm.rng import Seed
from satm.types import FlatParams, Images, Labels


def noise_images(data: ImageData, ipc: int, seed: Seed, parametrisation: Parametrisation = PIXELS) -> Images:
    """Draw stored images [K·ipc, …] of standard normal noise, `ipc` images for each of K classes."""
    shape = parametrisation.stored_shape(data.image_shape)
    return torch.randn((len(data.classes) * ipc, *shape), generator=seed.generator())


def first_images(task: Task, init: Literal["real", "noise"]) -> Images:
    """The stored images φ [K·ipc, …] before the first outer step.

    If `init` is `real`, they are random training images, encoded by the task's parametrisation. If `init` is `noise`,
    they are standard normal noise.
    """
    seed = task.seed.child("init")
    if init == "noise":
        return noise_images(task.data, task.ipc, seed, task.parametrisation)
    return task.parametrisation.encode(random_images(task.data, task.seen_ipc, seed))


def images_an_expert_gets_right(task: Task, network: FlatNetwork, theta: FlatParams, seed: Seed) -> Images:
    """φ [K·ipc, …] before the first outer step, made from training images that an expert classifies correctly.

    `theta` [P] are the expert's parameters. The training images are drawn at random, and then encoded by the task's
    parametrisation. φ is in class-major order. If a class has too few correctly classified images, the missing ones are
    drawn from the other images of the class.
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
            if sum(map(len, right)) >= task.seen_ipc:
                break
        chosen.append(torch.cat([*right, *wrong])[: task.seen_ipc])
    return task.parametrisation.encode(train.batch(torch.cat(chosen))[0])


def logits_of_experts(task: Task, network: FlatNetwork, last: Iterable[FlatParams], images: Images) -> Labels:
    """Labels [n, K]: for each image the mean of the logits of those experts that classify the image correctly (DATM).

    `images` [n, C, H, W] are in class-major order, and each class has the same number of them. `last` holds one
    snapshot of each expert: the expert's parameters [P].

    If no expert classifies an image correctly, its label is the mean of the logits of all experts, with two entries
    exchanged: the largest entry and the entry of the right class. Without this exchange, the largest entry of the label
    would belong to a wrong class, which is worse than a hard label.
    """
    count = len(images) // len(task.data.classes)
    classes = class_major_labels(len(task.data.classes), count).to(images.device)
    logits = torch.stack([predict(network, theta, images) for theta in last])  # [E, n, K] for E experts
    right = (logits.argmax(dim=2) == classes).unsqueeze(2)
    those = right.sum(dim=0)
    mean = (logits * right).sum(dim=0) / those.clamp(min=1)
    rows = (those.squeeze(1) == 0).nonzero().squeeze(1)
    fallback = logits.mean(dim=0)[rows]
    largest, own = fallback.argmax(dim=1), classes[rows]
    line = torch.arange(len(rows), device=images.device)
    swapped = fallback.clone()
    swapped[line, own], swapped[line, largest] = fallback[line, largest], fallback[line, own]
    mean[rows] = swapped
    return mean
