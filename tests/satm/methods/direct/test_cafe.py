"""CAFE: its loss and steps against literal transcriptions in float64, its dynamic training, and its limit DM."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from satm import networks
from satm.augment import STRATEGY
from satm.engine import flatten
from satm.errors import ConfigError, Diverged
from satm.matching import alignment_distance, discrimination_loss
from satm.methods import METHODS, Request
from satm.methods.cafe import CAFEConfig, spread
from satm.methods.dm import DistributionMatching
from satm.parametrisation import PIXELS, Factor
from satm.presets import find_preset
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, EXPERTS, central_differences, normal, task
from tests.satm.methods.direct.test_direct import DM

CONFIG = CAFEConfig(
    outer_steps=6, batch_real=8, batch_query=8, window=3, most_epochs=4, lr_images=0.3, lr_network=0.1, compile="eager"
)


def begin(data, config=CONFIG, **changes):
    return METHODS.get("cafe").begin(task(data, (), **changes), config)


def double(condensation):
    """The condensation in double precision."""
    condensation.network.double()
    condensation.images, condensation.velocity = condensation.images.double(), condensation.velocity.double()
    condensation.theta = condensation.theta.double()
    for batches in (condensation.real, condensation.query):
        draw = batches.draw
        batches.draw = lambda generator, draw=draw: draw(generator).double()
    return condensation


def outputs(network, images):
    """The outputs of the four layers, by the order of CAFE's code: its slices of a ConvNet's list of layers."""
    layers = []
    for block in network.features:
        layers += [block.conv, block.norm, nn.ReLU(), nn.AvgPool2d(2)]
    first = nn.Sequential(*layers[:-9])(images)
    second = nn.Sequential(*layers[-9:-5])(first)
    third = nn.Sequential(*layers[-5:-1])(second)
    return [first, second, third, layers[-1](third)]


def literal_loss(network, synthetic, real, weights=(0.1, 0.1, 1.0, 1.0), beta=0.01):
    """CAFE's loss on images [K, n, C, H, W] and [K, b, C, H, W], written out for each class and each real image."""
    total, centres, features = 0.0, [], []
    for k in range(len(synthetic)):
        ours, theirs = outputs(network, synthetic[k]), outputs(network, real[k])
        for one, other, weight in zip(ours, theirs, weights, strict=True):
            total = total + weight * (sum(one) / len(one) - sum(other) / len(other)).square().sum()
        features.append(theirs[-1].flatten(1))
        centres.append(ours[-1].flatten(1).mean(dim=0))
        total = total + (centres[k] - features[k].mean(dim=0)).square().sum()  # the code's second count of this layer
    for k, some in enumerate(features):
        for feature in some:
            logits = torch.stack([feature @ centre for centre in centres])
            total = total - beta * (logits[k] - logits.exp().sum().log())
    return total


# The losses


def test_the_distance_is_weighted_by_layer():
    one, other = ([normal(3, size, name=f"{side}{size}") for size in (4, 7)] for side in "sr")
    expected = sum((one[0][k] - other[0][k]).square().sum() * 0.5 for k in range(3))
    expected = expected + sum((one[1][k] - other[1][k]).square().sum() * 2 for k in range(3))
    torch.testing.assert_close(alignment_distance(one, other, (0.5, 2)), expected, rtol=1e-12, atol=0)


def test_the_centres_of_the_right_classes_make_real_images_certain():
    centres = 50 * torch.eye(3, dtype=torch.float64)
    real = torch.eye(3, dtype=torch.float64).unsqueeze(1).expand(-1, 4, -1)
    assert discrimination_loss(centres, real).item() == pytest.approx(0, abs=1e-12)
    nothing = discrimination_loss(torch.zeros_like(centres), real)
    assert nothing.item() == pytest.approx(12 * torch.tensor(3.0).log().item())
    assert discrimination_loss(centres.roll(1, dims=0), real).item() == pytest.approx(12 * 50)


@pytest.mark.parametrize(("n", "b"), [(1, 5), (4, 3), (90, 100)])  # the last ones class by class
@pytest.mark.parametrize("architecture", [ARCHITECTURE, "convnet4_w4"])
def test_a_step_is_the_transcription_of_the_code(data, n, b, architecture):
    side = 8 if architecture == ARCHITECTURE else 16
    if side != 8:
        data = replace(data, train=replace(data.train, images=F.interpolate(data.train.images, side)))
    condensation = double(begin(data, architecture=architecture))
    synthetic, real = (normal(3, each, 1, side, side, name=str(each)).div(3) for each in (n, b))
    leaf = synthetic.clone().requires_grad_()
    expected = literal_loss(condensation.network, leaf, real)
    found, value = condensation.matched(flatten(condensation.network.parameters()).detach(), synthetic, real)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(found, torch.autograd.grad(expected, leaf)[0], rtol=1e-8, atol=1e-12)


