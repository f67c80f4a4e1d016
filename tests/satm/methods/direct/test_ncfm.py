"""NCFM: steps against their literal transcription in float64, the limits that are DM and DANCE, and resuming."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from satm import networks
from satm.engine import FlatNetwork
from satm.errors import ConfigError, Diverged
from satm.matching import characteristic, characteristic_distance, distribution_distance
from satm.methods import METHODS
from satm.methods.ncfm import NCFMConfig
from satm.parametrisation import PIXELS, Factor, LowRank
from satm.presets import find_preset
from satm.rng import Seed
from tests.helpers import in_float64, normal, task

NORMAL = NCFMConfig(
    outer_steps=4,
    batch_real=8,
    expert_epochs=2,
    frequencies=40,
    amplitude=0.3,
    lr_images=0.02,
    augment=None,
    compile="eager",
)
LEARNED = replace(NORMAL, sampler="learned", lr_sampler=0.05)


def begin(data, trained, config=NORMAL, **changes):
    return METHODS.get("ncfm").begin(task(data, trained, **changes), config)


def literal(synthetic, real, t, amplitude):
    """√(a (|Φ| − |Ψ|)² + (1 − a) 2 |Φ| |Ψ| (1 − cos(∠Φ − ∠Ψ))), its mean over t, in complex numbers."""
    one, other = (torch.exp(1j * (x @ t.T)).mean(0) for x in (synthetic, real))
    angle = 1 - torch.cos(torch.angle(one) - torch.angle(other))
    return (amplitude * (one.abs() - other.abs()) ** 2 + (1 - amplitude) * 2 * one.abs() * other.abs() * angle).sqrt()


def drawn(seed, count, size):
    return torch.randn((count, size), generator=seed.generator()).double()


def mixture(psi, seed, count, size):
    """t = σ ⊙ n, where σ is three layers with batch norm, written out, for groups of 16 frequencies."""
    x, at = drawn(seed.child("scales"), -(-count // 16), size), 0
    for layer in range(3):
        weight, bias, gain, offset = psi[at:].split([size * size, size, size, size, len(psi) - at - size * (size + 3)])[
            :4
        ]
        x = x @ weight.view(size, size).T + bias
        x = gain * (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() + offset
        x = torch.where(x > 0, x, 0.2 * x) if layer < 2 else x.tanh()
        at += size * (size + 3)
    return torch.stack([x[j // 16] for j in range(count)]) * drawn(seed, count, size)


def step_by_hand(condensation, network, adam, phi, psi, seed, how):
    """A step of φ by Adam: the distance at the blend, then the cross-entropy at the expert's end. Returns ∂F/∂ψ."""
    flat, config, size = FlatNetwork(network), condensation.settings, condensation.size
    blend, end = condensation.chosen(seed.child("network"))
    real = condensation.real.draw(seed.child("real").generator())
    flat.load(blend)
    features = networks.features(network)  # a copy of the network as it is now
    total = 0
    for label, (k, r) in enumerate(zip(how.decode(phi).unflatten(0, (3, -1)), real, strict=True)):
        own = seed.child("network", "frequencies", label)
        t = drawn(own, config.frequencies, size) if psi is None else mixture(psi, own, config.frequencies, size)
        x, y = (each / each.norm(dim=1, keepdim=True) for each in (features(k), features(r)))
        total = total + 300 * literal(x, y, t, config.amplitude).mean()
    slope = None if psi is None else torch.autograd.grad(total, psi, retain_graph=True)[0]
    (phi.grad,) = torch.autograd.grad(total, phi)
    adam.step()
    flat.load(end)
    classes = how.decode(phi).unflatten(0, (3, -1))
    loss = sum(F.cross_entropy(network(k), torch.full((len(k),), label)) for label, k in enumerate(classes))
    (phi.grad,) = torch.autograd.grad(loss, phi)
    adam.step()
    return slope


