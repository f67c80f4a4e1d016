"""DD and RaT-BPTT: their transcriptions in float64, the limit in which they agree, other outer rules, resuming."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load, save
from torch.func import functional_call
from torch.nn import functional as F

from satm import networks
from satm.errors import ConfigError, Diverged, UnknownName
from satm.functional import FlatNetwork, flatten, unflatten
from satm.matching import RealLoss, real
from satm.methods import METHODS, OUTER
from satm.methods.adam import AdamMove
from satm.methods.dd import DDConfig
from satm.methods.rat_bptt import RaTBPTTConfig
from satm.methods.trajectory.guard import GuardConfig
from satm.parametrisation import PIXELS, Factor, LowRank
from satm.presets import find_preset
from tests.helpers import ARCHITECTURE, image_data, in_float64, task

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-10)
SHARED = {"outer_steps": 6, "batch_real": 10, "augment": None, "diagnostics_every": 0, "compile": "eager"}
DD = DDConfig(**SHARED, inner_steps=4, passes=2, step_size=0.05)
RAT = RaTBPTTConfig(
    **SHARED, augment_real=None, inner_steps=6, window=2, first_place=1, step_size=0.01, lr_images=0.01, clip=0.3
)
NETWORK = networks.plan(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8)).create(task(image_data(), ()).seed).double()


def begin(config, data=None, **changes):
    method = "dd" if isinstance(config, DDConfig) else "rat-bptt"
    return METHODS.get(method).begin(task(data or image_data(), (), **changes), config)


def cross_entropy(theta, images, labels):
    names = [name for name, _ in NETWORK.named_parameters()]
    parameters = dict(zip(names, unflatten(theta, [p.shape for p in NETWORK.parameters()]), strict=True))
    return F.cross_entropy(functional_call(NETWORK, parameters, images), labels)


def unrolled(condensation, images, alphas, seed):
    """F of one outer step: training that is written out, detached by hand where the window begins."""
    config = condensation.settings
    aim = condensation.aim(condensation.label_state, seed)
    loop = condensation._draw_loop(seed.child("loop").generator(), steps=aim.steps)
    place = int(aim.measured["window_start"])
    seen = condensation.task.parametrisation.decode(images)
    labels = condensation.labels.repeat_interleave(len(seen) // len(images))
    theta = aim.start.clone().requires_grad_()
    m = v = torch.zeros_like(theta)
    for i in range(aim.steps):
        if i == place:
            theta, m, v = theta.detach().requires_grad_(), m.detach(), v.detach()
        rows = slice(None) if loop.batches[i] is None else loop.batches[i]
        (g,) = torch.autograd.grad(cross_entropy(theta, seen[rows], labels[rows]), theta, create_graph=True)
        if config.update == "sgd":
            theta = theta - alphas[i] * g
            continue
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        second = v / (1 - 0.999 ** (i + 1))
        root = torch.where(second > 0, second.clamp(min=1e-300).sqrt(), 0.0)
        theta = theta - alphas[i] * m / (1 - 0.9 ** (i + 1)) / (root + 1e-8)
    return cross_entropy(theta, aim.loss.images, aim.loss.labels), place


@pytest.mark.parametrize("engine", ["higher", "replay"])
@pytest.mark.parametrize("how", [PIXELS, Factor(2), LowRank(2)], ids=lambda how: how.spell())
@pytest.mark.parametrize("config", [DD, RAT], ids=["dd", "rat-bptt"])
def test_outer_steps_are_their_transcription(config, how, engine):
    condensation = begin(replace(config, engine=engine), parametrisation=how)
    in_float64(condensation)
    images = condensation.images.clone().requires_grad_()
    learned = config.learn_step_size
    state = condensation.step_size_state
    raw = state.get("step_size_raw", torch.zeros(0)).clone().requires_grad_()
    if learned:  # in double precision from the start
        condensation.step_size_state = {**state, "step_size": F.softplus(raw).detach()}
    betas = (config.momentum_images, config.second_moment)
    adam = torch.optim.Adam([images, raw] if learned else [images], lr=config.lr_images, betas=betas)
    usual, places = None, set()
    for step in range(3):
        seed = condensation.task.seed.child("outer", step)
        alphas = F.softplus(raw) if learned else condensation.step_size.expand(config.inner_steps)
        expected, place = unrolled(condensation, images, alphas, seed)
        adam.zero_grad()
        expected.backward()
        norm = images.grad.norm()
        usual = norm if usual is None else 0.9 * usual + 0.1 * norm
        if config.clip is not None:
            torch.nn.utils.clip_grad_norm_([images], config.clip * usual)
        for group in adam.param_groups:
            group["lr"] = config.lr_images * 0.5 ** int((config.halvings + 1) * step / 6)
        adam.step()
        assert condensation.advance()["loss"] == pytest.approx(float(expected.detach()), rel=1e-10)
        close(condensation.images, images.detach())
        if learned:
            close(condensation.step_size, F.softplus(raw).detach())
        places.add(place)
    assert learned or len(places) > 1  # the window moves


def test_with_sgd_and_the_whole_window_rat_bptt_is_dd_at_fixed_step_sizes():
    same = {**SHARED, "inner_steps": 4, "step_size": 0.05, "lr_images": 0.01, "init": "noise", "momentum_images": 0.5}
    dd = begin(DDConfig(**same, passes=4, learn_step_size=False, halvings=0))
    rat = begin(RaTBPTTConfig(**same, update="sgd", window=4, augment_real=None, clip=None))
    for _ in range(2):
        assert dd.advance() == rat.advance()
    assert torch.equal(dd.images, rat.images)
    learned = begin(DDConfig(**same, passes=4, halvings=0))
    for _ in range(2):  # the first move of Adam has one length for all
        learned.advance()
    assert learned.step_size.shape == (4,)
    assert len(set(learned.step_size.tolist())) == 4


def test_dds_steps_see_the_images_of_a_class_in_turn():
    dd = begin(DD)
    loop = dd._draw_loop(task(image_data(), ()).seed.generator())
    assert [batch.tolist() for batch in loop.batches] == [[0, 2, 4], [1, 3, 5]] * 2
    # What is foreseen and timed counts these images, also with fewer steps.
    assert [DD.images_at_once(6), DD.resized(1, 1).images_at_once(6), DD.resized(30, 30).images_at_once(6)] == [3] * 3
    assert DD.choose_engine(dd.network, (1, 8, 8), 6)[1].batch == 3
    assert RAT.choose_engine(dd.network, (1, 8, 8), 6)[1].batch == 6


def test_a_large_real_batch_is_passed_in_pieces(monkeypatch):
    images, labels = (
        torch.randn(10, 1, 8, 8, generator=task(image_data(), ()).seed.generator()).double(),
        torch.arange(10) % 3,
    )
    theta = flatten(NETWORK.parameters()).detach().requires_grad_()
    loss = RealLoss(FlatNetwork(NETWORK), images, labels)
    whole = loss(theta), torch.autograd.grad(loss(theta), theta)[0]
    monkeypatch.setattr(real, "PIECE", 4)
    pieces = loss(theta), torch.autograd.grad(loss(theta), theta)[0]
    close(pieces, whole)
    assert not torch.equal(pieces[1], whole[1])  # the sum is another one


def test_adam_counts_whole_moves_after_half_a_move_is_taken_back():
    adam, x = AdamMove(lr=0.1, beta1=0.9, clip=2.0), torch.zeros(1)
    rest, gradient = adam.at_rest(x), torch.ones(1)
    _, state = adam(x, rest, gradient)
    _, again = adam(x, (rest + state) / 2, gradient)
    assert again[-2:].tolist() == [1.0, 1.0]  # the usual norm and the count, as at a first move


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        (DD, {}, r"lower lr_images \(0.01\), or inner_steps"),
        (RAT, {}, r"lower lr_images \(0.01\), or inner_steps"),
        (RAT, {"learn_step_size": True}, r"lower lr_images \(0.01\) or lr_step_size \(1e-05\), or inner_steps"),
    ],
)
def test_advice_names_only_settings_that_act(config, changes, said):
    config = replace(config, **changes)
    first, failing = begin(config), begin(replace(config, guard=GuardConfig(max_loss=1e-6, retries=0)))
    first.advance()
    failing.restore(first.state())
    with pytest.raises(Diverged, match=said):
        failing.advance()


@pytest.mark.parametrize("config", [DD, RAT], ids=["dd", "rat-bptt"])
@pytest.mark.parametrize("rule", ["sgd", "satm", "vasso"])
def test_every_rule_plugs_in_and_resumes_to_the_bit(config, rule):
    chosen = replace(config, outer=OUTER.get(rule).config(), diagnostics_every=2)
    whole = begin(chosen)
    measured = [whole.advance() for _ in range(3)]
    first = begin(chosen)
    first.advance()
    second = begin(chosen)
    second.restore(load(save(first.state())))
    assert [second.advance() for _ in range(2)] == measured[1:]
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())
    outcome = second.result()
    assert outcome.step_size is None
    plain = begin(replace(config, diagnostics_every=2))
    for _ in range(3):
        plain.advance()
    assert torch.equal(plain.images, whole.images) == (rule == "sgd")
    assert rule == "sgd" or all(each["loss_perturbed"] != each["loss"] for each in measured)


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        (DD, {"window": 2}, "window 2: dd differentiates every step"),
        (DD, {"batch_syn": 2}, "batch_syn 2: dd's steps see parts of the set in turn"),
        (DD, {"passes": 0}, "passes 0: expected at least 1"),
        (DD, {"step_size_derivative": "first_order"}, "step_size_derivative first_order: each step has"),
        (DD, {"lr_step_size": 1e-4}, "lr_step_size 0.0001: dd learns its step sizes by the Adam of the images"),
        (DD, {"log_step_size": True}, "log_step_size True: dd learns"),
        (DD, {"engine": "tesla"}, "engine tesla: it drops paths"),
        (RAT, {"first_place": 5}, "first_place 5: with 6 inner steps and a window of 2, expected 0 to 4"),
        (RAT, {"outer": OUTER.get("satm").config(tau=4)}, "outer.tau: the window of this method has no fixed place"),
        (RAT, {"batch_real": 0}, "batch_real 0: expected at least 1 image"),
        (RAT, {"clip": 0.0}, "clip 0.0: expected a number above 0"),
        (RAT, {"halvings": -1}, "halvings -1: expected 0 or more"),
        (RAT, {"second_moment": 1.0}, "second_moment 1.0: expected"),
    ],
)
def test_what_cannot_work_is_refused_by_name(config, changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(config, **changes)


def test_presets_take_another_outer_rule_and_augment_as_suits_the_data():
    preset = find_preset("cifar10", 10, method="rat-bptt", outer="satm")
    assert preset.name == "rat-bptt+satm/cifar10/ipc10"
    assert any("numbers of the outer optimiser" in each for each in preset.departures)
    digits = find_preset("digits", 1, method="rat-bptt", profile="smoke", image_size=16).config.settings
    assert (digits.augment, digits.augment_real) == ("rotate", "rotate")
    with pytest.raises(UnknownName):
        replace(RAT, augment_real="flop")
    assert isinstance(begin(RAT).aim({"labels": torch.zeros(6)}, task(image_data(), ()).seed).loss, RealLoss)
