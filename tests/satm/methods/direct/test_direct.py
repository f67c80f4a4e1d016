"""DC, DSA and DM: their steps against literal transcriptions in float64, and their condensations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from satm import networks
from satm.augment import Draw, apply, apply_per_class, draw_per_class
from satm.engine import flatten
from satm.errors import ConfigError, Diverged, ShapeError
from satm.matching import distribution_distance, gradient_distance
from satm.methods import METHODS, Request
from satm.methods.dc import DCConfig
from satm.methods.direct.condensation import ClassBatches, classes_at_once
from satm.methods.direct.gradient_matching import ClassGradients, GradientMatching
from satm.methods.dm import DistributionMatching, DMConfig
from satm.methods.dsa import DSAConfig
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, EXPERTS, Tiny, central_differences, image_data, normal, task

DC = DCConfig(networks=3, updates=2, inner_epochs=2, batch_real=8, compile="eager")
DSA = DSAConfig(networks=3, updates=2, inner_epochs=2, batch_real=8, init="noise", compile="eager")
DM = DMConfig(outer_steps=6, batch_real=8, compile="eager")
BOTH = "color_crop_cutout_flip_scale_rotate"


@pytest.fixture(scope="module")
def data():
    return image_data()


def begin(data, config, **changes):
    name = {DCConfig: "dc", DSAConfig: "dsa", DMConfig: "dm"}[type(config)]
    return METHODS.get(name).begin(task(data, (), **changes), config)


# The distances


def literal_distance(synthetic, real):
    """The gradient distance, computed one channel at a time."""
    total = 0.0
    for one, other in zip(synthetic, real, strict=True):
        if one.ndim == 1:
            continue
        for a, b in zip(one, other, strict=True):
            dot = sum(x * y for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True))
            norms = sum(x * x for x in a.reshape(-1)).sqrt() * sum(y * y for y in b.reshape(-1)).sqrt()
            total = total + 1 - dot / (norms + 1e-6)
    return total


SHAPES = [(2, 3, 2, 2), (2,), (3, 4), (3,)]


def test_gradient_distance_is_the_sum_over_output_channels():
    one, other = ([normal(*shape, name=f"{side} {shape}") for shape in SHAPES] for side in ("s", "r"))
    torch.testing.assert_close(gradient_distance(one, other), literal_distance(one, other), rtol=1e-12, atol=0)
    assert gradient_distance(one, [3 * each for each in one]).item() == pytest.approx(0, abs=1e-5)
    assert gradient_distance(one, [-each for each in one]).item() == pytest.approx(2 * (2 + 3), abs=1e-5)
    biased = [each + 1 if each.ndim == 1 else each for each in one]
    assert torch.equal(gradient_distance(biased, other), gradient_distance(one, other))  # vectors do not count


def test_gradient_distances_derivative():
    other = [normal(2, 3, name="r")]
    at = normal(2, 3, name="s")
    (found,) = torch.autograd.grad(gradient_distance([leaf := at.clone().requires_grad_()], other), leaf)
    expected = central_differences(lambda x: gradient_distance([x], other).item(), at)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_gradients_of_two_networks_are_refused():
    with pytest.raises(ShapeError, match="one network"):
        gradient_distance([torch.zeros(2, 3)], [torch.zeros(3, 2)])


def test_distribution_distance_is_the_squared_distance_of_means():
    synthetic, real = normal(3, 2, 5, name="s"), normal(3, 7, 5, name="r")
    expected = sum((sum(real[k]) / 7 - sum(synthetic[k]) / 2).square().sum() for k in range(3))
    torch.testing.assert_close(distribution_distance(synthetic, real), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("n", "k"), [(1, 6), (2, 6), (3, 3), (4, 3), (8, 1), (100, 1)])
def test_classes_at_once_divide_the_classes(n, k):
    assert classes_at_once(6, n, 12) == k


# Siamese augmentation


def test_a_class_of_real_and_synthetic_images_has_one_draw():
    draws = draw_per_class(BOTH, 9, (2, 6, 6), Seed(0).generator())
    assert len({each.op for each in draws}) > 2
    for n in (1, 4):
        images = normal(9, n, 2, 6, 6, name=f"{n} images")
        found = apply_per_class(images, draws)
        for label, each in enumerate(draws):
            assert torch.equal(found[label], apply(images[label], each))
    with pytest.raises(ShapeError, match="9 draws"):
        apply_per_class(images[:3], draws)


# Gradient matching


def float64_case(data, config, n, b):
    """A condensation in double precision, with random images and parameters."""
    condensation = begin(data, config)
    condensation.network.double()
    theta = flatten(condensation.network.parameters()).detach()
    return condensation, theta, normal(3, n, 1, 8, 8, name="syn"), normal(3, b, 1, 8, 8, name="real")


@pytest.mark.parametrize(("n", "b"), [(1, 5), (5, 3), (9, 20)])
def test_gradient_matching_is_dcs_loop_over_classes(data, n, b):
    condensation, theta, synthetic, real = float64_case(data, DC, n, b)
    network = condensation.network
    leaf = synthetic.clone().requires_grad_()
    total = 0.0
    for label in range(3):
        real_loss = F.cross_entropy(network(real[label]), torch.full((b,), label))
        real_gradient = torch.autograd.grad(real_loss, list(network.parameters()))
        loss = F.cross_entropy(network(leaf[label]), torch.full((n,), label))
        gradient = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        total = total + literal_distance(gradient, real_gradient)
    (expected,) = torch.autograd.grad(total, leaf)
    found, value = condensation.class_gradients(theta, synthetic, real)
    torch.testing.assert_close(value, total.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)


def test_its_derivative_by_finite_differences():
    network = Tiny()
    case = ClassGradients(network)
    theta = flatten(network.parameters()).detach()
    synthetic, real = normal(3, 1, 1, 2, 3, name="syn"), normal(3, 4, 1, 2, 3, name="real")
    found, _ = case(theta, synthetic, real)
    expected = central_differences(lambda x: case(theta, x, real)[1].item(), synthetic)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("augment", [None, BOTH])
def test_a_pass_of_outer_steps_written_out(data, augment):
    """DSA's Algorithm 1 in plain torch, for two networks with two updates each, with the condensation's own draws."""
    config = replace(DSA, networks=2, lr_images=0.3, inner_epochs=3, augment=augment, init="real")
    condensation = begin(data, config)
    images, velocity = condensation.images.clone(), torch.zeros_like(condensation.images)
    batches, root = ClassBatches(data, 8), Seed(0)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    for step in range(4):
        seed = root.child("outer", step)
        if step % 2 == 0:
            network = networks.create(
                ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=root.child("network", step // 2)
            )
        parameters = list(network.parameters())
        real = batches.draw(seed.child("real").generator())
        draws: list[Draw | None] = [None] * 3
        if augment is not None:
            draws = list(draw_per_class(augment, 3, (1, 8, 8), seed.child("augment").generator()))
        leaf = images.clone().requires_grad_()
        total = 0.0
        for label, draw in enumerate(draws):
            sides = real[label], leaf[2 * label : 2 * label + 2]
            x, y = sides if draw is None else (apply(side, draw) for side in sides)
            wanted = torch.autograd.grad(F.cross_entropy(network(x), torch.full((8,), label)), parameters)
            loss = F.cross_entropy(network(y), torch.full((2,), label))
            total = total + gradient_distance(torch.autograd.grad(loss, parameters, create_graph=True), wanted)
        velocity = 0.5 * velocity + torch.autograd.grad(total, leaf)[0]
        images = images - 0.3 * velocity
        measured = condensation.advance()
        assert measured["loss"] == pytest.approx(total.item() / 3, rel=1e-4)
        torch.testing.assert_close(condensation.images, images, rtol=1e-3, atol=1e-4)
        if augment is not None:
            network.load_state_dict(condensation.network.state_dict())
        elif step % 2 == 0:
            optimizer = torch.optim.SGD(parameters, lr=0.01)
            for _ in range(3):  # one batch holds all images, so their order does not matter
                optimizer.zero_grad()
                F.cross_entropy(network(images), labels).backward()
                optimizer.step()
            torch.testing.assert_close(condensation.theta, flatten(parameters).detach(), rtol=1e-4, atol=1e-5)
        images = condensation.images  # begin from the same images, so that float32 differences do not add up


def test_dsa_without_augmentation_and_from_noise_is_dc(data):
    dc, dsa = begin(data, DC), begin(data, replace(DSA, augment=None))
    assert [dc.advance() for _ in range(6)] == [dsa.advance() for _ in range(6)]
    assert torch.equal(dc.images, dsa.images)
    other = begin(data, DSA)
    other.advance()
    assert not torch.equal(begin(data, DC).images, other.images)


def test_every_network_is_another_and_lasts_its_updates(data):
    condensation = begin(data, DC)
    used = []
    for _ in range(6):
        condensation.advance()
        used.append(condensation._used)
    assert len({each.sum().item() for each in used}) == 6  # trained between, a new one after two
    fresh = [
        networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(0).child("network", i))
        for i in range(3)
    ]
    assert all(torch.equal(used[2 * i], flatten(each.parameters())) for i, each in enumerate(fresh))


# Distribution matching


def test_distribution_matching_is_dms_loop_over_classes(data):
    condensation, _, synthetic, real = float64_case(data, DM, 2, 5)
    network = condensation.network
    condensation = DistributionMatching(condensation.task, DM)
    theta = flatten(networks.features(network).parameters()).detach()

    def embedded(images):
        return network.features(images).flatten(1)

    leaf = synthetic.clone().requires_grad_()
    total = sum(
        (embedded(real[k]).detach().mean(dim=0) - embedded(leaf[k]).mean(dim=0)).square().sum() for k in range(3)
    )
    found, value = condensation.matched(theta, synthetic, real)
    torch.testing.assert_close(value, total.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, torch.autograd.grad(total, leaf)[0], rtol=1e-8, atol=1e-14)


def test_dm_of_the_real_images_themselves_is_nothing_under_any_augmentation(data):
    """Both sides have one draw per class, so equal images have equal embeddings."""
    condensation = begin(data, replace(DM, batch_real=12), ipc=12)
    for _ in range(4):
        condensation.step += 1
        gradient, measured = condensation.gradient(Seed(0).child(condensation.step))
        assert measured["loss"] == pytest.approx(0, abs=1e-9)
        assert gradient.abs().max() < 1e-5


def test_dm_lowers_its_loss(data):
    condensation = begin(data, replace(DM, augment=None, init="noise", lr_images=20.0, outer_steps=40))
    losses = [condensation.advance()["loss"] for _ in range(40)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


# As condensations


@pytest.mark.parametrize("config", [DC, DSA, DM], ids=["dc", "dsa", "dm"])
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, config, stop):
    before = torch.get_rng_state()
    whole = begin(data, config)
    expected = [whole.advance() for _ in range(6)]
    first = begin(data, config)
    measured = [first.advance() for _ in range(stop)]
    saved = {name: value.clone() for name, value in first.state().items()}
    second = begin(data, config)
    second.restore(saved)
    measured += [second.advance() for _ in range(6 - stop)]
    assert second.step == second.steps == 6
    assert measured == expected
    assert torch.equal(second.result().images, whole.result().images)
    assert torch.equal(torch.get_rng_state(), before)
    learnt = second.result()
    assert (learnt.label_kind, learnt.step_size) == ("hard", None)
    assert learnt.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert not torch.equal(begin(data, config, seed=Seed(1)).images, begin(data, config).images)


@pytest.mark.parametrize("config", [DC, DM], ids=["dc", "dm"])
def test_what_diverges_changes_nothing(data, config):
    condensation = begin(data, replace(config, lr_images=1e38, init="real"))
    kept = []

    def go_on():
        for _ in range(6):
            kept.append(condensation.state())
            condensation.advance()

    with pytest.raises(Diverged, match="lower lr_images"):
        go_on()
    assert all(torch.equal(value, kept[-1][name]) for name, value in condensation.state().items())


def test_batches_are_of_one_class_without_repetition(data):
    batches = ClassBatches(data, 500)
    assert batches.size == 12  # the smallest class has no more
    drawn = batches.draw(Seed(0).generator())
    for label in range(3):
        real = data.train.of_classes([label]).batch(torch.arange(12))[0]
        assert {tuple(x.flatten().tolist()) for x in drawn[label]} == {tuple(x.flatten().tolist()) for x in real}


@pytest.mark.parametrize(
    ("method", "why"),
    [
        *((name, "batches of one class would spoil") for name in ("dc", "dsa", "dm", "frepo")),
        *((name, "an inner loop over the parameters does not hold") for name in ("dd", "rat-bptt", "at-bptt")),
    ],
)
def test_networks_with_running_statistics_are_refused_by_name(data, method, why):
    request = Request(method=method, settings=None, architecture="timm/resnet10t", experts=EXPERTS, data=data, ipc=1)
    with pytest.raises(ConfigError, match=rf"timm/resnet10t keeps running statistics, which {why};.*convnet3"):
        METHODS.get(method).check(request)


@pytest.mark.parametrize("method", ["dc", "dsa", "frepo"])
def test_networks_with_dropout_are_refused_by_name(data, method, monkeypatch):
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
    # timm's networks without BatchNorm have no dropout.
    monkeypatch.setattr(networks.NetworkPlan, "create", lambda plan, seed: network)
    request = Request(method=method, settings=None, architecture=ARCHITECTURE, experts=EXPERTS, data=data, ipc=1)
    with pytest.raises(ConfigError, match=rf"{ARCHITECTURE} draws random numbers.*convnet3"):
        METHODS.get(method).check(request)


@pytest.mark.parametrize(
    ("config", "change", "match"),
    [
        (DC, {"networks": 0}, "networks 0"),
        (DC, {"lr_images": 0.0}, "lr_images 0.0"),
        (DC, {"batch_real": 0}, "batch_real 0"),
        (DC, {"inner_epochs": -1}, "epochs -1"),
        (DSA, {"momentum_images": 1.0}, "momentum_images"),
        (DM, {"outer_steps": -1}, "outer_steps -1"),
    ],
)
def test_wrong_numbers_are_refused(config, change, match):
    with pytest.raises(ConfigError, match=match):
        replace(config, **change)


@pytest.mark.slow
@pytest.mark.parametrize("config", [DSA, DM], ids=["dsa", "dm"])
def test_compiled_steps_are_the_plain_ones(data, config):
    said = []
    plain = begin(data, config)
    fused = begin(data, replace(config, compile="compiled"), notify=said.append)
    for _ in range(2):
        one, other = plain.advance(), fused.advance()
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        torch.testing.assert_close(plain.images, fused.images, rtol=1e-3, atol=1e-4)
    assert not said
    assert isinstance(plain, GradientMatching | DistributionMatching)
