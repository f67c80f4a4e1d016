"""IDC's protocol against its equations: the loss, and a network whose last layer grows."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from protocols.base import PROTOCOLS
from protocols.quiet import avalanche_stream
from satm.augment import CutMix, within
from satm.errors import ConfigError
from satm.rng import Seed
from tests.protocols.stage import CLASSES, GROUPS, Recorder, memory, networks, real_images, stream


def literal(outputs: torch.Tensor, targets: torch.Tensor, before: torch.Tensor | None, old: int) -> torch.Tensor:
    """The loss in the form of IDC's code, on outputs in the order of arrival: T = 2, β = 1."""
    loss = nn.CrossEntropyLoss()(outputs, targets)
    if before is None:
        return loss
    wanted = F.softmax(before / 2, 1)
    terms = wanted * (wanted.log() - F.log_softmax(outputs[:, :old] / 2, 1))
    return loss + terms.mean() * 2 * 2 * 1.0 * old  # the mean over all numbers, which is KLDivLoss's default


@pytest.mark.parametrize("old", [[], [3, 0]])
def test_the_loss_and_its_gradient_are_idcs(old: list[int]) -> None:
    avalanche_stream()
    from protocols.distilled import distilled_loss

    draw = Seed(4).generator()
    logits = torch.randn(6, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    before = torch.randn(6, len(old), generator=draw, dtype=torch.float64)
    arrived = [*old, 4, 1]  # class 2 has not arrived
    labels = torch.tensor([arrived[index % len(arrived)] for index in range(6)])
    ours = distilled_loss(
        logits,
        F.one_hot(labels, 5).double(),
        (before / 2).softmax(1),
        seen=sorted(arrived),
        old=old,
        temperature=2.0,
        beta=1.0,
    )
    places = torch.tensor([arrived.index(int(label)) for label in labels])
    theirs = literal(logits[:, arrived], places, before if old else None, len(old))
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for one, two in zip(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits), strict=True):
        torch.testing.assert_close(one, two, atol=1e-10, rtol=0)
        assert (one[:, 2] == 0).all()


def test_soft_labels_are_those_of_the_classes_seen_so_far() -> None:
    from protocols.distilled import distilled_loss

    logits = torch.tensor([[0.2, -0.4, 0.9]], dtype=torch.float64)
    soft = torch.tensor([[0.3, 0.1, 0.6]], dtype=torch.float64)  # class 2 has not arrived
    ours = distilled_loss(
        logits, soft, torch.zeros(1, 0, dtype=torch.float64), seen=[0, 1], old=[], temperature=2.0, beta=1.0
    )
    logs = logits[0, :2].log_softmax(0)
    assert ours.item() == pytest.approx(-(0.75 * logs[0] + 0.25 * logs[1]).item(), abs=1e-12)


def test_the_network_is_one_whose_last_layer_grows() -> None:
    """A literal loop, with the batches that the seed gives: the layer grows, the rest is trained further."""
    recipe = replace(networks().recipe, epochs=3, drop_at=(2,), augment=None)
    nets, given, test = networks(recipe=recipe), memory(), real_images()
    recorder = Recorder()
    ours = stream("idc", networks=nets, on_step=recorder.keep)
    network, arrived = nets.untrained(Seed(5).child("step", 0)), torch.tensor([label for g in GROUPS for label in g])
    before: nn.Module | None = None
    count = 0
    for step, group in enumerate(GROUPS):
        old, count = count, count + len(group)
        fresh = nets.untrained(Seed(5).child("step", step)).classifier
        layer = nn.Linear(network.classifier.in_features, count)
        with torch.no_grad():
            for grown, kept, new in zip(
                layer.parameters(), network.classifier.parameters(), fresh.parameters(), strict=True
            ):
                grown[:old] = kept[:old]
                grown[old:] = new[list(group)]
        network.classifier = layer
        held = torch.cat([torch.isin(given.labels, torch.tensor(g)).nonzero().flatten() for g in GROUPS[: step + 1]])
        images = given.images[held]
        targets = torch.tensor([arrived.tolist().index(label) for label in given.labels[held].tolist()])
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        for epoch in range(3):
            optimizer.param_groups[0]["lr"] = 0.1 if epoch < 2 else 0.01
            draws = Seed(5).child("step", step).child("training").child("epoch", epoch).generator()
            for at in torch.randperm(len(images), generator=draws).split(recipe.batch_size):
                with torch.no_grad():
                    reference = None if before is None else before(images[at])
                loss = literal(network(images[at]), targets[at], reference, old)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        before = copy.deepcopy(network).eval()
        with torch.no_grad():
            predicted = arrived[before(test.images).argmax(1)]
        right = predicted == test.labels
        found = [float(right[torch.isin(test.labels, torch.tensor(g))].double().mean()) for g in GROUPS]
        assert ours.matrix[step] == pytest.approx(found, abs=1e-9)
        assert found[step + 1 :] == [0.0] * (len(GROUPS) - step - 1)
    # The rows of the last layer are those of the literal loop, up to the rounding of float32 in 90 steps.
    last = recorder.state["network/classifier.weight"][arrived]
    torch.testing.assert_close(last, network.classifier.weight.detach(), atol=3e-4, rtol=0)
    assert recorder.state["network/classifier.weight"].shape[0] == CLASSES


def test_temperature_and_beta_change_the_network_from_the_second_step_on() -> None:
    nets = networks(recipe=replace(networks().recipe, epochs=3, drop_at=(), cutmix=CutMix()))
    weights = {}
    for settings in ({}, {"beta": 0.0}, {"temperature": 4.0}):
        states: list[torch.Tensor] = []
        stream(
            "idc",
            networks=nets,
            settings=settings,
            on_step=lambda result, state, kept=states: kept.append(state["network/classifier.weight"]),
        )
        weights[str(settings)] = states
    first, *others = weights.values()
    for other in others:
        assert torch.equal(first[0], other[0])
        assert not torch.equal(first[1], other[1])
    for wrong, said in (({"temperature": 0.0}, "temperature 0.0"), ({"beta": -1.0}, "beta -1.0")):
        with pytest.raises(ConfigError, match=said):
            PROTOCOLS.get("idc").config(**wrong)


def test_a_network_that_diverges_is_a_guess_from_then_on() -> None:
    result = stream("idc", networks=networks(rates=(1e30,) * len(GROUPS)))
    assert all(each.diverged for each in result.judged)
    assert result.judged[-1].seen == pytest.approx(0.1)


def test_a_part_of_a_chain_keeps_its_own_choice() -> None:
    assert within("flip+color+crop_scale_rotate", "color_crop_rotate") == "color+crop_rotate"
    assert within("crop+flip", "crop_color") == "crop"
    assert within("flip+flip_cutout", "color") is None
