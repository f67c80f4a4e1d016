"""FTD's flat experts: a step follows the equations, the store keeps them under another key, and they are flatter."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from satm import choose_preset, networks
from satm.data import load
from satm.errors import ConfigError
from satm.experts import ExpertConfig, FlatConfig, train_experts
from satm.experts.flat import FlatGradient
from satm.experts.train import expert_store
from satm.machine.fused import Fused
from satm.rng import Seed
from satm.training import SGDConfig, fit, plain_step, ruled_step
from satm.workflow.condense.inputs import prepare_experts
from tests.helpers import ARCHITECTURE, EXPERTS, Tiny, image_data, normal

close = torch.testing.assert_close


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("adaptive", [True, False])
def test_a_flat_step_is_gsam_over_sgd(adaptive, compiled, tmp_path, monkeypatch):
    """θ ← θ − lr (g_p − a g_⊥), g_p at θ + ε, ε = ρ T² g/‖T g‖ with T = diag |θ|, or ρ g/‖g‖."""
    monkeypatch.setenv("SATM_HOME", str(tmp_path))
    network, images, labels = Tiny(), normal(5, 1, 2, 3, name="images"), torch.tensor([0, 1, 2, 1, 0])

    def gradient(theta):
        other = Tiny()
        torch.nn.utils.vector_to_parameters(theta, other.parameters())
        loss = F.cross_entropy(other(images), labels)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(other.parameters()))]), loss

    theta = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    g, loss = gradient(theta)
    scale = theta.abs() if adaptive else torch.ones_like(theta)
    g_p, _ = gradient(theta + 0.3 * scale**2 * g / (scale * g).norm())
    vertical = g - (g @ g_p) / (g_p @ g_p) * g_p
    expected = theta - 0.1 * (g_p - 0.4 * vertical)
    rule, sgd = FlatGradient(FlatConfig(rho=0.3, gap_weight=0.4, adaptive=adaptive)), {"lr": 0.1}
    if compiled:
        start = copy.deepcopy(network)
        fused = Fused(start, image_shape=(1, 2, 3), notify=pytest.fail)
        step = fused.update(network, torch.optim.SGD(network.parameters(), **sgd), rule=rule)
    else:
        step = ruled_step(network, torch.optim.SGD(network.parameters(), **sgd), rule)
    found, logits = step(images, labels)
    close(torch.nn.utils.parameters_to_vector(network.parameters()).detach(), expected, rtol=1e-9, atol=1e-12)
    close(found, loss.detach())
    assert logits.shape == (5, 3)


def test_the_setting_compile_decides_for_flat_experts_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SATM_HOME", str(tmp_path))
    settings = {"compile": "compiled", "architecture": "convnetbn3_w4"}  # which cannot be compiled
    config = choose_preset("digits", ipc=1, method="ftd", profile="smoke", settings=settings).config
    assert config.experts.flat is not None
    with pytest.raises(ConfigError, match="cannot be compiled: the network has buffers"):
        prepare_experts(config, load("digits"), device="cpu")


def test_without_perturbation_a_flat_step_is_a_plain_one():
    images, labels = normal(5, 1, 2, 3, name="images"), torch.tensor([0, 1, 2, 1, 0])
    flat, plain = Tiny(), None
    plain = copy.deepcopy(flat)
    rule = FlatGradient(FlatConfig(rho=0.0, gap_weight=0.7))
    ruled_step(flat, torch.optim.SGD(flat.parameters(), lr=0.1), rule)(images, labels)
    plain_step(plain, images, labels, torch.optim.SGD(plain.parameters(), lr=0.1))
    for one, other in zip(flat.parameters(), plain.parameters(), strict=True):
        close(one, other)


def test_flat_experts_have_a_place_of_their_own_and_plain_ones_keep_theirs():
    data = image_data()
    plain = expert_store(data, ARCHITECTURE, EXPERTS)
    assert "flat" not in plain.facts["training"]  # as it was before flat experts existed
    flat = expert_store(data, ARCHITECTURE, replace(EXPERTS, flat=FlatConfig()))
    other = expert_store(data, ARCHITECTURE, replace(EXPERTS, flat=FlatConfig(rho=0.02)))
    assert len({plain.key, flat.key, other.key}) == 3


def test_flat_experts_stop_and_go_on_to_the_same_bits():
    data = image_data()
    config = replace(EXPERTS, count=1, momentum=0.5, flat=FlatConfig(rho=0.2))
    train_experts(data, ARCHITECTURE, config, epochs=1)
    (longer,) = train_experts(data, ARCHITECTURE, config, epochs=3)
    kept = longer.snapshot(3)
    longer.path.unlink()
    (whole,) = train_experts(data, ARCHITECTURE, config, epochs=3)
    assert torch.equal(whole.snapshot(3), kept)
    plain = train_experts(data, ARCHITECTURE, replace(config, flat=None), epochs=3)[0]
    assert not torch.equal(plain.snapshot(3), kept)


@pytest.mark.parametrize("changes", [{"rho": -1.0}, {"gap_weight": float("nan")}])
def test_numbers_outside_their_range_are_one_line(changes):
    with pytest.raises(ConfigError, match=r"^experts\.flat: rho .*: expected finite numbers of 0 or more$"):
        FlatConfig(**changes)


def rise_at(loss, config, data, seed):
    """The `rise` of a ConvNet of one `seed` at training loss `loss`, interpolated between two epochs."""
    network = networks.create(
        "convnet3_w16", num_classes=10, image_shape=data.image_shape, seed=Seed(seed).child("init")
    )
    rule = None if config is None else FlatGradient(config)
    for epoch in range(100):
        earlier, before = copy.deepcopy(network), training_loss(network, data)
        sgd = SGDConfig(epochs=epoch + 1, lr=0.02, batch_size=64)
        fit(network, data.train, sgd, seed=Seed(seed), first_epoch=epoch, rule=rule)
        now = training_loss(network, data)
        if now <= loss:
            share = (before - loss) / (before - now)
            start = rise(earlier, data)
            return start + share * (rise(network, data) - start)
    raise AssertionError("did not get there")


@torch.no_grad()
def training_loss(network, data):
    images, labels = data.train.batch(torch.arange(len(data.train)))
    return float(F.cross_entropy(network(images), labels))


@torch.no_grad()
def rise(network, data, *, radius=0.1, directions=10):
    """Mean rise of the training loss along random d with ‖d_f‖ = radius ‖w_f‖ in every filter f (Li et al. 2018)."""
    before, rises = training_loss(network, data), []
    for k in range(directions):
        moved = copy.deepcopy(network)
        generator = Seed(7).child("direction", k).generator()
        for p in moved.parameters():
            filters = p.view(p.shape[0], -1) if p.ndim > 1 else p.view(1, -1)
            d = torch.randn(filters.shape, generator=generator)
            filters += radius * filters.norm(dim=1, keepdim=True) * d / d.norm(dim=1, keepdim=True)
        rises.append(training_loss(moved, data) - before)
    return sum(rises) / directions


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_flat_experts_are_flatter_at_equal_training_loss():
    """Five pairs on real digits, each from the same weights and draws, compared at a training loss of 0.3."""
    data = load("digits", image_size=16)
    flat = FlatConfig(rho=0.5)
    differences = [rise_at(0.3, None, data, seed) - rise_at(0.3, flat, data, seed) for seed in range(5)]
    assert min(differences) > 0, differences
    n, values = len(differences), torch.tensor(differences)
    assert values.mean() - 2.776 * values.std() / n**0.5 > 0  # the 95% t-interval is above 0


def test_a_config_of_experts_round_trips():
    from satm.config import from_dict, to_dict

    for config in (ExpertConfig(), ExpertConfig(flat=FlatConfig(rho=0.1, adaptive=False))):
        assert from_dict(ExpertConfig, to_dict(config)) == config
