"""DANCE: a step against its literal transcription in float64, and the limit that is DM."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from satm import networks
from satm.engine import FlatNetwork
from satm.errors import ConfigError, Diverged, ExpertError
from satm.methods import METHODS
from satm.methods.dance import DANCEConfig
from satm.methods.dm import DistributionMatching
from satm.parametrisation import PIXELS, Factor, LowRank
from satm.presets import find_preset
from tests.helpers import task
from tests.satm.methods.direct.test_direct import DM

CONFIG = DANCEConfig(
    outer_steps=4, batch_real=8, expert_epochs=2, calibrations=2, lr_images=0.3, augment=None, compile="eager"
)


def begin(data, trained, config=CONFIG, **changes):
    return METHODS.get("dance").begin(task(data, trained, **changes), config)


def by_hand(network, images, velocity, blend, end, real, how):
    """One outer step: the means under the blend's features, then twice the cross-entropy at the expert's end."""
    flat = FlatNetwork(network)

    def moved(loss):
        nonlocal images, velocity
        (gradient,) = torch.autograd.grad(loss(leaf := images.clone().requires_grad_()), leaf)
        velocity = 0.5 * velocity + gradient
        images = images - 0.3 * velocity

    def distance(at):
        flat.load(blend)
        mean = networks.features(network)  # a copy of the network as it is now
        pairs = zip(how.decode(at).unflatten(0, (3, -1)), real, strict=True)
        return sum((mean(k).mean(0) - mean(r).mean(0)).square().sum() for k, r in pairs)

    def cross_entropy(at):
        flat.load(end)
        classes = how.decode(at).unflatten(0, (3, -1))
        return sum(F.cross_entropy(network(k), torch.full((len(k),), label)) for label, k in enumerate(classes))

    for loss in (distance, cross_entropy, cross_entropy):
        moved(loss)
    return images, velocity


@pytest.mark.parametrize("how", [PIXELS, Factor(2), LowRank(2)], ids=lambda how: how.spell())
def test_two_steps_are_their_transcription(data, trained, how):
    condensation = begin(data, trained, parametrisation=how)
    condensation.images, condensation.velocity = condensation.images.double(), condensation.velocity.double()
    condensation.network.double()
    drawn = condensation.real.draw
    condensation.real.draw = lambda generator: drawn(generator).double()
    network = networks.plan_for("convnet3_w4", data).create(condensation.task.seed).double()
    for step in range(2):
        seed = condensation.task.seed.child("outer", step)
        blend, end = condensation.chosen(seed.child("network"))
        real = drawn(seed.child("real").generator()).double()
        expected = by_hand(network, condensation.images, condensation.velocity, blend, end, real, how)
        measured = condensation.advance()
        torch.testing.assert_close(condensation.images, expected[0], rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(condensation.velocity, expected[1], rtol=1e-9, atol=1e-10)
        assert measured.keys() == {"loss", "calibration"}


def test_a_network_lies_between_the_start_and_the_end_of_one_expert(data, trained):
    condensation, shares, seen = begin(data, trained), [], set()
    for number in range(30):
        blend, end = condensation.chosen(condensation.task.seed.child(number))
        (index,) = [i for i, expert in enumerate(trained) if torch.equal(end, expert.snapshot(2))]
        start = trained[index].snapshot(0)
        share = float((blend - end) @ (start - end) / (start - end).square().sum())
        torch.testing.assert_close(blend, share * start + (1 - share) * end, rtol=1e-4, atol=1e-5)
        shares.append(share)
        seen.add(index)
    assert seen == {0, 1}
    assert 0 <= min(shares) < 0.2
    assert 0.8 < max(shares) <= 1


def test_on_initial_networks_without_calibration_it_is_dm_to_the_bit(data, trained):
    found = begin(data, trained, replace(CONFIG, expert_epochs=0, calibrations=0, augment=DM.augment))
    other = DistributionMatching(task(data, trained), replace(DM, lr_images=0.3))
    other.parameters = found.parameters
    for _ in range(2):
        assert found.advance() == other.advance()
    assert torch.equal(found.images, other.images)


def test_it_needs_experts_and_says_what_diverges(data, trained):
    with pytest.raises(ExpertError, match="there is none; train some"):
        begin(data, ())
    with pytest.raises(ConfigError, match="calibrations -1: expected 0 or more"):
        replace(CONFIG, calibrations=-1)
    condensation = begin(data, trained)
    before = condensation.images
    condensation.calibrate = lambda images, theta, labels: (images, torch.tensor(float("nan")))
    with pytest.raises(Diverged, match="outer step 1: calibration not finite"):
        condensation.advance()
    assert condensation.images is before


def test_its_numbers_are_those_of_its_code():
    preset = find_preset("cifar10", 10, method="dance", profile="paper")
    settings, trained = preset.config.settings, preset.config.experts
    assert (settings.outer_steps, settings.batch_real, settings.expert_epochs) == (10_000, 128, 60)
    assert (settings.calibrations, settings.augment, settings.momentum_images) == (1, "color_crop_cutout", 0.5)
    assert settings.lr_images == pytest.approx(0.01 * 10 / 0.25**2)
    assert (trained.count, trained.lr, trained.momentum, trained.weight_decay, trained.batch_size) == (
        *(5, 0.01, 0.9, 5e-4, 64),
    )


@pytest.mark.parametrize(("dataset", "at_one"), [("cifar10", 0.16), ("digits", 0.16), ("imagenette", 1.6)])
def test_its_learning_rate_follows_its_rule_at_every_ipc(dataset, at_one):
    for ipc in (1, 3, 10, 20, 50):
        preset = find_preset(dataset, ipc, method="dance", profile="paper")
        assert preset.config.settings.lr_images == pytest.approx(at_one * ipc)
        assert not [each for each in preset.departures if "no numbers for IPC" in each]
