"""The one training loop, against SGD written out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from satm.engine import flatten
from satm.errors import ConfigError, Diverged
from satm.rng import Seed
from satm.training import SGDConfig, accuracy, fit, hard, make_optimizer, predict
from tests.helpers import CLASSES, IMAGE, Tiny, cross_entropy, normal, tiny_logits

N = 10
CONFIG = SGDConfig(epochs=5, lr=0.1, batch_size=4, momentum=0.9, weight_decay=0.01, milestones=(2, 4), decay=0.5)


@dataclass
class Few:
    """Ten random images."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.images)

    def batch(self, index):
        return self.images[index], self.labels[index]


@pytest.fixture(params=["classes", "probabilities"])
def few(request):
    labels = normal(N, CLASSES, name="labels").softmax(1)
    return Few(normal(N, *IMAGE, name="images"), labels if request.param == "probabilities" else labels.argmax(1))


def start(dropout=0.0):
    with Seed(3).forked():
        return nn.Sequential(nn.Dropout(dropout), Tiny())


def shifted(images, generator):
    return images + torch.rand((len(images), 1, 1, 1), generator=generator).double()


@pytest.mark.parametrize("augment", [None, shifted])
def test_it_is_sgd_written_out(few, augment):
    """v ← μ v + g + λ θ, θ ← θ − lr v; the small last batch is used; a drop of the rate keeps the momentum."""
    network, stats = start(), []
    theta = flatten(network.parameters()).detach()
    fit(network, few, CONFIG, seed=Seed(0), augment=augment, on_epoch=stats.append)

    velocity = torch.zeros_like(theta)
    for epoch, rate in enumerate([0.1, 0.1, 0.05, 0.05, 0.025]):
        generator = Seed(0).child("epoch", epoch).generator()
        order = torch.randperm(N, generator=generator)
        losses = right = 0.0
        for index in (order[:4], order[4:8], order[8:]):
            theta = theta.detach().requires_grad_()
            images, labels = few.batch(index)
            logits = tiny_logits(theta, images if augment is None else augment(images, generator))
            loss = cross_entropy(logits, labels)
            velocity = 0.9 * velocity + torch.autograd.grad(loss, theta)[0] + 0.01 * theta.detach()
            theta = theta.detach() - rate * velocity
            losses += len(index) * loss.item()
            right += (logits.argmax(1) == hard(labels)).sum().item()
        assert stats[epoch].epoch == epoch
        assert stats[epoch].loss == pytest.approx(losses / N, rel=1e-5)  # summed in float32
        assert stats[epoch].accuracy == pytest.approx(right / N)
    torch.testing.assert_close(flatten(network.parameters()).detach(), theta, rtol=1e-10, atol=1e-12)


class Stop(Exception):
    pass


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_in_two_parts_gives_the_same_bits(few, dropout):
    whole, parts = start(dropout), start(dropout)
    fit(whole, few, CONFIG, seed=Seed(0), augment=shifted)
    optimizer = make_optimizer(parts, CONFIG)

    def stop(stats):
        if stats.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(parts, few, CONFIG, seed=Seed(0), augment=shifted, optimizer=optimizer, on_epoch=stop)
    assert not torch.equal(flatten(parts.parameters()), flatten(whole.parameters()))
    fit(parts, few, CONFIG, seed=Seed(0), augment=shifted, optimizer=optimizer, first_epoch=3)
    assert torch.equal(flatten(parts.parameters()), flatten(whole.parameters()))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_seed_decides_and_the_global_stream_is_left_alone(few, dropout):
    def trained(seed, noise):
        torch.manual_seed(noise)
        before, network = torch.get_rng_state(), start(dropout)
        fit(network, few, CONFIG, seed=Seed(seed), augment=shifted)
        assert torch.equal(torch.get_rng_state(), before)
        return flatten(network.parameters())

    assert torch.equal(trained(0, 1), trained(0, 2))
    assert not torch.equal(trained(0, 1), trained(1, 1))


def test_a_stop_is_asked_for_before_every_batch(few):
    network, asked = start(), []

    def on_batch():
        asked.append(flatten(network.parameters()).detach())
        if len(asked) == 5:
            raise Stop

    before = torch.get_rng_state()
    with pytest.raises(Stop):
        fit(network, few, CONFIG, seed=Seed(0), on_batch=on_batch)
    assert torch.equal(asked[0], flatten(start().parameters()))
    assert torch.equal(asked[-1], flatten(network.parameters()))
    assert len({tuple(theta.tolist()) for theta in asked}) == 5
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_keep_the_order_and_accuracy_counts_them(few):
    network = start()
    logits = predict(network, few, batch_size=3)
    torch.testing.assert_close(logits, network(few.images).detach())
    assert not network.training
    assert not logits.requires_grad
    assert accuracy(network, few, batch_size=4) == (logits.argmax(1) == hard(few.labels)).double().mean().item()
    # Told what it predicts, it is always right.
    assert accuracy(network, Few(few.images, logits.argmax(1))) == 1


def test_a_loss_that_is_not_finite_is_one_line(few):
    few.images[0] = torch.nan
    with pytest.raises(Diverged, match=r"^training loss is nan after epoch 1 at .*0\.1; lower the learning rate$"):
        fit(start(), few, CONFIG, seed=Seed(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": -1}, "epochs -1: expected 0 or more"),
        ({"lr": 0.0}, "learning rate 0.0: expected a finite number above 0"),
        ({"lr": float("nan")}, "learning rate nan: expected a finite number above 0"),
        ({"lr": float("inf")}, "learning rate inf: expected a finite number above 0"),
        ({"batch_size": 0}, "batch size 0: expected 1 or more"),
        ({"momentum": 1.0}, "momentum 1.0: expected 0 ≤ momentum < 1"),
        ({"momentum": -0.1}, "momentum -0.1: expected 0 ≤ momentum < 1"),
        ({"weight_decay": -1.0}, "weight decay -1.0: expected 0 or more"),
    ],
)
def test_settings_outside_their_range_are_one_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        SGDConfig(**{"epochs": 1, "lr": 0.1} | changes)
    assert str(caught.value) == message
