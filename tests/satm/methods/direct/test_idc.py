"""IDC: its distances and steps against literal transcriptions in float64, the limit that is DC, and resuming."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from satm import networks
from satm.augment import CutMix, apply, draw_per_class, named
from satm.data.split import Split
from satm.engine import flatten
from satm.errors import ConfigError, Diverged, ShapeError
from satm.matching import absolute_distance, gradient_distance, squared_distance
from satm.methods import METHODS, Request
from satm.methods.dc import DCConfig
from satm.methods.direct.condensation import ClassBatches
from satm.methods.idc import IDCConfig
from satm.parametrisation import PIXELS, Factor
from satm.presets import PROFILES, find_preset, spell_printed
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, EXPERTS, central_differences, image_data, in_float64, normal, task

IDC = IDCConfig(
    networks=2, updates=3, batch_real=8, batch_syn=6, images_between=20, lr_images=0.5, lr_network=0.05, compile="eager"
)
SHAPES = [(2, 3, 2, 2), (2,), (3, 4), (3,), (2, 2, 3)]


@pytest.fixture(scope="module")
def data():
    return image_data()


def begin(data, config=IDC, **changes):
    return METHODS.get("idc").begin(task(data, (), **{"parametrisation": Factor(2), **changes}), config)


def literal(synthetic, real, power):
    """Σ |a − b|^power, entry by entry, over the weights of convolutions."""
    total = 0.0
    for one, other in zip(synthetic, real, strict=True):
        if one.ndim not in (1, 2):
            total = total + sum(abs(a - b) ** power for a, b in zip(one.reshape(-1), other.reshape(-1), strict=True))
    return total


@pytest.mark.parametrize(("distance", "power"), [(squared_distance, 2), (absolute_distance, 1)])
def test_a_distance_is_the_sum_over_the_entries_of_convolutions(distance, power):
    one, other = ([normal(*shape, name=f"{side} {shape}") for shape in SHAPES] for side in ("s", "r"))
    torch.testing.assert_close(distance(one, other), literal(one, other, power), rtol=1e-12, atol=0)
    elsewhere = [each + 1 if each.ndim < 3 else each for each in one]
    assert torch.equal(distance(elsewhere, other), distance(one, other))  # vectors and linear layers do not count
    (found,) = torch.autograd.grad(distance([leaf := one[0].clone().requires_grad_()], other[:1]), leaf)
    expected = central_differences(lambda x: distance([x], other[:1]).item(), one[0])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    with pytest.raises(ShapeError, match="one network"):
        distance([torch.zeros(2, 3, 1)], [torch.zeros(3, 2, 1)])


class Literal:
    """IDC's loop in plain torch, in float64, with the draws of a condensation at the seed 0."""

    def __init__(self, data, config, images):
        self.data, self.config = data, config
        self.images, self.moved = images.clone(), torch.zeros_like(images)
        self.batches, self.root = ClassBatches(data, config.batch_real), Seed(0)

    def step(self, number):
        """One outer step. Returns the sum of the distances."""
        config, seed = self.config, self.root.child("outer", number)
        if number % config.updates == 0:
            own = self.root.child("network", number // config.updates)
            self.network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=own).double()
            self.buffers = [0.0 for _ in self.network.parameters()]
        leaf = self.images.clone().requires_grad_()
        total = self.distance(seed, Factor(2).decode(leaf).unflatten(0, (3, -1)))
        self.moved = 0.5 * self.moved + torch.autograd.grad(total, leaf)[0]
        self.images = self.images - config.lr_images * self.moved
        if (number + 1) % config.updates:
            self.train(seed.child("between"))
        return total.item()

    def distance(self, seed, seen):
        config, parameters = self.config, list(self.network.parameters())
        real = self.batches.draw(seed.child("real").generator())
        generator = seed.child("synthetic").generator()
        chosen = [torch.randperm(seen.shape[1], generator=generator)[: config.batch_syn] for _ in range(3)]
        generator = seed.child("augment").generator()
        draws = [draw_per_class(name, 3, (1, 8, 8), generator) for name in config.augment.split("+")]
        total = 0.0
        for label in range(3):
            x, y = real[label], seen[label][chosen[label]]
            for each in draws:
                x, y = apply(x, each[label]), apply(y, each[label])
            pair = [
                torch.autograd.grad(
                    F.cross_entropy(self.network(side), torch.full((len(side),), label)), parameters, create_graph=True
                )
                for side in (y, x)
            ]
            power = {"squared": 2, "absolute": 1}[config.distance]
            total = total + literal(pair[0], [each.detach() for each in pair[1]], power)
        return total

    def train(self, seed):
        """One pass over 24 real images: 20, rounded up to whole batches of 8."""
        order = torch.randperm(36, generator=seed.child("images").generator())[:24]
        images, labels = self.data.train.batch(order)
        generator = seed.child("epoch", 0).generator()
        for index in torch.randperm(24, generator=generator).split(8):
            x = named(self.config.augment_between)(images[index], generator)
            x, targets = CutMix(probability=self.config.cutmix)(x, labels[index], generator, classes=3)
            loss = -(targets * self.network(x).log_softmax(dim=1)).sum(dim=1).mean()
            gradients = torch.autograd.grad(loss, list(self.network.parameters()))
            with torch.no_grad():
                for number, (parameter, g) in enumerate(zip(self.network.parameters(), gradients, strict=True)):
                    self.buffers[number] = 0.9 * self.buffers[number] + g + 5e-4 * parameter
                    parameter -= self.config.lr_network * self.buffers[number]


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_two_networks_of_three_updates_written_out(data, distance, monkeypatch):
    plain = Split.batch

    def double(split, index):
        images, labels = plain(split, index)
        return images.double(), labels

    monkeypatch.setattr(Split, "batch", double)
    config = replace(IDC, distance=distance)
    condensation = begin(data, config)
    in_float64(condensation)
    drawn = condensation.drawn
    condensation.drawn = lambda seed: drawn(seed).double()
    by_hand = Literal(data, config, condensation.images)
    for number in range(6):
        expected = by_hand.step(number)
        assert condensation.advance()["loss"] == pytest.approx(expected / 3, rel=1e-9)
        torch.testing.assert_close(condensation.images, by_hand.images, rtol=1e-9, atol=1e-10)
        if number % 3 < 2:
            theta = flatten(by_hand.network.parameters()).detach()
            torch.testing.assert_close(condensation.theta, theta, rtol=1e-9, atol=1e-10)


