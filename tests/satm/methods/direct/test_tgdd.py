"""TGDD: a step against its literal transcription in float64, its draws, and the limit that is DM."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from satm import networks
from satm.augment import apply_per_class, draw_per_class
from satm.engine import FlatNetwork
from satm.errors import ConfigError, ExpertError
from satm.methods import METHODS
from satm.methods.dm import DistributionMatching
from satm.methods.tgdd import TGDDConfig
from satm.parametrisation import PIXELS, Factor
from satm.presets import find_preset
from tests.helpers import task
from tests.satm.methods.direct.test_direct import DM

CONFIG = TGDDConfig(
    **{"outer_steps": 4, "batch_real": 8, "expert_epochs": 2, "interval": 2, "weight": 0.7, "lr_images": 0.3},
    augment="color_crop",
    compile="eager",
)


def begin(data, trained, config=CONFIG, **changes):
    return METHODS.get("tgdd").begin(task(data, trained, **changes), config)


def by_hand(network, images, first, later, real, draws, how):
    """The gradient of the loss of one outer step, one class after another, and the loss."""
    leaf, flat = images.clone().requires_grad_(), FlatNetwork(network)
    seen = apply_per_class(how.decode(leaf).unflatten(0, (3, -1)), draws)
    flat.load(first)
    mean = networks.features(network)  # a copy of the network as it is now
    loss = sum((mean(k).mean(0) - mean(r).mean(0)).square().sum() for k, r in zip(seen, real, strict=True))
    flat.load(later)
    for label, k in enumerate(seen):
        loss = loss + 0.7 * F.cross_entropy(network(k), torch.full((len(k),), label))
    return torch.autograd.grad(loss, leaf)[0], loss


@pytest.mark.parametrize("how", [PIXELS, Factor(2)], ids=lambda how: how.spell())
def test_two_steps_are_their_transcription(data, trained, how):
    condensation = begin(data, trained, parametrisation=how)
    condensation.images, condensation.velocity = condensation.images.double(), condensation.velocity.double()
    condensation.network.double()
    drawn = condensation.real.draw
    condensation.real.draw = lambda generator: drawn(generator).double()
    network = networks.plan_for("convnet3_w4", data).create(condensation.task.seed).double()
    images, velocity = condensation.images, condensation.velocity
    for step in range(2):
        seed = condensation.task.seed.child("outer", step)
        first, later = condensation.chosen(seed.child("network"))
        draws = draw_per_class("color_crop", 3, data.image_shape, seed.child("augment").generator())
        real = apply_per_class(drawn(seed.child("real").generator()).double(), draws)
        gradient, loss = by_hand(network, images, first, later, real, draws, how)
        velocity = 0.5 * velocity + gradient
        images = images - 0.3 * velocity
        assert condensation.advance() == {"loss": pytest.approx(loss.item() / 3, rel=1e-10)}
        torch.testing.assert_close(condensation.images, images, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(condensation.velocity, velocity, rtol=1e-9, atol=1e-10)


def test_the_later_snapshot_is_of_the_same_expert_and_within_the_interval(data, trained):
    condensation, pairs = begin(data, trained), set()
    for number in range(80):
        both = condensation.chosen(condensation.task.seed.child(number))
        places = [
            {(i, t) for i, e in enumerate(trained) for t in range(3) if torch.equal(theta, e.snapshot(t))}
            for theta in both
        ]
        ((expert, first),), ((other, later),) = places
        assert expert == other
        pairs.add((expert, first, later))
    allowed = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2))  # within 2 epochs of s, and never after the last
    assert pairs == {(expert, *pair) for expert in (0, 1) for pair in allowed}


def test_on_initial_networks_without_the_constraint_it_is_dm_to_the_bit(data, trained):
    found = begin(data, trained, replace(CONFIG, expert_epochs=0, weight=0.0, augment=DM.augment))
    other = DistributionMatching(task(data, trained), replace(DM, lr_images=0.3))
    other.parameters = found.parameters
    for _ in range(2):
        assert found.advance() == other.advance()
    assert torch.equal(found.images, other.images)


def test_it_resumes_to_the_bit(data, trained):
    whole, first, second = (begin(data, trained) for _ in range(3))
    measured = [whole.advance() for _ in range(4)]
    assert [first.advance() for _ in range(2)] == measured[:2]
    second.restore(first.state())
    assert [second.advance() for _ in range(2)] == measured[2:]
    assert torch.equal(second.images, whole.images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interval": 0}, "interval 0: expected at least 1 epoch"),
        ({"weight": -1.0}, "weight -1.0: expected a finite number of 0 or more"),
        ({"weight": float("nan")}, "weight nan: expected a finite"),
        ({"calibrations": 1}, "calibrations 1: tgdd adds the cross-entropy to the distance; set weight instead"),
        ({"expert_epochs": -1}, "expert_epochs -1: expected 0 or more"),
    ],
)
def test_settings_that_cannot_work_are_one_line(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)


def test_it_needs_experts(data):
    with pytest.raises(ExpertError, match="there is none; train some"):
        begin(data, ())


def test_its_numbers_are_those_of_its_code():
    preset = find_preset("cifar10", 10, method="tgdd", profile="paper")
    settings, trained = preset.config.settings, preset.config.experts
    assert (settings.outer_steps, settings.batch_real, settings.expert_epochs) == (10_000, 128, 60)
    assert (settings.interval, settings.weight, settings.momentum_images) == (7, 1.0, 0.5)
    assert (settings.augment, settings.init) == ("color_crop_cutout", "real")
    assert settings.lr_images == pytest.approx(0.01 * 10 / 0.25**2)
    assert (trained.count, trained.lr, trained.momentum, trained.weight_decay, trained.batch_size) == (
        *(5, 0.01, 0.9, 5e-4, 64),
    )
    subset = find_preset("imagenette", 10, method="tgdd", profile="paper").config.settings
    assert (subset.expert_epochs, subset.lr_images) == (80, pytest.approx(0.1 * 10 / 0.25**2))