def test_its_derivative_by_finite_differences(data):
    condensation = double(begin(data, replace(CONFIG, discrimination=0.5)))
    theta, real = condensation.theta, normal(3, 2, 1, 8, 8, name="real")
    synthetic = normal(3, 1, 1, 8, 8, name="syn")
    found, _ = condensation.matched(theta, synthetic, real)
    direction = normal(3, 1, 1, 8, 8, name="direction")
    at = torch.zeros(1, dtype=torch.float64)
    expected = central_differences(lambda t: condensation.matched(theta, synthetic + t * direction, real)[1].item(), at)
    assert (found * direction).sum().item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_last_layer_alone_without_discrimination_is_dm(data):
    found = double(begin(data, replace(CONFIG, layer_weights=(0.0, 0.0, 0.0, 1.0), discrimination=0.0)))
    other = DistributionMatching(task(data, ()), DM)
    other.network.double()
    synthetic, real = normal(3, 2, 1, 8, 8, name="syn"), normal(3, 5, 1, 8, 8, name="real")
    network = found.network
    theta, embedding = (flatten(each.parameters()).detach() for each in (network, networks.features(network)))
    pairs = zip(found.matched(theta, synthetic, real), other.matched(embedding, synthetic, real), strict=True)
    for one, same in pairs:
        torch.testing.assert_close(one, same, rtol=1e-10, atol=1e-13)


# The dynamic training


def test_the_spread_is_of_the_last_accuracies():
    assert spread((0.9, 0.1, 0.4, 0.3), 3) == pytest.approx(0.3)
    assert not spread((0.1, 0.9), 3) > 0
    assert not spread((0.1, 0.9), 3) < 1


class Watched:
    """The two loops of CAFE's code around a network whose accuracies are given."""

    def __init__(self, accuracies, window, outer, inner):
        self.accuracies, self.window, self.outer, self.inner = iter(accuracies), window, outer, inner

    def updates(self, count, most):
        """The number of the network, its epochs and its accuracy at each of `count` updates of the images."""
        network, watcher, found = 0, [], []
        while len(found) < count:
            accuracy = next(self.accuracies)
            watcher.append(accuracy)
            if len(watcher) == self.window:
                if max(watcher) - min(watcher) < self.outer:
                    watcher = []
                    found.append((network, 0, accuracy))
                    network += 1
                    continue
                watcher.pop(0)
            inner, epochs = [], 0
            while epochs < most:
                epochs += 1
                inner.append(next(self.accuracies))
                if len(inner) == self.window:
                    if max(inner) - min(inner) > self.inner:
                        break
                    inner.pop(0)
            found.append((network, epochs, accuracy))
        return found


def test_networks_are_trained_and_replaced_as_in_the_loops_of_the_code(data):
    config = replace(CONFIG, outer_steps=40, replace_below=0.3, update_above=0.6, most_epochs=7, lr_images=0.01)
    numbers = torch.rand(1000, generator=Seed(5).generator()).tolist()
    condensation, given = begin(data, config), iter(numbers)
    condensation.accuracy = lambda theta, seed: next(given)
    measured = [condensation.advance() for _ in range(40)]
    found = [(each["network"], each["epochs"], each["query_accuracy"]) for each in measured]
    assert found == Watched(numbers, 3, 0.3, 0.6).updates(40, most=7)
    assert len({network for network, _, _ in found}) > 2
    assert {epochs for _, epochs, _ in found} > {0, 3, 7}
    assert torch.equal(condensation.fresh(1), condensation.fresh(1))
    assert not torch.equal(condensation.fresh(1), condensation.fresh(2))


@pytest.mark.parametrize("how", [PIXELS, Factor(2)], ids=lambda how: how.spell())
def test_three_steps_are_their_transcription(data, how):
    """From one step to the next: the loss's step with momentum and halved rate, then epochs of SGD on all images."""
    config = replace(CONFIG, outer_steps=4, halve_at=(0.25, 0.5), replace_below=0.0, update_above=0.0, window=2)
    condensation = double(begin(data, config, parametrisation=how))
    network = networks.plan_for(ARCHITECTURE, data).create(Seed(0).child("network", 0)).double()
    images, velocity = condensation.images, condensation.velocity
    labels = torch.arange(3).repeat_interleave(condensation.task.seen_ipc)
    for step, rate in enumerate((0.3, 0.15, 0.075)):
        seed = condensation.task.seed.child("outer", step)
        real = condensation.real.draw(seed.child("real").generator())
        loss = literal_loss(network, how.decode(leaf := images.clone().requires_grad_()).unflatten(0, (3, -1)), real)
        velocity = 0.5 * velocity + torch.autograd.grad(loss, leaf)[0]
        images = images - rate * velocity
        measured = condensation.advance()
        assert measured["loss"] == pytest.approx(loss.item() / 3, rel=1e-9)
        torch.testing.assert_close(condensation.images, images, rtol=1e-9, atol=1e-10)
        query = condensation.query.draw(seed.child("query").generator())
        right = sum((network(some).argmax(dim=1) == k).sum().item() for k, some in enumerate(query))
        assert measured["query_accuracy"] == right / 24
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(measured["epochs"]):
            optimizer.zero_grad()
            F.cross_entropy(network(how.decode(images)), labels).backward()
            optimizer.step()
        assert 2 <= measured["epochs"] <= 4
        torch.testing.assert_close(condensation.theta, flatten(network.parameters()).detach(), rtol=1e-7, atol=1e-9)


