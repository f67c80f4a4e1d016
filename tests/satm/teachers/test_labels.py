"""The labels of a teacher, and the loss that fits a network to them."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from satm import networks
from satm.augment import CutMix
from satm.errors import ConfigError
from satm.machine.fused import Fused
from satm.rng import Seed
from satm.schedule import half_cosine
from satm.teachers import Relabelled, Teacher, TeacherLabels, distillation_loss
from satm.training import AdamWConfig, SGDConfig, fit
from tests.helpers import ARCHITECTURE, image_data, normal


def teacher(seed=1):
    network = networks.create("convnetbn3_w4", num_classes=3, image_shape=(1, 8, 8), seed=Seed(seed))
    return Teacher(
        id="teacher", network=network.eval().requires_grad_(False), num_classes=3, image_shape=(1, 8, 8), records=()
    )


def test_the_loss_of_two_classes_written_out():
    """z/T = (0, log 3) is p = (1/4, 3/4). KL((1/2, 1/2) ‖ p) = ½ log(½/¼) + ½ log(½/¾) = ½ log(4/3)."""
    logits = torch.tensor([[0.0, 20 * math.log(3)]], dtype=torch.float64)
    even = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert distillation_loss(logits, even, temperature=20.0).item() == pytest.approx(0.5 * math.log(4 / 3))
    # a class is a vector with one 1: −log p
    assert distillation_loss(logits, torch.tensor([0]), temperature=20.0).item() == pytest.approx(math.log(4))
    scaled = distillation_loss(logits, even, temperature=20.0, factor=400.0)
    assert scaled.item() == pytest.approx(200 * math.log(4 / 3))
    # the mean over the batch, and no factor T² unless it is given
    twice = distillation_loss(logits.repeat(2, 1), even.repeat(2, 1), temperature=20.0)
    assert twice.item() == pytest.approx(0.5 * math.log(4 / 3))


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_its_gradient_is_that_of_the_formula_and_of_a_second_implementation(temperature):
    logits = (normal(5, 4, name="logits") * temperature).requires_grad_()
    targets = normal(5, 4, name="targets").softmax(dim=1)
    (gradient,) = torch.autograd.grad(distillation_loss(logits, targets, temperature=temperature), logits)
    p = (logits.detach() / temperature).softmax(dim=1)
    torch.testing.assert_close(gradient, (p - targets) / (temperature * 5))
    powers = (logits / temperature).exp()
    written_out = (targets * (targets.log() - (powers / powers.sum(dim=1, keepdim=True)).log())).sum() / 5
    torch.testing.assert_close(torch.autograd.grad(written_out, logits)[0], gradient)


class Recorded:
    """A teacher that keeps what it is shown."""

    def __init__(self, inner):
        self.inner, self.shown = inner, []

    def probabilities(self, images, temperature):
        self.shown.append(images.clone())
        return self.inner.probabilities(images, temperature)


def test_every_batch_is_labelled_after_it_is_augmented_and_mixed():
    data, judge, trained_on = image_data(), teacher(), []
    network = networks.create(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(0))
    shown = Recorded(judge)
    mix = Relabelled(teacher=shown, temperature=20.0, mix=partial(CutMix(probability=1.0), classes=3))

    def criterion(logits, targets):
        trained_on.append((current[-1], targets))
        return distillation_loss(logits, targets, temperature=20.0)

    current = []
    network.register_forward_pre_hook(lambda module, inputs: current.append(inputs[0].detach().clone()))

    def darker(images, generator):
        return images - 5

    config = SGDConfig(epochs=2, lr=0.05, batch_size=12)
    fit(network, data.train, config, seed=Seed(0), augment=darker, mix=mix, criterion=criterion)
    assert len(trained_on) == len(shown.shown) == 2 * 3
    plain = data.train.batch(torch.arange(36))[0] - 5
    mixed = 0
    for (images, targets), labelled in zip(trained_on, shown.shown, strict=True):
        assert torch.equal(images, labelled)  # the teacher sees what the network sees
        torch.testing.assert_close(targets, (judge.network(images) / 20).softmax(dim=1))
        mixed += sum(not (image == plain).flatten(1).all(dim=1).any() for image in images)
    assert mixed  # and that is not the image before CutMix
    assert not torch.equal(trained_on[0][1], trained_on[3][1])  # other labels in the next epoch


def test_without_a_mix_the_images_stay():
    images = normal(4, 1, 8, 8, name="images").float()
    same, soft = Relabelled(teacher=teacher(), temperature=2.0)(images, torch.zeros(4).long(), Seed(0).generator())
    assert torch.equal(same, images)
    torch.testing.assert_close(soft, (teacher().network(images) / 2).softmax(dim=1))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_must_be_above_zero(temperature):
    with pytest.raises(ConfigError, match=r"temperature .* expected a finite number above 0.*--temperature"):
        TeacherLabels(temperature=temperature)


def test_adamw_decays_weights_only_and_follows_half_a_cosine():
    """θ ← θ − lr λ θ, then −lr g/(|g| + …) at the first step: Adam's first step has length lr."""
    layer = torch.nn.Linear(3, 2)
    config = AdamWConfig(epochs=300, lr=0.01, batch_size=4, weight_decay=0.5)
    optimizer = config.optimizer(layer)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.weight, before["weight"] * (1 - 0.01 * 0.5) - 0.01)
    torch.testing.assert_close(layer.bias, before["bias"] - 0.01)
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert [config.lr_at(epoch) for epoch in (0, 150)] == pytest.approx([0.01, 0.01 * (1 + math.sqrt(0.5)) / 2])
    assert half_cosine(300, 300) == pytest.approx(0.5)
    with pytest.raises(ConfigError, match="beta1 1"):
        AdamWConfig(epochs=1, lr=0.1, batch_size=1, beta1=1.0)


@pytest.mark.slow
def test_compiled_training_has_the_same_loss():
    data, judge = image_data(), teacher()
    criterion = partial(distillation_loss, temperature=20.0)
    fresh = partial(networks.create, ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8), seed=Seed(0))
    fused = Fused(fresh(), image_shape=(1, 8, 8), notify=pytest.fail, criterion=criterion)
    trained = []
    for how in (None, fused):
        network = fresh()
        fit(
            network,
            data.train,
            SGDConfig(epochs=2, lr=0.5, batch_size=12, momentum=0.9),
            seed=Seed(0),
            mix=Relabelled(teacher=judge, temperature=20.0),
            criterion=criterion,
            fused=how,
        )
        trained.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-3, atol=1e-5)
