"""The training loop against SGD written out by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from satm.engine import flatten
from satm.errors import ConfigError, Diverged, ShapeError
from satm.machine.fused import WORTHWHILE, Fused, plan_fused
from satm.machine.purity import obstacle
from satm.rng import Seed
from satm.schedule import WarmRestarts
from satm.training import SGDConfig, accuracy, fit, hard, predict
from tests.helpers import CLASSES, HIDDEN, IMAGE, Tiny, cross_entropy, normal, tiny_logits

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


def test_a_long_gradient_is_shortened_a_short_one_is_not(few):
    """One step from zero momentum: θ moves by lr · g · min(1, c/‖g‖)."""

    def moved(clip_norm):
        network = start()
        before = flatten(network.parameters()).detach().clone()
        fit(network, few, SGDConfig(epochs=1, lr=0.1, batch_size=N, clip_norm=clip_norm), seed=Seed(0))
        return before - flatten(network.parameters()).detach()

    free = moved(None)
    norm = free.norm() / 0.1
    torch.testing.assert_close(moved(float(norm) * 2), free, rtol=0, atol=0)
    torch.testing.assert_close(moved(float(norm) / 4), free / 4, rtol=1e-4, atol=0)


def test_targets_are_mixed_after_the_images_are_augmented(few):
    seen = []

    def mix(images, targets, generator):
        seen.append(images)
        return images, torch.zeros(len(images), CLASSES, dtype=images.dtype)  # zero targets give no gradient

    network = start()
    fit(network, few, SGDConfig(epochs=1, lr=0.1, batch_size=N), seed=Seed(0), augment=shifted, mix=mix)
    assert torch.equal(flatten(network.parameters()), flatten(start().parameters()))
    generator = Seed(0).child("epoch", 0).generator()
    order = torch.randperm(N, generator=generator)
    assert torch.equal(seen[0], shifted(few.images[order], generator))


class Stop(Exception):
    pass


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_in_two_parts_gives_the_same_bits(few, dropout):
    whole, parts = start(dropout), start(dropout)
    fit(whole, few, CONFIG, seed=Seed(0), augment=shifted)
    optimizer = CONFIG.optimizer(parts)

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


def test_on_batch_is_called_before_every_batch(few):
    network, thetas = start(), []

    def on_batch():
        thetas.append(flatten(network.parameters()).detach())
        if len(thetas) == 5:
            raise Stop

    before = torch.get_rng_state()
    with pytest.raises(Stop):
        fit(network, few, CONFIG, seed=Seed(0), on_batch=on_batch)
    assert torch.equal(thetas[0], flatten(start().parameters()))
    assert torch.equal(thetas[-1], flatten(network.parameters()))
    assert len({tuple(theta.tolist()) for theta in thetas}) == 5
    assert torch.equal(torch.get_rng_state(), before)


def test_predictions_keep_the_order_and_accuracy_counts_them(few):
    network = start()
    logits = predict(network, few, batch_size=3)
    torch.testing.assert_close(logits, network(few.images).detach())
    assert not network.training
    assert not logits.requires_grad
    assert accuracy(network, few, batch_size=4) == (logits.argmax(1) == hard(few.labels)).double().mean().item()
    # If the targets are its predictions, it is always right.
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
        ({"clip_norm": 0.0}, "clip norm 0.0: expected a finite number above 0"),
        (
            {"restarts": WarmRestarts(), "milestones": (1,)},
            "a learning rate that drops at milestones and one with warm restarts: choose one of them",
        ),
    ],
)
def test_settings_outside_their_range_are_one_line(changes, message):
    with pytest.raises(ConfigError) as caught:
        SGDConfig(**{"epochs": 1, "lr": 0.1} | changes)
    assert str(caught.value) == message


# Compiled: the same training, for every batch size, by code that networks of one architecture share.


def tiny(seed=3):
    with Seed(seed).forked():
        return Tiny()


@pytest.fixture(scope="module", params=["whole batches", "four images at once"])
def fused(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(tmp_path_factory.mktemp("home")))
        if request.param != "whole batches":
            patch.setattr("satm.machine.pieces.CACHE", 1)
        said = []
        made = Fused(tiny(), image_shape=IMAGE, notify=said.append)
        assert (made.at_once == 4) == (request.param != "whole batches")
        yield made
        assert not said  # all of it was compiled


@pytest.mark.parametrize(
    ("batch_size", "clip_norm"),  # the last batch smaller, of one image, and the only one; nearly every step clipped
    [(4, None), (9, None), (32, None), (4, 0.05)],
)
def test_compiled_training_is_plain_training(few, fused, batch_size, clip_norm):
    config = replace(CONFIG, batch_size=batch_size, clip_norm=clip_norm)
    plain, quick, expected, stats = tiny(), tiny(), [], []
    fit(plain, few, config, seed=Seed(0), augment=shifted, on_epoch=expected.append)
    fit(quick, few, config, seed=Seed(0), augment=shifted, on_epoch=stats.append, fused=fused)
    theta = flatten(plain.parameters())
    torch.testing.assert_close(flatten(quick.parameters()), theta, rtol=1e-10, atol=1e-12)
    assert (theta - flatten(tiny().parameters())).abs().max() > 0.01
    assert [each.accuracy for each in stats] == [each.accuracy for each in expected]
    assert [each.loss for each in stats] == pytest.approx([each.loss for each in expected], rel=1e-5)
    torch.testing.assert_close(predict(quick, few, batch_size=3, fused=fused), predict(plain, few), rtol=1e-10, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_compiled_training_in_two_parts_gives_the_same_bits(few, fused, momentum):
    config = replace(CONFIG, momentum=momentum)
    whole, parts, seen = tiny(), tiny(), []
    fit(whole, few, config, seed=Seed(0), fused=fused, on_batch=lambda: seen.append(flatten(whole.parameters())))
    assert len({tuple(theta.tolist()) for theta in seen}) == 15  # the network itself moves at every batch
    optimizer = config.optimizer(parts)
    fit(parts, few, replace(config, epochs=2), seed=Seed(0), optimizer=optimizer, fused=fused)
    again = tiny(7)
    again.load_state_dict(parts.state_dict())
    restored = config.optimizer(again)
    restored.load_state_dict(optimizer.state_dict())
    fit(again, few, config, seed=Seed(0), optimizer=restored, first_epoch=2, fused=fused)
    assert torch.equal(flatten(again.parameters()), flatten(whole.parameters()))


def test_compiled_code_refuses_another_architecture(few, fused):
    with pytest.raises(ShapeError, match="a network of 2 parameter tensors, compiled code for one of 4"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double(), few, CONFIG, seed=Seed(0), fused=fused)


class Tied(Tiny):
    """A network that uses its hidden layer twice and holds it under two names."""

    def __init__(self):
        super().__init__()
        self.square = self.again = nn.Linear(HIDDEN, HIDDEN).double()

    def forward(self, images):
        hidden = self.square(self.first(images.flatten(1)).tanh()).tanh()
        return self.second(self.again(hidden).tanh())


@pytest.mark.slow
def test_shared_parameters_are_trained_as_one(few):
    with Seed(1).forked():
        plain, quick = Tied(), Tied()
    quick.load_state_dict(plain.state_dict())
    fused = Fused(quick, image_shape=IMAGE, notify=pytest.fail)
    config = replace(CONFIG, momentum=0.9)
    fit(plain, few, config, seed=Seed(0))
    fit(quick, few, config, seed=Seed(0), fused=fused)
    assert quick.square.weight is quick.again.weight
    assert fused.training == "compiled"
    torch.testing.assert_close(flatten(quick.parameters()), flatten(plain.parameters()), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(predict(quick, few, fused=fused), predict(plain, few), rtol=1e-10, atol=0)
    with pytest.raises(ShapeError, match="expected the same names and shapes"):
        fused.forward(tiny())


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 3)), "draws random numbers"),
        (nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(6, 3)), "has buffers"),
    ],
)
def test_a_network_that_is_more_than_its_parameters_is_trained_plainly(network, reason):
    before = torch.get_rng_state()
    assert reason in obstacle(network, IMAGE)
    assert torch.equal(torch.get_rng_state(), before)
    many = {"image_shape": IMAGE, "images": WORTHWHILE, "notify": pytest.fail}
    assert plan_fused(lambda: network, **many) is None
    with pytest.raises(ConfigError, match=f"cannot be compiled: the network {reason}.*; train it uncompiled"):
        plan_fused(lambda: network, compilation="compiled", **many)


def test_long_trainings_are_compiled_where_there_is_a_compiler(monkeypatch):
    def plan(pixels, said, **changes):
        shape = {"image_shape": (1, 1, 1), "images": pixels, "notify": said.append}
        return plan_fused(lambda: nn.Sequential(nn.Flatten(), nn.Linear(1, 2)), **shape | changes)

    said = []
    assert plan(WORTHWHILE - 1, said) is None
    assert isinstance(plan(WORTHWHILE, said), Fused)
    assert isinstance(plan(1, said, compilation="compiled"), Fused)
    assert plan(WORTHWHILE, said, compilation="eager") is None
    assert said == []
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert plan(WORTHWHILE, said) is None
    assert said == ["training uncompiled: no C++ compiler is installed (no-such-compiler; set CXX to use another)"]
    with pytest.raises(ConfigError, match=r"compilation compiled: no C.* is installed .*; set it to auto"):
        plan(1, said, compilation="compiled")
    with pytest.raises(ConfigError, match="compilation 'fast': expected auto, compiled, eager"):
        plan(1, said, compilation="fast")


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_rule_decides_what_the_optimiser_is_given(few, fused, clip_norm):
    """Doubling the gradient is the same as doubling the learning rate, except if a limit shortens the gradient."""

    def twice(at, theta):
        gradient, loss, logits = at(theta)
        return 2 * gradient, loss, logits

    config, ends = replace(CONFIG, weight_decay=0.0, clip_norm=clip_norm), []
    for code in (None, fused):
        ends.append(tiny())
        fit(ends[-1], few, config, seed=Seed(0), rule=twice, fused=code)
    faster = tiny()
    fit(faster, few, replace(config, lr=2 * config.lr), seed=Seed(0))
    a, b, expected = (flatten(network.parameters()) for network in (*ends, faster))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert torch.allclose(a, expected, rtol=1e-10, atol=1e-12) == (clip_norm is None)
