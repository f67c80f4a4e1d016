"""Online memories: the reservoir, the slots, and SSD's steps against a literal loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from protocols.online.batches import balanced_batches, batches_of
from protocols.online.memory import OnlineContext, OnlineMemory, StreamFacts
from protocols.online.reservoir import Reservoir
from protocols.online.ssd import SSDConfig, SummarisedStream
from satm.augment import named
from satm.errors import ConfigError, UsageError
from satm.networks import plan
from satm.rng import Seed
from tests.protocols.stage import CLASSES, SHAPE, drawn, keeping, networks

CONTEXT = OnlineContext(networks=networks(), capacity=20)
QUICK = SSDConfig(slots=1, network="convnet3_w4", queue=2, interval=2, learning_rate=0.5, replayed=2)


def stamped(labels: Sequence[int], first: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that hold their number in the stream, and their classes."""
    numbers = torch.arange(first, first + len(labels)).float()
    return numbers.view(-1, 1, 1, 1).expand(-1, *SHAPE).clone(), torch.tensor(labels)


def numbers(memory: OnlineMemory) -> list[int]:
    return [int(each) for each in memory.held()[0][:, 0, 0, 0]]


def test_a_reservoir_is_a_uniform_sample_of_the_stream() -> None:
    count, capacity, repeats = 30, 6, 600
    kept = torch.zeros(count)
    context = replace(CONTEXT, capacity=capacity)
    images, labels = stamped([0] * count, first=0)
    for repeat in range(repeats):
        memory = Reservoir(context)
        memory.begin([0], Seed(repeat))
        memory.update(images[:17], labels[:17])
        memory.update(images[17:], labels[17:])
        kept[torch.tensor(numbers(memory))] += 1
    # Each image is kept with probability 1/5: 120 ± 9.8 times, so 5 standard deviations are 49.
    assert float(kept.sum()) == repeats * capacity
    assert float((kept - repeats * capacity / count).abs().max()) < 49