# As a condensation and as a method


@pytest.mark.parametrize("stop", [1, 3])
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, stop):
    config = replace(CONFIG, augment=STRATEGY, replace_below=0.2)
    before = torch.get_rng_state()
    whole, first, second = (begin(data, config) for _ in range(3))
    expected = [whole.advance() for _ in range(6)]
    measured = [first.advance() for _ in range(stop)]
    second.restore({name: value.clone() for name, value in first.state().items()})
    measured += [second.advance() for _ in range(6 - stop)]
    assert measured == expected
    assert torch.equal(second.result().images, whole.result().images)
    assert torch.equal(torch.get_rng_state(), before)
    assert expected[-1]["network"] > 0


def test_it_lowers_its_loss(data):
    config = replace(CONFIG, outer_steps=30, lr_images=0.1, most_epochs=1, replace_below=0.0, lr_network=1e-6)
    condensation = begin(data, config)
    losses = [condensation.advance()["loss"] for _ in range(30)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize(
    ("change", "match"), [({"lr_images": 1e38}, "lower lr_images"), ({"lr_network": 1e30}, "lr_network")]
)
def test_what_diverges_changes_nothing(data, change, match):
    condensation, kept = begin(data, replace(CONFIG, **change)), []

    def go_on():
        for _ in range(6):
            kept.append(condensation.state())
            condensation.advance()

    with pytest.raises(Diverged, match=match):
        go_on()
    assert all(torch.equal(value, kept[-1][name]) for name, value in condensation.state().items())


@pytest.mark.parametrize(
    ("architecture", "match"),
    [
        ("alexnet", "alexnet is no ConvNet, whose layers cafe aligns; condense on convnet3"),
        ("timm/resnet10t", "timm/resnet10t keeps running statistics"),
    ],
)
def test_networks_that_it_cannot_take_are_refused_by_name(data, architecture, match):
    request = Request(method="cafe", settings=None, architecture=architecture, experts=EXPERTS, data=data, ipc=1)
    with pytest.raises(ConfigError, match=match):
        METHODS.get("cafe").check(request)
    METHODS.get("cafe").check(replace(request, architecture=ARCHITECTURE))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"window": 0}, "window 0: expected at least 1"),
        ({"batch_query": 0}, "batch_query 0"),
        ({"most_epochs": 0}, "most_epochs 0"),
        ({"discrimination": -0.1}, "discrimination -0.1: expected a finite number of 0 or more"),
        ({"update_above": float("nan")}, "update_above nan"),
        ({"layer_weights": (1.0, 1.0)}, r"layer_weights \[1.0, 1.0\]: expected four"),
        ({"halve_at": (0.5, 1.0)}, r"halve_at \[0.5, 1.0\]: expected shares between 0 and 1"),
        ({"lr_network": 0.0}, "learning rate 0.0"),
    ],
)
def test_wrong_numbers_are_refused(change, match):
    with pytest.raises(ConfigError, match=match):
        replace(CONFIG, **change)


def test_a_smaller_profile_says_what_it_takes():
    preset = find_preset("cifar10", 10, method="cafe", profile="cpu")
    assert "cpu: batch_query 32 instead of 128" in preset.departures
    assert preset.config.settings.most_epochs == 30
    assert any("20,000 updates of the images for 2,000 networks" in each for each in preset.departures)


@pytest.mark.slow
def test_compiled_steps_are_the_plain_ones(data):
    said = []
    plain, fused = begin(data), begin(data, replace(CONFIG, compile="compiled"), notify=said.append)
    for _ in range(2):
        one, other = plain.advance(), fused.advance()
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        torch.testing.assert_close(plain.images, fused.images, rtol=1e-3, atol=1e-4)
        fused.theta, fused.seen = plain.theta, plain.seen
    assert not said
