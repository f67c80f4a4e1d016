"""Domain-incremental streams: every step has all classes, and its images are of a domain of its own."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from protocols.base import PROTOCOLS
from protocols.job import Arrivals
from protocols.result import IncrementalResult, judge
from protocols.run import Earlier
from satm.errors import ConfigError, DataError, Interrupted
from satm.examples import TensorExamples
from satm.networks import plan
from satm.rng import Seed
from tests.protocols.stage import (
    CLASSES,
    IPC,
    SHAPE,
    STREAM,
    Labelled,
    Recorder,
    drawn,
    memory,
    networks,
    real_images,
    stream,
)

STEPS = 3
EVERY = (tuple(range(CLASSES)),) * STEPS
ONLINE = [name for name in PROTOCOLS.known() if PROTOCOLS.get(name).online]
NAMES = [name for name in PROTOCOLS.known() if name not in ONLINE]


def turned(images: torch.Tensor, step: int) -> torch.Tensor:
    return torch.rot90(images, step, (2, 3))


def joined(name: str, noise: float = 0.5) -> Labelled:
    """The real images in each domain, one domain after the other."""
    real = real_images(name, noise)
    return Labelled(torch.cat([turned(real.images, step) for step in range(STEPS)]), real.labels.repeat(STEPS))


def given() -> Any:
    """A memory of IPC images of each class of each domain, sorted by class and then by domain."""
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    images = torch.stack([turned(drawn(labels, f"memory {step}", 0.2), step) for step in range(STEPS)])
    images = images.view(STEPS, CLASSES, IPC, *SHAPE).transpose(0, 1).flatten(0, 2)
    return memory(images=images, labels=torch.arange(CLASSES).repeat_interleave(STEPS * IPC), ipc=STEPS * IPC)


def in_domains(name: str, **changes: Any) -> IncrementalResult:
    count = len(real_images())
    step = torch.arange(STEPS)
    parts: dict[str, Any] = {
        "groups": EVERY,
        "train": joined("train", 0.3),
        "test": joined("test"),
        "memory": given() if PROTOCOLS.get(name).memory else None,
        "networks": networks(rates=(0.1,) * STEPS),
        "arrivals": Arrivals(
            train=step.repeat_interleave(count),
            test=step.repeat_interleave(count),
            memory=step.repeat_interleave(IPC).repeat(CLASSES),
        ),
    }
    return stream(name, **(parts | changes))


@pytest.mark.parametrize("name", NAMES)
def test_domains_arrive_and_are_judged_one_by_one(name: str) -> None:
    result = in_domains(name, settings={"epochs": 4} if PROTOCOLS.get(name).reads == "real" else {})
    curve = PROTOCOLS.get(name).judged == "every step"
    sizes = [each.memory_size for each in result.judged]
    held, seen = [20, 40, 60], [43, 86, 129]
    assert sizes == {"naive": [0] * 3, "gdumb-original": held[-1:], "cumulative": seen, "joint": seen}.get(name, held)
    # All classes are known from the first step on, so the task mask hides nothing.
    assert result.masked_matrix == result.matrix
    # Every domain has as many test images.
    assert all(each.seen == pytest.approx(fmean(each.accuracies[: each.step + 1])) for each in result.judged)
    if curve:
        assert result.matrix[0][0] > 0.2  # chance is 0.1: the network learns the domain


@pytest.mark.parametrize("name", ONLINE)
def test_an_online_protocol_refuses_domains(name: str) -> None:
    with pytest.raises(ConfigError, match=f"protocol {name} makes a memory of classes that arrive"):
        in_domains(name)


@pytest.mark.parametrize("buffer", [None, 40])
def test_gdumb_trains_on_the_domains_so_far(buffer: int | None) -> None:
    result, held, nets = in_domains("gdumb", buffer=buffer), given(), networks(rates=(0.1,) * STEPS)
    images = held.images.view(CLASSES, STEPS, IPC, *SHAPE)
    test = joined("test")
    for step in range(STEPS):
        # 40 places: after the first step 20 images, after the second 40, after the third 40 again:
        # the quotas of the 30 pairs (domain, class) are 2 for the first ten, and 1 for the others.
        blocks = [images[:, each] for each in range(step + 1)]
        if buffer and step == 2:
            blocks = [block if each == 0 else block[:, :1] for each, block in enumerate(blocks)]
        labels = [torch.arange(CLASSES).repeat_interleave(block.shape[1]) for block in blocks]
        examples = TensorExamples(torch.cat([block.flatten(0, 1) for block in blocks]), torch.cat(labels))
        assert result.judged[step].memory_size == len(examples)
        network = nets.trained(examples, Seed(5).child("step", step), step=step)
        right = nets.logits(network, test).argmax(1) == test.labels
        assert result.matrix[step] == tuple(float(each.double().mean()) for each in right.chunk(STEPS))
    with pytest.raises(ConfigError, match="less than one image for each of 10 classes in 3 domains; take 30 or more"):
        in_domains("gdumb", buffer=29)


@pytest.mark.parametrize("name", ["gdumb", "der", "cumulative"])
def test_stopped_and_continued_gives_the_same_numbers(name: str) -> None:
    settings = {"epochs": 2} if PROTOCOLS.get(name).reads == "real" else {}
    whole, recorder = in_domains(name, settings=settings), Recorder(after=2)
    with pytest.raises(Interrupted):
        in_domains(name, settings=settings, on_step=recorder.keep, progress=recorder)
    earlier = Earlier(steps=tuple(recorder.kept), state=recorder.state)
    assert in_domains(name, settings=settings, earlier=earlier) == whole


def test_a_guess_knows_all_classes_in_every_domain() -> None:
    places = [torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3])]
    found = judge(torch.full((4, 10), torch.nan), torch.tensor([1, 2, 3, 4]), places, EVERY, step=0, memory_size=1)
    assert found.accuracies == found.masked_accuracies == (0.1,) * 3
    assert (found.seen, found.masked) == (0.1, 0.1)


def test_steps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected each of 0 to 9 once"):
        in_domains("gdumb", groups=(EVERY[0], EVERY[0], EVERY[0][:-1]))
    step = torch.zeros(len(real_images()) * STEPS, dtype=torch.int64)
    with pytest.raises(DataError, match=r"step 2 of 3.*there is no test image"):
        in_domains("naive", arrivals=Arrivals(train=step, test=step, memory=step[:0]))


def replayed(seed: int) -> list[list[float]]:
    """Replay by hand: each batch of the domain's real images, and four images of the memory of earlier domains."""
    torch.manual_seed(seed)
    network = plan("convnet3_w16", num_classes=CLASSES, image_shape=SHAPE).create(Seed(seed))
    real, held, test = joined("train", 0.3), given(), joined("test")
    images = held.images.view(CLASSES, STEPS, IPC, *SHAPE)
    matrix = []
    for step in range(STEPS):
        own = slice(step * 43, (step + 1) * 43)
        old = images[:, :step].flatten(0, 2)
        old_labels = torch.arange(CLASSES).repeat_interleave(step * IPC)
        optimizer = torch.optim.SGD(network.parameters(), lr=STREAM["learning_rate"], momentum=STREAM["momentum"])
        network.train()
        for _ in range(int(STREAM["epochs"])):
            for at in torch.randperm(43).split(int(STREAM["batch_size"])):
                again = torch.randperm(len(old))[:4]
                seen = torch.cat([real.images[own][at], old[again]])
                optimizer.zero_grad()
                F.cross_entropy(network(seen), torch.cat([real.labels[own][at], old_labels[again]])).backward()
                optimizer.step()
        with torch.no_grad():
            right = network.eval()(test.images).argmax(1) == test.labels
        matrix.append([float(each.float().mean()) for each in right.chunk(STEPS)])
    return matrix


@pytest.mark.slow
def test_an_independent_replay_has_the_same_accuracies() -> None:
    seeds = 6
    nets = networks(rates=(0.1,) * STEPS, recipe=replace(networks().recipe, augment=None))
    settings = {"memory_batch_size": 4}
    ours = [in_domains("replay", seed=Seed(seed), networks=nets, settings=settings).matrix for seed in range(seeds)]
    theirs = [replayed(100 + seed) for seed in range(seeds)]
    for step, column in ((0, 0), (1, 0), (2, 0), (2, 2)):
        one, two = ([float(matrix[step][column]) for matrix in found] for found in (ours, theirs))
        error = ((stdev(one) ** 2 + stdev(two) ** 2) / seeds) ** 0.5
        assert abs(fmean(one) - fmean(two)) <= 3.5 * error + 0.02, (step, column, one, two)
