"""A trajectory condensation: updates of φ and α, stopping and continuing, measurements, and refused settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from satm.data import load as load_data
from satm.engine import HigherPolicy, LastSteps
from satm.errors import ConfigError, ExpertError, UnknownName
from satm.methods import METHODS, class_major_labels, random_images
from satm.methods.outer import SGD, OuterProblem, OuterUpdate, Rule
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.diagnosis import diagnose
from satm.methods.trajectory.guard import GuardConfig
from satm.rng import Seed
from tests.helpers import SATM, experts, image_data, normal, settings, task, tiny_case

FULL = settings(SATM, outer_steps=5, momentum_step_size=0.5, redraw=True, tau=4, diagnostics_every=2)


@pytest.fixture
def data():
    return image_data()


@pytest.fixture
def trajectories(data):
    return experts(data)


def begin(data, trajectories, config=SATM, **changes):
    return METHODS.get("satm").begin(task(data, trajectories, **changes), config)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# The same bits


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_same_seed_same_bits_whatever_else_draws(data, trajectories, dropout):
    def condensed(seed, noise):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        condensation = begin(data, trajectories, FULL, seed=Seed(seed))
        condensation.network = nn.Sequential(nn.Dropout(dropout), condensation.network)
        measured = [condensation.advance() for _ in range(3)]
        assert torch.equal(torch.get_rng_state(), before)
        return condensation.state(), measured

    one, again, other = condensed(0, 1), condensed(0, 2), condensed(1, 1)
    assert same(one[0], again[0])
    assert one[1] == again[1]
    assert not torch.equal(one[0]["images"], other[0]["images"])


@pytest.mark.parametrize("stop", [0, 2, 5])
def test_stopped_and_restored_is_uninterrupted_to_the_bit(data, trajectories, stop):
    stopped_and_restored(data, trajectories, FULL, stop)


def test_stopped_and_restored_under_other_settings(data, trajectories):
    stopped_and_restored(data, trajectories, replace(FULL, log_step_size=True, init="noise", batch_syn=None), 3)


@pytest.mark.slow
def test_stopped_and_restored_on_photographs(real_data):
    whole = load_data("tiny-imagenet-20")
    data = replace(whole, train=whole.train.subset(torch.arange(0, len(whole.train), 10)), fingerprint="every tenth")
    stopped_and_restored(data, experts(data, epochs=3, count=1), FULL, 3)


def stopped_and_restored(data, trajectories, config, stop):
    whole = begin(data, trajectories, config)
    expected = [whole.advance() for _ in range(5)]
    first = begin(data, trajectories, config)
    measured = [first.advance() for _ in range(stop)]
    saved = save(first.state())  # in the form of a checkpoint
    first.advance()  # going on does not change what was saved
    second = begin(data, trajectories, config)
    second.restore(load(saved))
    assert second.step == stop
    measured += [second.advance() for _ in range(5 - stop)]
    assert measured == expected
    assert same(whole.state(), second.state())
    assert second.steps == second.step == 5
    assert torch.equal(second.result().images, whole.result().images)


def test_a_state_is_a_snapshot(data, trajectories):
    condensation = begin(data, trajectories)
    condensation.advance()
    state = condensation.state()
    kept = {name: value.clone() for name, value in state.items()}
    condensation.advance()
    assert same(state, kept)


def test_a_condensation_under_other_settings_leaves_this_one_unchanged(data, trajectories):
    condensation, plain = begin(data, trajectories), begin(data, trajectories)
    condensation.advance()
    plain.advance()
    changed = replace(SATM, inner_steps=5, outer=SGD())
    other = condensation.under(changed, full_batches_only=True)
    assert other.state().keys() < condensation.state().keys()  # it has no earlier state to fall back to
    assert all(torch.equal(value, condensation.state()[name]) for name, value in other.state().items())
    assert other.network is condensation.network
    loop = other._draw_loop(Seed(0).generator())
    assert [len(batch) for batch in loop.batches] == [4] * 5  # of 6 images; the smaller batches are left out
    other.advance()
    assert other.step == 2
    assert condensation.config == plain.config
    assert condensation.advance() == plain.advance()
    assert same(condensation.state(), plain.state())


# φ and α


def test_images_start_as_distinct_training_images_of_their_class(data, trajectories):
    condensation = begin(data, trajectories, ipc=12)
    learnt = condensation.result()
    assert learnt.labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert (learnt.label_kind, learnt.step_size) == ("hard", pytest.approx(SATM.step_size))
    for label in range(3):
        mine = {tuple(image.flatten().tolist()) for image in learnt.images[learnt.labels == label]}
        real = data.train.of_classes([label]).batch(torch.arange(12))[0]
        assert mine == {tuple(image.flatten().tolist()) for image in real}  # all twelve images, each once


def test_images_may_start_as_noise(data, trajectories):
    images = begin(data, trajectories, replace(SATM, init="noise"), ipc=12).images
    assert images.shape == (36, 1, 8, 8)
    assert images.mean().item() == pytest.approx(0, abs=0.1)
    assert images.std().item() == pytest.approx(1, abs=0.1)


@dataclass(frozen=True)
class Fixed(Rule):
    """A rule that always returns the same answer."""

    step_size: float
    images: float = 1.0

    def __call__(self, problem, generator, redraw, state):
        like = problem.at.images
        return OuterUpdate(
            images=torch.full_like(like, self.images),
            step_size=torch.tensor(self.step_size),
            perturbation=torch.zeros_like(like),
            measured={"loss": 1.0},
        )


def with_rule(data, trajectories, rule, **changes):
    """A condensation without limits on the length of a step: the directions of these rules are not hypergradients."""
    settings = {"guard": GuardConfig(max_update_ratio=None, max_step_size_growth=None, retries=1)} | changes
    return TrajectoryCondensation(task(data, trajectories), replace(SATM, **settings), rule)


EVENT = "event.step_size_projected_from"


def test_step_size_is_projected_and_the_projection_is_an_event(data, trajectories):
    condensation = with_rule(data, trajectories, Fixed(1.0), step_size=0.05, lr_step_size=0.02, min_step_size=0.005)
    measured = [condensation.advance() for _ in range(4)]
    assert [each["step_size"] for each in measured] == pytest.approx([0.03, 0.01, 0.005, 0.005])
    assert [each.get(EVENT) for each in measured] == [None, None, pytest.approx(-0.01), pytest.approx(-0.015)]
    assert condensation.result().step_size == pytest.approx(0.005)


def test_momentum_of_images_and_step_size(data, trajectories):
    condensation = with_rule(
        data, trajectories, Fixed(-1.0), lr_step_size=0.1, momentum_step_size=0.5, lr_images=0.2, momentum_images=0.9
    )
    start = condensation.images
    for _ in range(3):
        condensation.advance()
    # Velocities 1, 1 + μ, 1 + μ + μ².
    assert float(condensation.step_size) == pytest.approx(0.05 + 0.1 * (1 + 1.5 + 1.75))
    torch.testing.assert_close(condensation.images, start - 0.2 * (1 + 1.9 + 2.71))


def test_the_logarithm_of_the_step_size_may_be_learned(data, trajectories):
    """dF/d log α = α dF/dα, so log α ← log α − λ α dF/dα. α never reaches 0, and is still projected to α_min."""
    changes = {"step_size": 0.05, "lr_step_size": 2.0, "log_step_size": True, "min_step_size": 0.01}
    condensation = with_rule(data, trajectories, Fixed(4.0), **changes)
    alpha = 0.05
    for _ in range(3):
        alpha *= torch.tensor(-2.0 * alpha * 4.0).exp().item()
        measured = condensation.advance()
        assert measured["step_size"] == pytest.approx(alpha, rel=1e-5)
        assert EVENT not in measured
    steep = with_rule(data, trajectories, Fixed(400.0), **changes)
    measured = steep.advance()
    assert measured["step_size"] == pytest.approx(0.01)
    assert 0 < measured[EVENT] < 0.01


# What a rule gets


class Watching(Rule):
    """Plain descent that keeps the problems it gets."""

    def __init__(self):
        self.problems, self.redrawn = [], []

    def __call__(self, problem, generator, redraw, state):
        self.problems.append(problem)
        self.redrawn.append(redraw())
        found = problem.hypergradient(problem.at.images)
        return OuterUpdate(
            images=found.images,
            step_size=found.step_size,
            perturbation=torch.zeros_like(problem.at.images),
            measured={"loss": float(found.loss)},
        )


def watched(data, trajectories, steps=4, **changes):
    rule = Watching()
    condensation = with_rule(data, trajectories, rule, **changes)
    for _ in range(steps):
        condensation.advance()
    return rule


def test_every_outer_step_draws_its_own_segment_batches_and_augmentations(data, trajectories):
    rule = watched(data, trajectories, steps=8, batch_syn=4)
    first, second = rule.problems[:2]
    for one, other in [(first.loop, second.loop), (first.loop, rule.redrawn[0])]:
        assert any(not torch.equal(a, b) for a, b in zip(one.batches, other.batches, strict=True))
        batches = [first.at.images[batch] for batch in first.loop.batches]
        pairs = zip(batches, one.transforms, other.transforms, strict=True)
        assert any(not torch.equal(a(images), b(images)) for images, a, b in pairs)
    for problem in rule.problems:
        assert problem.truncation == LastSteps(3)
        assert problem.loss(problem.theta_start).item() == pytest.approx(1)
    starts = {float(problem.theta_start.sum()) for problem in rule.problems}
    assert starts <= {float(each.snapshot(t).sum()) for each in trajectories for t in (0, 1)}
    assert len(starts) > 2


def test_mini_batches_pass_over_all_images_before_any_comes_again(data, trajectories):
    loop = watched(data, trajectories, steps=1, inner_steps=5, batch_syn=4, window=2).problems[0].loop
    assert [len(batch) for batch in loop.batches] == [4, 2, 4, 2, 4]  # of 6 images
    for first, second in (loop.batches[:2], loop.batches[2:4]):
        assert sorted([*first.tolist(), *second.tolist()]) == list(range(6))


@pytest.mark.parametrize("batch_syn", [None, 6, 100])
def test_a_mini_batch_of_all_images_is_all_images(data, trajectories, batch_syn):
    loop = watched(data, trajectories, steps=1, batch_syn=batch_syn, augment=None).problems[0].loop
    assert loop.batches == (None,) * 6
    assert torch.equal(loop.transforms[0](data.train.images), data.train.images)


def test_start_epochs_are_below_or_up_to_the_maximum(data):
    trajectories = experts(data, epochs=3, count=1)
    for reading, epochs in (("below", {0}), ("up_to", {0, 1})):
        changes = {"max_start_epoch": 1, "start_epochs": reading, "inner_steps": 2, "window": 1, "augment": None}
        condensation = begin(data, trajectories, replace(SATM, **changes))
        assert {condensation.advance()["start_epoch"] for _ in range(12)} == epochs


# Measurements


def test_sharpness_and_the_exact_derivative_are_of_clean_images_on_the_same_segment_and_draws():
    """The loop unrolled by hand gives L(φ + ε) − L(φ) over all N steps, Eq. 10, and dF/dα by finite differences."""
    case = tiny_case()
    epsilon = 0.1 * normal(*case.at.images.shape, name="epsilon")
    problem = OuterProblem(
        loop=case.loop,
        at=case.at,
        theta_start=case.theta,
        loss=case.loss,
        policy=HigherPolicy(),
        truncation=LastSteps(2),
    )
    measured = diagnose(problem, epsilon)
    clean, perturbed = case.value(case.at), case.value(case.at._replace(images=case.at.images + epsilon))
    assert measured["loss_clean"] == pytest.approx(clean, rel=1e-12)
    assert measured["sharpness"] == pytest.approx(perturbed - clean, rel=1e-9)
    thetas, gradients = case.unroll(case.at)
    (outer,) = torch.autograd.grad(case.loss(thetas[-1]), thetas[-1])
    assert measured["step_size_derivative"] == pytest.approx(-float(outer @ sum(gradients).detach()), rel=1e-9)
    h = 1e-5
    ahead, behind = (case.value(case.at._replace(step_size=case.at.step_size + d)) for d in (h, -h))
    assert measured["step_size_derivative_exact"] == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


def test_every_outer_step_is_measured_and_every_kth_diagnosed(data, trajectories):
    condensation = begin(data, trajectories, FULL)
    always = {
        "loss",
        "loss_perturbed",
        "hypergradient_norm",
        "hypergradient_norm_perturbed",
        "relative_rise",
        "relative_rise_linear",
        "noise_ratio",
        "expert",
        "start_epoch",
        "step_size",
        "update_ratio",
    }
    sometimes = {"sharpness", "loss_clean", "step_size_derivative", "step_size_derivative_exact"}
    for step in range(5):
        names = {name for name in condensation.advance() if not name.startswith("event.")}
        assert names == (always | sometimes if step % 2 == 0 else always)


def test_measuring_changes_nothing(data, trajectories):
    with_, without = (begin(data, trajectories, replace(FULL, diagnostics_every=k)) for k in (1, 0))
    for _ in range(3):
        with_.advance()
        without.advance()
    assert same(with_.state(), without.state())


def test_matching_gets_better(data):
    """On one segment and without random draws, outer steps lower the matching loss."""
    config = settings(SATM, max_start_epoch=1, batch_syn=None, augment=None, gamma=0.0, step_size=0.2, lr_images=2.0)
    condensation = begin(data, experts(data, count=1), config)
    losses = [condensation.advance()["loss"] for _ in range(25)]
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5])


# Refused settings


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"window": 7}, ConfigError, "window 7 is longer than the inner loop of 6 steps; lower window"),
        ({"window": 0}, ConfigError, "window 0: expected at least 1 differentiated step"),
        ({"tau": 2}, ConfigError, "tau 2: with 6 inner steps and a window of 3, expected 3 ≤ tau ≤ 5"),
        ({"tau": 6}, ConfigError, "tau 6: with 6 inner steps and a window of 3, expected 3 ≤ tau ≤ 5"),
        ({"inner_steps": 0, "window": None}, ConfigError, "inner_steps 0: expected at least 1"),
        ({"expert_epochs": 0}, ConfigError, "expert_epochs 0: expected at least 1"),
        ({"max_start_epoch": 0}, ConfigError, "max_start_epoch 0: no start epoch is left; expected at least 1"),
        ({"outer_steps": -1}, ConfigError, "outer_steps -1: expected 0 or more"),
        ({"diagnostics_every": -1}, ConfigError, "diagnostics_every -1: expected 0 or more"),
        ({"batch_syn": 0}, ConfigError, "batch_syn 0: expected at least 1 image, or null for all"),
        ({"lr_images": 0.0}, ConfigError, "lr_images 0.0: expected a finite number above 0"),
        ({"lr_step_size": float("nan")}, ConfigError, "lr_step_size nan: expected a finite number above 0"),
        ({"step_size": float("inf")}, ConfigError, "step_size inf: expected a finite number above 0"),
        ({"momentum_images": 1.0}, ConfigError, "momentum_images 1.0: expected 0 ≤ momentum < 1"),
        ({"step_size": 1e-6}, ConfigError, "step_size 1e-06 lies below min_step_size 1e-05; raise it"),
        ({"rho": -1.0}, ConfigError, "outer.rho -1: expected a finite number of 0 or more"),
        ({"augment": "crap"}, UnknownName, "unknown augmentation 'crap': did you mean crop"),
    ],
)
def test_settings_that_cannot_work_are_one_line(changes, error, message):
    with pytest.raises(error) as caught:
        settings(SATM, **changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_window_is_a_third_unless_it_is_given():
    windows = {n: replace(SATM, inner_steps=n, window=None).truncation().window for n in (1, 2, 3, 5, 6, 50)}
    assert windows == {1: 1, 2: 1, 3: 1, 5: 1, 6: 2, 50: 16}
    assert replace(SATM, window=2).iota == 4
    assert [settings(SATM, window=2, tau=tau).outer.second_start(4) for tau in (None, 5)] == [4, 5]


def test_the_epochs_an_expert_needs():
    needed = METHODS.get("satm").expert_epochs
    assert needed(replace(SATM, max_start_epoch=5, expert_epochs=3)) == 4 + 3
    assert needed(replace(SATM, max_start_epoch=5, expert_epochs=3, start_epochs="up_to")) == 5 + 3


@pytest.mark.parametrize(
    "changes", [{"expert_epochs": 4}, {"max_start_epoch": 4}, {"max_start_epoch": 3, "start_epochs": "up_to"}]
)
def test_experts_that_are_too_short_are_one_line_before_the_first_step(data, trajectories, changes):
    config = replace(SATM, **changes)
    with pytest.raises(ExpertError, match=r"need experts of 5 epochs, an expert has 4; train them on, or lower"):
        begin(data, trajectories, config)
    begin(data, experts(data, epochs=5), config).advance()


def test_no_experts_at_all_are_one_line(data):
    with pytest.raises(ExpertError, match=r"need experts of 3 epochs, there are no experts"):
        begin(data, [])


@pytest.mark.parametrize("ipc", [0, 13])
def test_more_images_than_a_class_has_are_refused(data, trajectories, ipc):
    with pytest.raises(ConfigError, match=rf"^ipc {ipc}: the smallest class of patterns has 12 .*; choose 1 to 12$"):
        task(data, trajectories, ipc=ipc)
    with pytest.raises(ConfigError, match="ipc 12: the smallest class of patterns has 1"):
        task(replace(data, train=data.train.subset(torch.tensor([0, 1, 2, 3]))), trajectories, ipc=12)


# `random`


def test_random_images_are_fresh_draws_of_each_class(data):
    one, again, other = (random_images(data, 3, Seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    real = data.train.batch(torch.arange(len(data.train)))[0]
    for image, label in zip(one, class_major_labels(3, 3), strict=True):
        assert data.train.labels[(real == image).all(dim=(1, 2, 3))].tolist() == [label]


def test_random_is_a_condensation_of_no_steps(data):
    method = METHODS.get("random")
    assert method.expert_epochs(method.config()) is None
    condensation = method.begin(task(data, []), method.config())
    assert (condensation.step, condensation.steps, condensation.state()) == (0, 0, {})
    learnt = condensation.result()
    assert torch.equal(learnt.images, random_images(data, 2, Seed(0).child("random")))
    assert (learnt.labels.tolist(), learnt.step_size) == ([0, 0, 1, 1, 2, 2], None)


def test_unknown_methods_are_offered_the_nearest():
    with pytest.raises(UnknownName, match="unknown method 'stam': did you mean satm"):
        METHODS.get("stam")
    assert {"datm", "dc", "dm", "dsa", "ftd", "herding", "kcenter", "mdc", "mtt", "random", "rded"} < set(METHODS)
    assert {"satm", "satm-da", "satm-fi", "tesla"} < set(METHODS)