def test_with_dcs_distance_on_pixels_and_one_update_a_network_it_is_dc_to_the_bit(data):
    shared = {"networks": 3, "updates": 1, "batch_real": 8, "lr_images": 0.1, "compile": "eager"}
    idc = begin(data, IDCConfig(**shared, augment=None), parametrisation=PIXELS)
    dc = METHODS.get("dc").begin(task(data, ()), DCConfig(**shared, inner_epochs=1, init="real"))
    assert idc.advance()["loss"] != dc.advance()["loss"]
    idc = begin(data, IDCConfig(**shared, augment=None), parametrisation=PIXELS)
    dc = METHODS.get("dc").begin(task(data, ()), DCConfig(**shared, inner_epochs=1, init="real"))
    idc.class_gradients.distance = gradient_distance
    assert [idc.advance() for _ in range(3)] == [dc.advance() for _ in range(3)]
    assert torch.equal(idc.images, dc.images)


def test_a_network_without_images_between_updates_stays_as_it_was_drawn(data):
    still, trained = begin(data, replace(IDC, images_between=0)), begin(data)
    for condensation in (still, trained):
        condensation.advance()
    fresh = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(0).child("network", 0))
    assert torch.equal(still.theta, flatten(fresh.parameters()))
    assert not torch.equal(trained.theta, still.theta)


@pytest.mark.parametrize("stop", [0, 2, 4])
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, stop):
    before = torch.get_rng_state()
    whole, first, second = (begin(data) for _ in range(3))
    expected = [whole.advance() for _ in range(6)]
    measured = [first.advance() for _ in range(stop)]
    second.restore({name: value.clone() for name, value in first.state().items()})
    measured += [second.advance() for _ in range(6 - stop)]
    assert measured == expected
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    assert torch.equal(torch.get_rng_state(), before)
    assert whole.result().images.shape == (6, 1, 8, 8)


def test_what_diverges_changes_nothing(data):
    condensation = begin(data, replace(IDC, lr_network=1e38, updates=6))
    kept = []

    def go_on():
        for _ in range(6):
            kept.append(condensation.state())
            condensation.advance()

    with pytest.raises(Diverged, match=r"outer step \d: .*lr_network.*lower lr_images"):
        go_on()
    assert all(torch.equal(value, kept[-1][name]) for name, value in condensation.state().items())


@pytest.mark.parametrize(
    ("architecture", "network", "match"),
    [
        ("timm/resnet10t", None, r"timm/resnet10t keeps running statistics.*convnet3"),
        (ARCHITECTURE, nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), r"has no convolution.*as convnet3"),
    ],
)
def test_networks_that_cannot_work_are_refused_by_name(data, architecture, network, match, monkeypatch):
    if network is not None:
        monkeypatch.setattr(networks.NetworkPlan, "create", lambda plan, seed: network)
    request = Request(method="idc", settings=IDC, architecture=architecture, experts=EXPERTS, data=data, ipc=1)
    with pytest.raises(ConfigError, match=match):
        METHODS.get("idc").check(request)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"batch_syn": 0}, "batch_syn 0: expected at least 1"),
        ({"images_between": -1}, "images_between -1: expected 0 or more"),
        ({"cutmix": 1.5}, "CutMix probability 1.5"),
        ({"weight_decay": -1.0}, "weight decay -1.0"),
        ({"momentum_network": 1.0}, "momentum 1.0"),
    ],
)
def test_wrong_numbers_are_refused(change, match):
    with pytest.raises(ConfigError, match=match):
        replace(IDC, **change)


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_its_scale_bounds_the_images_that_networks_see(profile, ipc):
    preset = find_preset("cifar10", ipc, method="idc", profile=profile)
    settings = preset.config.settings
    assert 1 <= settings.steps * settings.images_a_step(10, preset.config.seen_ipc) <= PROFILES[profile].max_images
    assert any(each.startswith(f"{profile}: images_between") for each in preset.departures)


def test_its_presets_store_grids_and_say_so():
    preset = find_preset("cifar10", 10, method="idc", profile="paper")
    assert (preset.name, preset.config.seen_ipc) == ("idc+factor2/cifar10/ipc10", 40)
    assert "parametrisation factor:2" in spell_printed("idc")[0]
    # The learning rate grows with the number of pixels (tune_lr_img in argument.py), and CIFAR-10's numbers are lent.
    small = find_preset("digits", 10, method="idc", profile="paper", image_size=16)
    assert small.config.settings.lr_images == pytest.approx(preset.config.settings.lr_images / 4)
    assert "no numbers for this data set: those of CIFAR-10" in small.departures
