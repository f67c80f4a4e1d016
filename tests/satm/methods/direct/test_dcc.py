"""DCC and DSAC: their steps against literal transcriptions in float64, their warm-up, and the limits DC and DSA."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from satm import networks
from satm.augment import apply, draw_per_class
from satm.engine import flatten
from satm.errors import ConfigError, UnknownName
from satm.methods import METHODS, Request
from satm.methods.dcc import DCCConfig
from satm.methods.direct.condensation import ClassBatches
from satm.methods.direct.gradient_matching import ClassGradients
from satm.methods.dsac import DSACConfig
from satm.parametrisation import Factor
from satm.presets import find_preset
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, EXPERTS, Tiny, central_differences, normal, task
from tests.satm.methods.direct.test_direct import BOTH, DSA, literal_distance
from tests.satm.methods.direct.test_direct import DC as NOISE_DC

DC = replace(NOISE_DC, init="real")
DCC = DCCConfig(
    networks=3, updates=3, inner_epochs=2, batch_real=8, warmup_networks=2, warmup_updates=2, compile="eager"
)
DSAC = DSACConfig(
    networks=3, updates=3, inner_epochs=2, batch_real=8, warmup_networks=2, warmup_updates=2, compile="eager"
)


def begin(data, config, **changes):
    name = "dsac" if isinstance(config, DSACConfig) else "dcc"
    return METHODS.get(name).begin(task(data, (), **changes), config)


def of_method(data, name, config):
    return METHODS.get(name).begin(task(data, ()), config)


def mean_gradient(network, images, labels, **create):
    """∇θ of the mean cross-entropy over the images of all classes, computed in one pass as DCC's code does."""
    loss = F.cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, list(network.parameters()), **create)


# One step


@pytest.mark.parametrize(("n", "b"), [(1, 5), (5, 3), (9, 20)])
def test_the_collective_loss_compares_the_gradients_on_all_images(data, n, b):
    network = networks.plan_for(ARCHITECTURE, data).create(Seed(0)).double()
    synthetic, real = normal(3, n, 1, 8, 8, name="syn"), normal(3, b, 1, 8, 8, name="real")
    leaf = synthetic.clone().requires_grad_()
    wanted = mean_gradient(network, real.flatten(0, 1), torch.arange(3).repeat_interleave(b))
    found = mean_gradient(network, leaf.flatten(0, 1), torch.arange(3).repeat_interleave(n), create_graph=True)
    total = literal_distance(found, wanted)
    (expected,) = torch.autograd.grad(total, leaf)
    theta = flatten(network.parameters()).detach()
    gradient, value = ClassGradients(network)(theta, synthetic, real, collective=True)
    torch.testing.assert_close(value, total.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)


def test_its_derivative_by_finite_differences():
    network = Tiny()
    case = ClassGradients(network)
    theta = flatten(network.parameters()).detach()
    synthetic, real = normal(3, 2, 1, 2, 3, name="syn"), normal(3, 4, 1, 2, 3, name="real")
    found, _ = case(theta, synthetic, real, collective=True)
    expected = central_differences(lambda x: case(theta, x, real, collective=True)[1].item(), synthetic)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_of_one_class_both_losses_are_one():
    network = Tiny()
    case = ClassGradients(network)
    theta = flatten(network.parameters()).detach()
    synthetic, real = normal(1, 2, 1, 2, 3, name="syn"), normal(1, 4, 1, 2, 3, name="real")
    alone, together = case(theta, synthetic, real), case(theta, synthetic, real, collective=True)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


# The schedule


def test_the_first_updates_with_the_first_networks_are_the_warm_up():
    """DCC's code: collective if `outer_warmup <= ol or inner_warmup <= il`."""
    config = replace(DCC, networks=4, updates=5, warmup_networks=2, warmup_updates=3)
    expected = [ol >= 2 or il >= 3 for ol in range(4) for il in range(5)]
    assert [config.collective(step) for step in range(20)] == expected
    assert not any(replace(config, warmup_networks=4, warmup_updates=5).collective(step) for step in range(20))
    assert all(replace(config, warmup_networks=0).collective(step) for step in range(20))
    assert all(replace(config, warmup_updates=0).collective(step) for step in range(20))