@pytest.mark.parametrize("how", [PIXELS, Factor(2), LowRank(2)], ids=lambda how: how.spell())
@pytest.mark.parametrize("config", [NORMAL, LEARNED], ids=lambda config: config.sampler)
def test_two_steps_are_their_transcription(data, trained, config, how):
    condensation = begin(data, trained, config, parametrisation=how)
    in_float64(condensation)
    random = condensation.real.draw
    condensation.real.draw = lambda generator: random(generator).double()
    network = networks.plan_for("convnet3_w4", data).create(condensation.task.seed).double()
    phi = condensation.images.clone().requires_grad_()
    adam = torch.optim.Adam([phi], lr=0.02)
    learned = condensation.learned
    psi = None if learned is None else learned.psi.clone().requires_grad_()
    velocity = 0
    for step in range(2):
        slope = step_by_hand(condensation, network, adam, phi, psi, condensation.task.seed.child("outer", step), how)
        measured = condensation.advance()
        torch.testing.assert_close(condensation.images, phi.detach(), rtol=1e-6, atol=1e-8)
        assert measured.keys() == {"loss", "calibration"}
        if psi is not None:
            velocity = 0.5 * velocity - slope
            psi = (psi - 0.05 * velocity).detach().requires_grad_()
            torch.testing.assert_close(learned.psi, psi.detach(), rtol=1e-6, atol=1e-8)


def test_the_distance_and_its_derivative_are_the_literal_ones():
    x, y, t = normal(2, 5, 3, name="x").requires_grad_(), normal(2, 4, 3, name="y"), normal(2, 7, 3, name="t")
    found = characteristic_distance(characteristic(x, t), characteristic(y, t), 0.3)
    expected = sum(literal(x[k], y[k], t[k], 0.3).mean() for k in range(2))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    pair = (torch.autograd.grad(each, x)[0] for each in (found, expected))
    torch.testing.assert_close(*pair, rtol=1e-8, atol=1e-10)
    for amplitude in (0.0, 0.5, 1.0):  # equal functions have a distance near 0, and a derivative
        equal = characteristic_distance(characteristic(x, t), characteristic(x.detach(), t), amplitude)
        assert torch.autograd.grad(equal, x)[0].isfinite().all()


def test_frequencies_near_zero_along_every_axis_are_dms_distance_of_means():
    x, y, near = normal(1, 5, 3, name="x"), normal(1, 4, 3, name="y"), 1e-4
    squares = 0.0
    for axis in range(3):
        t = near * torch.eye(3, dtype=torch.float64)[axis].view(1, 1, 3)
        squares += float(characteristic_distance(characteristic(x, t), characteristic(y, t), 0.0) / near) ** 2
    assert squares == pytest.approx(float(distribution_distance(x, y)), rel=1e-6)


def test_a_learned_sampler_ascends_the_distance(data, trained):
    condensation, seed = begin(data, trained, replace(LEARNED, lr_sampler=0.01)), Seed(3)
    theta, real = condensation.parameters(seed), condensation.real.draw(seed.generator())
    images = condensation.by_class(condensation.images)
    _, before = condensation.matched(theta, images, real)
    condensation.learned.psi, _ = condensation.learned.ascended(condensation.slope)
    assert condensation.matched(theta, images, real)[1] > before


@pytest.mark.parametrize("config", [NORMAL, LEARNED], ids=lambda config: config.sampler)
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, trained, config):
    config = replace(config, augment="color_crop_cutout")
    before = torch.get_rng_state()
    whole, first, second = (begin(data, trained, config) for _ in range(3))
    expected = [whole.advance() for _ in range(4)]
    measured = [first.advance() for _ in range(2)]
    second.restore({name: value.clone() for name, value in first.state().items()})
    measured += [second.advance() for _ in range(2)]
    assert measured == expected
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_diverges_changes_nothing_and_wrong_numbers_are_refused(data, trained):
    condensation = begin(data, trained, replace(LEARNED, lr_sampler=1e38))
    kept = condensation.state()
    condensation.compare = lambda images, t, theta, real: ((images, t * 1e30), torch.tensor(1.0))
    with pytest.raises(Diverged, match="the sampler's update not finite; lower lr_sampler"):
        condensation.advance()
    assert all(torch.equal(value, kept[name]) for name, value in condensation.state().items())
    for change, match in (
        ({"frequencies": 0}, "frequencies 0: expected at least 1"),
        ({"frequencies": 16}, "frequencies 16: sampler=learned needs more than 16"),
        ({"amplitude": 1.5}, "amplitude 1.5: expected 0 to 1"),
        ({"lr_sampler": 0.0}, "lr_sampler 0.0: expected a finite number above 0"),
    ):
        with pytest.raises(ConfigError, match=match):
            replace(LEARNED, **change)


def test_its_scale_bounds_its_experts_and_frequencies():
    preset = find_preset("cifar10", 1, method="ncfm", profile="cpu")
    assert (preset.config.experts.count, preset.config.settings.frequencies) == (5, 256)
    assert "cpu: 5 experts instead of 20" in preset.departures
    assert "cpu: frequencies 256 instead of 4096" in preset.departures
