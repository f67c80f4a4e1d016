"""FRePo: outer steps against their transcription in float64, the pool, limits, resuming, and what is refused."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from satm import networks
from satm.engine import FlatNetwork
from satm.errors import ConfigError, Diverged
from satm.methods import METHODS
from satm.methods.adam import AdamMove
from satm.methods.direct.pool import NetworkPool
from satm.methods.frepo import FRePoConfig
from satm.methods.lamb import LambMove
from satm.parametrisation import PIXELS, Factor
from satm.presets import find_preset
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, image_data, in_float64, normal, task

CONFIG = FRePoConfig(
    outer_steps=5, batch_real=10, pool=2, updates=2, lr_network=0.01, lr_images=0.05, ridge=1e-3, compile="eager"
)


@pytest.fixture(scope="module")
def data():
    return image_data()


def begin(data, config=CONFIG, **changes):
    return METHODS.get("frepo").begin(task(data, (), **changes), config)


def plain_lamb(value, m, v, gradient, lr, t):
    """LAMB as its paper has it, for one tensor."""
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    u = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-6)
    return value - lr * (value**2).sum().sqrt() / (u**2).sum().sqrt() * u, m, v


class ByHand:
    """FRePo in plain torch: modules, `torch.optim.Adam`, and the inverse of the kernel."""

    def __init__(self, condensation, how, config):
        self.made, self.how, self.config = condensation, how, config
        self.phi = condensation.images.clone()
        eye = torch.eye(3, dtype=torch.float64).repeat_interleave(2, dim=0)
        self.y = (eye - 1 / 3) / math.sqrt(3 / 10)
        self.moments = [torch.zeros_like(each) for each in (self.phi, self.phi, self.y, self.y)]
        seed = condensation.task.seed.child("pool")
        self.pool = [self.network(seed.child(i), i * (config.updates // 2)) for i in range(2)]

    def network(self, seed, age):
        # Like the suite's, the weights are drawn in single precision.
        made = networks.plan(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8)).create(seed).double()
        return made, torch.optim.Adam(made.parameters(), lr=self.config.lr_network), age

    def step(self, number):
        seed, config = self.made.task.seed.child("outer", number), self.config
        place = int(torch.randint(2, (), generator=seed.child("network").generator()))
        network, *_ = self.pool[place]
        train = self.made.task.data.train
        x, k = train.batch(torch.randperm(len(train), generator=seed.child("real").generator())[: config.batch_real])
        body = copy.deepcopy(network)
        body.classifier = nn.Identity()
        phi, y = self.phi.requires_grad_(), self.y.requires_grad_()
        seen = self.how.decode(phi)
        several = y.repeat_interleave(len(seen) // len(phi), dim=0)
        if config.flip:
            seen, several = torch.cat([seen, seen[:, :, :, torch.arange(7, -1, -1)]]), torch.cat([several, several])
        s, t = body(seen), body(x.double())
        kernel = s @ s.T
        inverse = torch.linalg.inv(kernel + config.ridge * kernel.diagonal().mean() * torch.eye(len(s), dtype=s.dtype))
        error = torch.eye(3, dtype=torch.float64)[k] - 1 / 3 - t @ s.T @ inverse @ several
        loss = (error**2).sum() / 2 / len(x)
        first, second = y.sort(dim=1, descending=True).values[:, :2].T
        margin = (first - second).clamp(max=1 / 3).mean()
        slopes = torch.autograd.grad(loss - config.margin_weight * margin, (phi, y))
        lr = config.lr_images * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * number / config.outer_steps)))
        a, b, c, d = self.moments
        with torch.no_grad():
            self.phi, a, b = plain_lamb(phi, a, b, slopes[0], lr, number + 1)
            if config.learn_labels:
                self.y, c, d = plain_lamb(y, c, d, slopes[1], lr, number + 1)
        self.moments = [a, b, c, d]
        self.phi, self.y = self.phi.detach(), self.y.detach()
        self.train(place, seed)
        return float(loss.detach()), float(margin.detach()), *slopes

    def train(self, place, seed):
        network, adam, age = self.pool[place]
        if age > self.config.updates:
            self.pool[place] = self.network(seed.child("fresh"), 0)
            return
        images = self.how.decode(self.phi)
        targets = self.y.repeat_interleave(len(images) // len(self.phi), dim=0)
        count = self.config.batch_syn
        rows = (
            torch.randperm(len(images), generator=seed.child("batch").generator())[:count] if count < 6 else slice(None)
        )
        adam.zero_grad()
        ((network(images[rows]) - targets[rows]) ** 2).sum(dim=1).div(2).mean().backward()
        adam.step()
        self.pool[place] = network, adam, age + 1


@pytest.mark.parametrize("how", [PIXELS, Factor(2)], ids=lambda how: how.spell())
@pytest.mark.parametrize(
    "change",
    [{}, {"flip": False, "batch_syn": 4, "margin_weight": 0.0}, {"learn_labels": False}],
    ids=["flipped", "plain", "constant labels"],
)
def test_outer_steps_are_their_transcription(data, change, how):
    config = replace(CONFIG, outer_steps=8, updates=1, ridge=0.1, **change)
    condensation = begin(data, config, parametrisation=how)
    in_float64(condensation)
    condensation.labels = condensation.labels.double()
    by_hand = ByHand(condensation, how, config)
    condensation.labels = by_hand.y.clone()  # in double precision from the start
    for step in range(8):
        gradient, _ = condensation.gradient(condensation.task.seed.child("outer", step))
        slope = condensation.label_slope
        loss, margin, *expected = by_hand.step(step)
        if step == 0:  # later, LAMB has made round-off larger: it divides small gradients by their size
            torch.testing.assert_close([gradient, slope], expected, rtol=1e-9, atol=1e-11)
        assert condensation.advance() == {
            "loss": pytest.approx(loss, rel=1e-6),
            "margin": pytest.approx(margin, rel=1e-6),
        }
        torch.testing.assert_close(condensation.images, by_hand.phi, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(condensation.labels, by_hand.y, rtol=1e-7, atol=1e-8)
    for place, (network, _, age) in enumerate(by_hand.pool):
        member = condensation.pool[place]
        assert member.age == age
        flat = torch.cat([p.detach().flatten() for p in network.parameters()])
        torch.testing.assert_close(member.theta, flat, rtol=1e-7, atol=1e-8)
    assert condensation.result().label_kind == ("logits" if config.learn_labels else "hard")


def test_the_first_step_is_checked_by_finite_differences(data):
    condensation = begin(data, replace(CONFIG, margin_weight=0.5))
    in_float64(condensation)
    seed = Seed(5)
    gradient, _ = condensation.gradient(seed)
    slope, at, labels = condensation.label_slope, condensation.images, condensation.labels

    def value():
        measured = condensation.gradient(seed)[1]
        return measured["loss"] - 0.5 * measured["margin"]

    for name, start, found in (("images", at, gradient), ("labels", labels, slope)):
        towards = normal(*start.shape, name=name)
        values = []
        for step in (1e-5, -1e-5):
            setattr(condensation, name, start + step * towards)
            values.append(value())
        setattr(condensation, name, start)
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float((found * towards).sum()), rel=1e-5)


def test_large_batches_pass_in_pieces_and_give_the_same(data):
    whole, pieces = begin(data), begin(data)
    for each in (whole, pieces):
        in_float64(each)
    pieces.at_once = 4
    for seed in (Seed(1), Seed(2)):
        (one, of_one), (other, of_other) = whole.gradient(seed), pieces.gradient(seed)
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        assert of_one == pytest.approx(of_other)


def test_without_training_every_network_is_fresh_and_a_flip_of_mirrored_images_changes_nothing(data):
    condensation = begin(data, replace(CONFIG, updates=0, pool=1))
    condensation.advance()
    assert condensation.pool[0].age == 1  # at the age 0 it is trained once; at the age 1 it is replaced
    condensation.advance()
    assert condensation.pool[0].age == 0
    flipped, plain = begin(data), begin(data, replace(CONFIG, flip=False))
    for each in (flipped, plain):
        in_float64(each)
        each.images = (each.images + each.images.flip(-1)) / 2
    # Each image counts twice: K_ss has every eigenvalue twice as large, and λ stays a share of the mean.
    plain.settings = replace(plain.settings, ridge=CONFIG.ridge / 2)
    losses = [each.gradient(Seed(4))[1]["loss"] for each in (flipped, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_labels_that_the_regression_fits_stay_while_others_move(data):
    condensation = begin(data)
    start = condensation.labels.clone()
    assert start[0].tolist() == pytest.approx([2 / 3 / math.sqrt(0.3), *([-1 / 3 / math.sqrt(0.3)] * 2)])
    condensation.advance()
    moved = (condensation.labels - start).norm() / start.norm()
    assert float(moved) == pytest.approx(CONFIG.lr_images, rel=1e-4)  # LAMB: the learning rate is the relative move


def test_lamb_is_adam_with_moves_as_long_as_the_value():
    adam = AdamMove(lr=0.1, beta1=0.9, eps=1e-6)
    lamb, x, g = LambMove(adam), normal(4, name="x"), normal(4, name="g")
    moved, state = lamb(x, lamb.at_rest(x), g, 0.5)
    assert float((moved - x).norm() / x.norm()) == pytest.approx(0.05)
    ordinary, same = adam(x, adam.at_rest(x), g)
    assert torch.equal(state, same)
    torch.testing.assert_close((moved - x) / (moved - x).norm(), (ordinary - x) / (ordinary - x).norm())
    for value, gradient in ((torch.zeros(4).double(), g), (x, torch.zeros(4).double())):  # the ratio is 1
        rest = adam.at_rest(value)
        assert torch.equal(lamb(value, rest, gradient)[0], adam(value, rest, gradient)[0])


def test_the_pool_starts_at_different_ages_and_replaces_who_is_too_old():
    drawn = []

    def fresh(seed):
        drawn.append(seed)
        return torch.full((3,), float(len(drawn)))

    pool = NetworkPool(4, 10, AdamMove(lr=0.1, beta1=0.9), fresh, Seed(0))
    assert [pool[i].age for i in range(4)] == [0, 2, 4, 6]
    for expected in (7, 8, 9, 10, 11):
        member = pool.after_a_step(3, torch.ones_like, Seed(1))
        assert pool[3].age == expected - 1  # not changed before `replace`
        pool.replace(3, member)
        assert pool[3].age == expected
    reborn = pool.after_a_step(3, torch.ones_like, Seed(1))
    assert reborn.age == 0
    assert reborn.theta.tolist() == [5.0] * 3
    assert reborn.moments.tolist() == [0.0] * 8


@pytest.mark.parametrize("change", [{}, {"batch_syn": 4, "learn_labels": False, "init": "noise"}])
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, change):
    config = replace(CONFIG, updates=1, **change)
    before = torch.get_rng_state()
    whole, first, second = (begin(data, config) for _ in range(3))
    expected = [whole.advance() for _ in range(5)]
    measured = [first.advance() for _ in range(3)]
    second.restore(load(save(first.state())))
    first.advance()  # the restored pool shares no memory with it
    measured += [second.advance() for _ in range(2)]
    assert measured == expected
    assert whole.state().keys() == second.state().keys()
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_diverges_changes_nothing(data):
    for change, said in (
        ({"lr_network": 1e39}, "outer step 1: a network of the pool not finite; lower lr_images or lr_network"),
        ({"lr_images": 1e39}, "outer step 1: the images' update not finite; lower lr_images"),
    ):
        condensation = begin(data, replace(CONFIG, **change))
        kept = condensation.state()
        with pytest.raises(Diverged, match=said):
            condensation.advance()
        assert all(torch.equal(value, kept[name]) for name, value in condensation.state().items())
    condensation = begin(data)
    condensation.images = condensation.images * float("nan")
    with pytest.raises(Diverged, match="outer step 1: the kernel of 12 synthetic images is not positive definite"):
        condensation.advance()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outer_steps": -1}, "outer_steps -1: expected 0 or more"),
        ({"pool": 0}, "pool 0: expected at least 1"),
        ({"batch_syn": 0}, "batch_syn 0: expected at least 1"),
        ({"updates": -1}, "updates -1: expected 0 or more training steps"),
        ({"ridge": 0.0}, "ridge 0.0: expected a finite number above 0"),
        ({"lr_network": math.inf}, "lr_network inf: expected a finite number above 0"),
        ({"margin_weight": -1.0}, "margin_weight -1.0: expected a finite number of 0 or more"),
    ],
)
def test_wrong_numbers_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        replace(CONFIG, **change)


def test_a_device_without_double_precision_is_refused(data):
    with pytest.raises(ConfigError, match="frepo solves its kernel in double precision, which mps does not have"):
        begin(data, device=torch.device("mps"))


def test_its_presets_flip_as_the_code_does():
    def settings(dataset, ipc, profile="paper"):
        return find_preset(dataset, ipc, method="frepo", profile=profile).config.settings

    assert [settings("cifar100", ipc).flip for ipc in (1, 10, 50)] == [True, False, False]
    assert (settings("cifar10", 10).flip, settings("digits", 1).flip) == (True, False)
    assert (settings("cifar10", 1, "cpu").batch_real, settings("cifar10", 1, "smoke").pool) == (256, 3)


def test_the_features_are_those_before_the_last_layer(data):
    condensation = begin(data)
    theta = condensation.pool[1].theta
    network = copy.deepcopy(condensation.network)
    FlatNetwork(network).load(theta)
    features = network.features(condensation.images).flatten(1)
    torch.testing.assert_close(condensation.features(theta[condensation.inner], condensation.images), features)


@pytest.mark.slow
def test_compiled_steps_are_the_plain_ones(data):
    said = []
    plain, fused = begin(data), begin(data, replace(CONFIG, compile="compiled"), notify=said.append)
    for _ in range(3):
        one, other = plain.advance(), fused.advance()
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        torch.testing.assert_close(plain.images, fused.images, rtol=1e-2, atol=1e-3)
    assert not said