@pytest.mark.parametrize("augment", [None, BOTH])
def test_a_pass_of_outer_steps_written_out(data, augment):
    """Algorithm 1 with the warm-up in plain torch, with the condensation's own draws."""
    config = replace(DSAC, augment=augment, networks=2, updates=2, warmup_networks=1, warmup_updates=1, lr_images=0.3)
    condensation = begin(data, config)
    images, velocity = condensation.images.clone(), torch.zeros_like(condensation.images)
    batches, labels = ClassBatches(data, 8), torch.tensor([0, 0, 1, 1, 2, 2])
    for step in range(4):
        seed = Seed(0).child("outer", step)
        network = networks.plan_for(ARCHITECTURE, data).create(Seed(0).child("network", step // 2))
        if step % 2:
            network.load_state_dict(condensation.network.state_dict())  # as trained between the updates
        real, leaf = batches.draw(seed.child("real").generator()), images.clone().requires_grad_()
        seen = leaf.unflatten(0, (3, 2))
        if augment is not None:
            draws = draw_per_class(augment, 3, (1, 8, 8), seed.child("augment").generator())
            real, seen = (
                torch.stack([apply(x, draw) for x, draw in zip(side, draws, strict=True)]) for side in (real, seen)
            )
        if step == 0:  # the only update of the warm-up: one comparison for each class
            sides = [(real[k], seen[k], torch.tensor([k])) for k in range(3)]
        else:
            sides = [(real.flatten(0, 1), seen.flatten(0, 1), torch.arange(3))]
        total = 0.0
        for x, y, classes in sides:
            wanted = mean_gradient(network, x, classes.repeat_interleave(8))
            found = mean_gradient(network, y, classes.repeat_interleave(2), create_graph=True)
            total = total + literal_distance(found, wanted) / len(sides)
        velocity = 0.5 * velocity + torch.autograd.grad(total * len(sides), leaf)[0]
        images = images - 0.3 * velocity
        measured = condensation.advance()
        assert measured["loss"] == pytest.approx(total.item(), rel=1e-4)
        torch.testing.assert_close(condensation.images, images, rtol=1e-3, atol=1e-4)
        images = condensation.images  # begin from the same images, so that float32 differences do not add up
    assert torch.equal(condensation.labels, labels)


def test_a_warm_up_without_end_is_dc_and_dsa_to_the_bit(data):
    for name, config, other in (("dc", DC, DCC), ("dsa", replace(DSA, init="real"), DSAC)):
        one = of_method(data, name, replace(config, updates=3))
        two = begin(data, replace(other, warmup_networks=3, warmup_updates=3))
        assert [one.advance() for _ in range(9)] == [two.advance() for _ in range(9)]
        assert torch.equal(one.images, two.images)
        assert not torch.equal(run(data, other).images, one.images)


def run(data, config):
    condensation = begin(data, config)
    for _ in range(9):
        condensation.advance()
    return condensation


def test_dsac_without_augmentation_is_dcc_to_the_bit(data):
    assert torch.equal(run(data, replace(DSAC, augment=None)).images, run(data, DCC).images)


@pytest.mark.parametrize("config", [DCC, DSAC], ids=["dcc", "dsac"])
@pytest.mark.parametrize("stop", [1, 4])
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, config, stop):
    how = Factor(2)
    whole, first, second = (begin(data, config, parametrisation=how) for _ in range(3))
    expected = [whole.advance() for _ in range(9)]
    measured = [first.advance() for _ in range(stop)]
    second.restore({name: value.clone() for name, value in first.state().items()})
    measured += [second.advance() for _ in range(9 - stop)]
    assert measured == expected
    assert torch.equal(second.result().images, whole.result().images)


# As methods


def test_fewer_networks_keep_the_share_of_the_warm_up():
    settings = find_preset("cifar10", 10, method="dcc", profile="paper").config.settings
    assert (settings.networks, settings.updates, settings.warmup_networks) == (1000, 10, 250)
    fewer = settings.at_most(400)
    assert (fewer.networks, fewer.updates, fewer.warmup_networks, fewer.warmup_updates) == (40, 10, 10, 10)
    preset = find_preset("cifar10", 10, method="dsac", profile="cpu")
    found = preset.config.settings
    assert found.warmup_networks == 250 * found.networks // 1000 < 250
    assert f"cpu: warmup_networks {found.warmup_networks} instead of 250" in preset.departures


@pytest.mark.parametrize("method", ["dcc", "dsac"])
def test_networks_with_running_statistics_are_refused_by_name(data, method):
    request = Request(method=method, settings=None, architecture="timm/resnet10t", experts=EXPERTS, data=data, ipc=1)
    with pytest.raises(ConfigError, match=r"timm/resnet10t keeps running statistics.*convnet3"):
        METHODS.get(method).check(request)


@pytest.mark.parametrize("name", ["warmup_networks", "warmup_updates"])
def test_wrong_numbers_are_refused(name):
    with pytest.raises(ConfigError, match=rf"{name} -1: expected 0 \(no warm-up\) or more"):
        replace(DCC, **{name: -1})
    with pytest.raises(UnknownName, match="unknown augmentation 'blur'"):
        replace(DSAC, augment="blur")