@settings(max_examples=30, deadline=None)
@given(
    stream=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=7), min_size=1, max_size=8),
    capacity=st.integers(4, 15),
    slots=st.integers(0, 3),
    seed=st.integers(0, 5),
)
def test_places_and_slots_keep_their_promises(stream: list[list[int]], capacity: int, slots: int, seed: int) -> None:
    slots = min(slots, capacity // 4)
    memory = Reservoir(replace(CONTEXT, capacity=capacity), slots=slots)
    memory.begin(range(4), Seed(seed))
    arrived: list[int] = []
    for batch in stream:
        images, labels = stamped(batch, first=len(arrived) + 1)
        memory.update(images, labels)
        arrived += batch
        held, classes = memory.held()
        assert len(memory) == len(held) == min(len(arrived), capacity) or slots
        assert len(memory) <= capacity
        found = numbers(memory)
        assert len(set(found)) == len(found)
        assert [arrived[number - 1] for number in found] == classes.tolist()
        # The first images of every class are there, as many as it has slots.
        for label in set(arrived):
            first = [number for number, each in enumerate(arrived, 1) if each == label][:slots]
            assert set(first) <= set(found)
        drawn_images, drawn_labels = memory.sample(5, Seed(seed).generator())
        assert len(drawn_images) == len(drawn_labels) == min(5, len(found))
        assert len({int(each) for each in drawn_images[:, 0, 0, 0]}) == len(drawn_images)


def batches(classes: Sequence[int], count: int, name: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    labels = torch.tensor(classes * (count * 4 // len(classes)))
    images = drawn(labels, name, 0.3)
    return [(images[at : at + 4], labels[at : at + 4]) for at in range(0, len(labels), 4)]


def run(memory: OnlineMemory, steps: int = 2) -> OnlineMemory:
    for step, classes in enumerate(([0, 1], [2, 3])[:steps]):
        memory.begin(classes, Seed(3).child(step))
        for images, labels in batches(classes, 6, f"step {step}"):
            memory.update(images, labels)
    return memory


def test_at_rate_0_the_memory_is_the_first_real_images_and_a_reservoir() -> None:
    still = run(SummarisedStream(replace(CONTEXT, capacity=12), replace(QUICK, learning_rate=0.0)))
    slots = run(Reservoir(replace(CONTEXT, capacity=12), slots=1))
    for one, two in zip(still.held(), slots.held(), strict=True):
        assert torch.equal(one, two)
    moved = run(SummarisedStream(replace(CONTEXT, capacity=12), QUICK))
    assert torch.equal(moved.held()[1], slots.held()[1])
    differing = (moved.held()[0] != slots.held()[0]).flatten(1).any(1)
    assert differing.tolist() == slots.state()["in_slot"][: len(differing)].tolist()


def test_the_same_seed_gives_the_same_bits_and_a_restored_memory_goes_on_with_them() -> None:
    whole, again = (run(SummarisedStream(CONTEXT, QUICK)) for _ in range(2))
    assert torch.equal(whole.held()[0], again.held()[0])
    restored = SummarisedStream(CONTEXT, QUICK)
    restored.restore(run(SummarisedStream(CONTEXT, QUICK), steps=1).state())
    restored.begin([2, 3], Seed(3).child(1))
    for images, labels in batches([2, 3], 6, "step 1"):
        restored.update(images, labels)
    assert all(torch.equal(one, two) for one, two in zip(whole.held(), restored.held(), strict=True))


def test_the_images_take_the_steps_of_ssd() -> None:
    """SSD's loop written out: one slot of each class, a growing head, one optimiser of the step's images."""
    ours = run(SummarisedStream(replace(CONTEXT, capacity=60), QUICK))  # all 48 images find a place
    places: list[list[Any]] = []  # image, class, whether in a slot
    seen: list[int] = []
    for step, classes in enumerate(([0, 1], [2, 3])):
        seed, old = Seed(3).child(step), [place for place in places if place[2]]
        seen += classes
        network = plan("convnet3_w4", num_classes=CLASSES, image_shape=SHAPE).create(seed.child("matching network"))
        train = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        draws, queue, learned = seed.child("matching").generator(), [], None
        for index, (images, labels) in enumerate(batches(classes, 6, f"step {step}")):
            fresh = []
            for image, label in zip(images, labels.tolist(), strict=True):
                fresh.append(not any(place[1] == label and place[2] for place in places))
                places.append([image, label, fresh[-1]])
            queue = [*queue, (images, labels)][-2:]
            if index % 2 == 0 and len(queue) == 2 and not any(fresh):
                mine = [place for label in classes for place in places if place[1] == label and place[2]]
                if learned is None:
                    learned = torch.stack([place[0] for place in mine]).requires_grad_()
                    sgd = torch.optim.SGD([learned], lr=0.5, momentum=0.9)
                for number, label in enumerate(classes):
                    real = torch.cat([x[y == label] for x, y in queue])
                    both = named("color+crop")(torch.cat([real, learned[number : number + 1]]), draws)
                    order = torch.randperm(len(old), generator=draws)[:10]
                    past = [old[at][0] for at in order]
                    loss = literal(network, both[len(real) :], both[: len(real)], seen.index(label), seen, past)
                    sgd.zero_grad()
                    loss.backward()
                    sgd.step()
                    mine[number][0] = learned[number].detach().clone()
            free = [place for place in places if not place[2]]
            order = torch.randperm(len(free), generator=draws)[:2].tolist()
            joined = torch.cat([images, *(free[at][0][None] for at in order)])
            targets = torch.tensor([*labels.tolist(), *(free[at][1] for at in order)])
            shuffled = torch.randperm(len(joined), generator=draws)
            for part in (shuffled[at : at + 4] for at in range(0, len(joined) // 4 * 4, 4)):
                train.zero_grad()
                wanted = torch.tensor([seen.index(int(each)) for each in targets[part]])
                F.cross_entropy(network(joined[part])[:, seen], wanted).backward()
                train.step()
    held, classes_held = ours.held()
    assert classes_held.tolist() == [place[1] for place in places]
    torch.testing.assert_close(held, torch.stack([place[0] for place in places]), atol=2e-4, rtol=0)


def literal(
    network: torch.nn.Module,
    summary: torch.Tensor,
    real: torch.Tensor,
    target: int,
    seen: Sequence[int],
    past: Sequence[torch.Tensor],
    weight: float = 1.0,
) -> torch.Tensor:
    """SSD's `match_loss`, written out for a ConvNet: all gradients are taken and those of convolutions compared."""

    def features(images: torch.Tensor) -> torch.Tensor:
        return network.features(images).flatten(1)

    def unit(rows: torch.Tensor) -> torch.Tensor:
        return rows / (rows**2).sum(1, keepdim=True) ** 0.5

    gradients = []
    for images in (real, summary):
        logits = network.classifier(features(images))[:, list(seen)]
        ce = -(logits[:, target] - logits.exp().sum(1).log()).mean()
        gradients.append(torch.autograd.grad(ce, list(network.parameters()), create_graph=True))
    total = torch.zeros((), dtype=real.dtype)
    for theirs, ours in zip(*gradients, strict=True):
        if theirs.ndim == 4:
            total = total + ((theirs.detach() - ours) ** 2).sum()
    for image in past:
        f = unit(features(image[None]))[0].detach()
        near = [((unit(features(each)).mean(0) - f) ** 2).sum() ** 0.5 for each in (summary, real)]
        total = total + weight * (near[0] - near[1].detach()).abs()
    return total


def test_batches_have_equally_many_of_each_class_and_no_image_twice() -> None:
    labels = torch.tensor([0] * 9 + [1] * 12 + [2] * 7)
    found = balanced_batches(labels, 6, Seed(0).generator())
    assert len(found) == batches_of(3, 7, 6) == 3
    for batch in found:
        assert torch.bincount(labels[batch]).tolist() == [2, 2, 2]
    assert len(torch.cat(found).unique()) == 18
    assert any(
        not torch.equal(one, two)
        for one, two in zip(found, balanced_batches(labels, 6, Seed(1).generator()), strict=True)
    )


@pytest.mark.parametrize(
    ("settings", "facts", "said"),
    [
        ({"slots": 3}, {}, "slots 3 of each of 10 classes: a memory of 20 images has at most 2 for each class"),
        ({}, {"shown": ((10, 13), (10, 1))}, "slots 2: a step shows only 1 images of each class"),
        ({"queue": 8, "interval": 6}, {"shown": ((10, 12),)}, "queue 8, interval 6, slots 2: a step has 12 batches"),
        (  # a batch that fills a slot improves nothing
            {"slots": 124, "queue": 8, "interval": 2},
            {"capacity": 1240, "shown": ((2, 125),)},
            "a step has 25 batches and its slots are full after 25, so no image would be improved",
        ),
        ({"network": "convnet9"}, {}, "convnet9"),
    ],
)
def test_settings_that_improve_nothing_are_refused(settings: dict[str, Any], facts: dict[str, Any], said: str) -> None:
    kept = keeping("ssd")
    config = SSDConfig(**({"queue": 8, "interval": 6, "network": "convnet3_w4"} | settings))
    known = {"capacity": 20, "plan": CONTEXT.networks.plan, "batch_size": 10, "shown": ((10, 13),)} | facts
    with pytest.raises(UsageError, match=said):
        kept.kind.check(config, StreamFacts(**known))


def test_a_queue_that_is_full_once_is_enough() -> None:
    config = SSDConfig(queue=8, interval=6, network="convnet3_w4")
    facts = StreamFacts(capacity=20, plan=CONTEXT.networks.plan, batch_size=10, shown=((10, 13),))
    keeping("ssd").kind.check(config, facts)
    assert (facts.batches, config.first_chance(2)) == (13, 12)
    assert SSDConfig().first_chance(10) == 66  # the queue is full at batch 63, and 66 is the next multiple of 6
    assert config.first_chance(13) == 18  # the slots are full only then
    late = SSDConfig(slots=120, queue=8, interval=2, network="convnet3_w4")  # full after 24 of 25 batches: one chance
    keeping("ssd").kind.check(late, replace(facts, capacity=1200, shown=((2, 125),)))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"slots": 0}, "slots 0"),
        ({"interval": 0}, "interval 0"),
        ({"learning_rate": -1.0}, "learning_rate -1.0"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"relation_weight": float("nan")}, "relation_weight nan"),
        ({"replayed": -1}, "replayed -1"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SSDConfig(**setting)
