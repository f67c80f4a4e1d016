"""Every trajectory method gives what its paper's equations give, and methods that must agree in a limit do."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from satm import networks
from satm.errors import ConfigError
from satm.methods import METHODS, TrajectoryConfig, class_major_labels, outer
from satm.methods.outer import Rule
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.rng import Seed
from tests.helpers import ARCHITECTURE, SATM, experts, image_data, in_float64, settings, task

close = partial(torch.testing.assert_close, rtol=1e-8, atol=1e-10)
SHARED = {each.name for each in fields(METHODS.get("mtt").config)} - {"outer", "window", "step_size_derivative"}


def config(method, **changes):
    """A configuration of `method` with the numbers of the tests' `SATM`; its own settings keep their defaults."""
    kind = METHODS.get(method).config
    numbers = {name: getattr(SATM, name) for name in SHARED - {"momentum_step_size", "init", "engine"}}
    return kind(**numbers | {"outer_steps": 4} | changes)


class Witness(Rule):
    """Passes each problem on to another rule, and keeps the problems."""

    def __init__(self, rule):
        self.rule, self.problems = rule, []

    def __call__(self, problem, generator, redraw, state):
        self.problems.append(problem)
        return self.rule(problem, generator, redraw, state)

    def init(self, images):
        return self.rule.init(images)

    def moved(self, state, images):
        return self.rule.moved(state, images)

    def averaged(self, state):
        return self.rule.averaged(state)


@pytest.fixture
def data():
    return image_data()


def begin(data, trajectories, chosen, **changes):
    return TrajectoryCondensation(task(data, trajectories, **changes), chosen)


def run(data, trajectories, chosen, steps=4):
    """A few outer steps in float64.

    Returns the start (φ, labels, α), the problems, then (φ, labels, α) and the metrics after every step, and the
    condensation.
    """
    witness = Witness(chosen.outer)
    condensation = TrajectoryCondensation(task(data, trajectories), chosen, witness)
    in_float64(condensation)
    start = condensation.images, condensation.labels, condensation.step_size
    states, measured = [], []
    for _ in range(steps):
        measured.append(condensation.advance())
        states.append((condensation.images, condensation.labels, condensation.step_size))
    return start, witness.problems, states, measured, condensation


# The papers' equations, one network evaluation at a time

NETWORK = networks.plan(ARCHITECTURE, num_classes=3, image_shape=(1, 8, 8)).create(Seed(99)).double()


def logits(theta, images):
    shapes = {name: p.shape for name, p in NETWORK.named_parameters()}
    parts = theta.split([shape.numel() for shape in shapes.values()])
    named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    return torch.func.functional_call(NETWORK, named, images)


def soft_cross_entropy(scores, targets):
    """−Σ_k y_k log p_k, mean over the batch."""
    if targets.ndim == 1:
        targets = torch.eye(3, dtype=scores.dtype)[targets]
    return -(targets * (scores - scores.exp().sum(1, keepdim=True).log())).sum(1).mean()


def inner_gradient(theta, phi, targets, loop, i):
    batch = torch.arange(len(phi)) if loop.batches[i] is None else loop.batches[i]
    loss = soft_cross_entropy(logits(theta, loop.transforms[i](phi[batch])), targets[batch])
    return torch.autograd.grad(loss, theta, create_graph=True)[0]


def distance(theta, problem, share):
    """The loss on the parameters that are left if the first `share` of them is not matched (PAD)."""
    first = int(share * len(theta))
    start, target, theta = problem.loss.start[first:], problem.loss.target[first:], theta[first:]
    return ((theta - target) ** 2).sum() / ((start - target) ** 2).sum()


def matching(phi, targets, alpha, problem, share=0.0):
    """MTT's loss, differentiable through every step."""
    theta = problem.loss.start.clone().requires_grad_()
    for i in range(problem.loop.steps):
        theta = theta - alpha * inner_gradient(theta, phi, targets, problem.loop, i)
    return distance(theta, problem, share)


def momentum(value, velocity, gradient, lr, mu):
    velocity = mu * velocity + gradient
    return value - lr * velocity, velocity


@pytest.mark.parametrize(
    "changes", [{}, {"batch_syn": None, "augment": None}, {"momentum_step_size": 0.0}, {"match_from": 0.4}]
)
def test_mtt_is_its_papers_loss_and_gradient(data, changes):
    chosen = config("mtt", lr_step_size=1e-4, **changes)
    (phi, labels, alpha), problems, states, measured, _ = run(data, experts(data), chosen)
    v_phi, v_alpha = torch.zeros_like(phi), 0.0
    for problem, (images, _, step_size), seen in zip(problems, states, measured, strict=True):
        phi, alpha = phi.detach().requires_grad_(), alpha.detach().requires_grad_()
        loss = matching(phi, labels, alpha, problem, chosen.match_from)
        d_phi, d_alpha = torch.autograd.grad(loss, [phi, alpha])
        assert seen["loss"] == pytest.approx(loss.item(), rel=1e-10)
        phi, v_phi = momentum(phi, v_phi, d_phi, chosen.lr_images, 0.5)
        alpha, v_alpha = momentum(alpha, v_alpha, d_alpha, 1e-4, chosen.momentum_step_size)
        close(images, phi)
        close(step_size, alpha)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_leaves_nothing_to_match_is_refused(share):
    with pytest.raises(ConfigError, match=r"match_from .*: expected a share of the parameters, 0 ≤ match_from < 1"):
        config("mtt", match_from=share)


def test_tesla_is_its_papers_two_passes(data):
    """F = ‖θ_0 − α Σ g_i − θ*‖²/δ with every θ_i constant. The labels are softmax of θ*'s logits, φ not augmented."""
    chosen = config("tesla", lr_step_size=1e-4, labels="teacher")
    (phi, _, alpha), problems, states, _, _ = run(data, experts(data), chosen)
    v_phi, v_alpha = torch.zeros_like(phi), 0.0
    for problem, (images, labels, step_size) in zip(problems, states, strict=True):
        start, target = problem.loss.start, problem.loss.target
        delta = ((start - target) ** 2).sum()
        teacher = logits(target, phi.detach()).softmax(1).detach()
        close(labels, teacher)
        thetas, total = [start], torch.zeros_like(start)
        for i in range(problem.loop.steps):
            theta = thetas[-1].clone().requires_grad_()
            g = inner_gradient(theta, phi.detach(), teacher, problem.loop, i).detach()
            total = total + g
            thetas.append(thetas[-1] - alpha * g)
        phi = phi.detach().requires_grad_()
        d_phi = torch.zeros_like(phi)
        for i in range(problem.loop.steps):
            theta = thetas[i].clone().requires_grad_()
            g = inner_gradient(theta, phi, teacher, problem.loop, i)
            factor = 2 * (alpha * (target - start) + alpha**2 * total) / delta
            d_phi = d_phi + torch.autograd.grad(factor @ g, phi)[0]
        d_alpha = 2 * (start - alpha * total - target) @ -total / delta
        phi, v_phi = momentum(phi, v_phi, d_phi, chosen.lr_images, 0.5)
        alpha, v_alpha = momentum(alpha, v_alpha, d_alpha, 1e-4, 0.5)
        close(images, phi)
        close(step_size, alpha)


@pytest.mark.parametrize("changes", [{}, {"threshold": 0.9}, {"outer": outer.SGD(), "batch_syn": None}])
def test_datm_is_its_papers_loss_with_learned_labels(data, changes):
    """y, φ and α descend F together. A step with a loss above the threshold changes nothing."""
    chosen = config("datm", lr_labels=5.0, lr_step_size=1e-5, **{"threshold": None} | changes)
    (phi, y, alpha), problems, states, measured, _ = run(data, experts(data), chosen)
    v_phi, v_y, v_alpha = torch.zeros_like(phi), torch.zeros_like(y), 0.0
    skipped = 0
    for problem, (images, labels, step_size), seen in zip(problems, states, measured, strict=True):
        phi, y, alpha = (each.detach().requires_grad_() for each in (phi, y, alpha))
        loss = matching(phi, y.softmax(1), alpha, problem)
        d_phi, d_y, d_alpha = torch.autograd.grad(loss, [phi, y, alpha])
        if chosen.threshold is not None and loss > chosen.threshold:
            assert seen["event.skipped_at_loss"] == pytest.approx(loss.item(), rel=1e-9)
            skipped += 1
        else:
            assert "event.skipped_at_loss" not in seen
            phi, v_phi = momentum(phi, v_phi, d_phi, chosen.lr_images, 0.5)
            y, v_y = momentum(y, v_y, d_y, 5.0, 0.9)
            alpha, v_alpha = momentum(alpha, v_alpha, d_alpha, 1e-5, 0.5)
        close(images, phi)
        close(labels, y)
        close(step_size, alpha)
    assert (skipped > 0) == (chosen.threshold is not None)


def test_ftd_is_mtt_with_an_average_beside_it(data):
    flat = experts(data)
    chosen = config("ftd", outer=outer.EMA(decay=0.7))
    start, _, states, _, condensation = run(data, flat, chosen)
    _, _, plain, _, _ = run(data, experts(data), config("mtt"))
    average = start[0]
    for (images, _, _), (mtt, _, _) in zip(states, plain, strict=True):
        close(images, mtt)
        average = 0.7 * average + 0.3 * images
    learnt = condensation.result()
    close(learnt.images, average)
    close(learnt.siblings["raw"].images, states[-1][0])


# Limits


def test_satm_without_noise_and_perturbation_over_the_full_window_is_mtt(data):
    mtt = run(data, experts(data), config("mtt", lr_step_size=1e-4))[2]
    limit = settings(SATM, rho=0.0, gamma=0.0, window=6, lr_step_size=1e-4, momentum_step_size=0.5)
    satm = run(data, experts(data), replace(limit, step_size_derivative="exact"))[2]
    for one, other in zip(satm, mtt, strict=True):
        for found, expected in zip(one, other, strict=True):
            close(found, expected)
    printed = run(data, experts(data), limit)[2]  # Eq. 10 is another derivative: φ is the same after one step, α is not
    close(printed[0][0], mtt[0][0])
    assert not torch.allclose(printed[0][2], mtt[0][2], rtol=1e-9, atol=0)


@pytest.mark.parametrize("window", [1, 3, 6])
def test_a_derivative_of_the_step_size_is_the_one_that_is_named(data, window):
    found = {}
    for name in ("first_order", "taped", "exact"):
        chosen = config("mtt", window=window, step_size_derivative=name)
        start, problems, _, _, _ = run(data, experts(data), chosen, steps=1)
        update = chosen.outer(problems[0], Seed(0).generator(), pytest.fail, {})
        found[name] = update.step_size
        alpha = start[2].clone().requires_grad_()
        exact = torch.autograd.grad(matching(start[0], start[1], alpha, problems[0]), alpha)[0]
    close(found["exact"], exact)
    assert torch.allclose(found["taped"], exact, rtol=1e-8) == (window == 6)
    assert not torch.allclose(found["first_order"], exact, rtol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"tau": 4}, {"window": 6}, {"redraw": True}])
def test_satm_without_noise_is_sam(data, changes):
    rule = {name: value for name, value in changes.items() if name != "window"}
    satm = settings(SATM, gamma=0.0, **changes)
    sam = replace(satm, outer=outer.SAM(rho=satm.outer.rho, **rule))
    for one, other in zip(run(data, experts(data), satm)[2], run(data, experts(data), sam)[2], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_tesla_with_one_inner_step_and_hard_labels_is_mtt(data):
    one = {"inner_steps": 1, "lr_step_size": 1e-4}
    tesla = run(data, experts(data), config("tesla", labels="hard", **one))[2]
    mtt = run(data, experts(data), config("mtt", **one))[2]
    for found, expected in zip(tesla, mtt, strict=True):
        for each, other in zip(found, expected, strict=True):
            close(each, other)
    longer = run(data, experts(data), config("tesla", labels="hard"))[2]
    assert not torch.allclose(longer[0][0], run(data, experts(data), config("mtt"))[2][0][0], rtol=1e-4)


def test_datm_without_its_own_settings_is_mtt(data):
    plain = {"labels": "hard", "init": "real", "threshold": None}
    datm = run(data, experts(data), config("datm", **plain))[2]
    mtt = run(data, experts(data), config("mtt"))[2]
    assert all(torch.equal(a, b) for one, other in zip(datm, mtt, strict=True) for a, b in zip(one, other, strict=True))


def test_an_average_reaches_as_far_back_as_there_are_steps(data):
    condensation = begin(data, experts(data), config("ftd", outer_steps=10))
    average = condensation.images
    for _ in range(3):
        condensation.advance()
        average = 0.5 * average + 0.5 * condensation.images  # d = 1 − 5/10
    torch.testing.assert_close(condensation.result().images, average)


def test_an_average_without_memory_is_the_raw_set(data):
    condensation = run(data, experts(data), config("mtt", outer=outer.EMA(decay=0.0)))[4]
    learnt = condensation.result()
    assert torch.equal(learnt.images, learnt.siblings["raw"].images)
    assert learnt.siblings["raw"].siblings == {}


# DATM's start epochs and first images


def test_the_range_of_start_epochs_grows_to_its_end():
    chosen = config("datm", max_start_epoch=10, min_start_epoch=1, first_upper_epoch=4, expansion_steps=6)
    ranges = [chosen.starts_at(step) for step in range(8)]
    assert [each.start for each in ranges] == [1] * 8
    assert [each.stop for each in ranges] == [4, 5, 6, 7, 8, 9, 10, 10]
    fixed = config("datm", max_start_epoch=10)
    assert fixed.starts_at(0) == fixed.starts_at(99) == range(10)


def test_start_epochs_are_drawn_from_the_range(data):
    chosen = config("datm", max_start_epoch=3, min_start_epoch=1, first_upper_epoch=2, expansion_steps=6, inner_steps=1)
    condensation = begin(data, experts(data, epochs=5), replace(chosen, outer_steps=16, lr_images=1e-6))
    drawn = [condensation.advance()["start_epoch"] for _ in range(16)]
    assert set(drawn[:6]) == {1}
    assert set(drawn[6:]) == {1, 2}


def test_images_begin_as_ones_an_expert_gets_right_with_what_the_experts_say(data):
    trained = experts(data, epochs=25, lr=0.2, momentum=0.5, augment=None)
    condensation = begin(data, trained, config("datm", teacher_epoch=25))
    images, labels = condensation.images.double(), condensation.labels
    classes = class_major_labels(3, 2)
    said = torch.stack([logits(each.snapshot(25).double(), images) for each in trained])
    right = said.argmax(2) == classes
    assert right[0].all()  # by now the first expert gets enough images of every class right
    for image, label in enumerate(classes):
        expected = said[right[:, image], image].mean(0)
        torch.testing.assert_close(labels[image].double(), expected, rtol=1e-4, atol=1e-4)
        assert labels[image].argmax() == label
    real = data.train.batch(torch.arange(len(data.train)))[0]
    for image, label in zip(condensation.images, classes, strict=True):
        assert label in data.train.labels[(real == image).all(dim=(1, 2, 3))]


@pytest.mark.parametrize(("method", "own"), [("datm", {}), ("tesla", {"labels": "teacher"})])
def test_training_the_experts_on_changes_nothing(data, method, own):
    short = begin(data, experts(data, epochs=3, lr=0.2), config(method, **own))
    longer = experts(data, epochs=8, lr=0.2)
    assert {each.epochs for each in short.task.experts} == {3}
    assert {each.epochs for each in longer} == {8}
    again = begin(data, longer, config(method, **own))
    assert [again.advance() for _ in range(2)] == [short.advance() for _ in range(2)]
    one, other = short.state(), again.state()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    if method == "datm":
        later = begin(data, longer, config(method, teacher_epoch=8))
        assert not torch.equal(later.labels, begin(data, longer, config(method)).labels)


def test_an_epoch_of_the_teacher_is_one_that_experts_need(data):
    from satm.errors import ExpertError

    chosen = config("datm", teacher_epoch=9)
    assert (chosen.stored_epochs(), config("datm", teacher_epoch=0).stored_epochs()) == (9, 3)
    with pytest.raises(ExpertError, match="teacher_epoch 9, max_start_epoch 2 and expert_epochs 2 need experts of 9"):
        begin(data, experts(data), chosen)


def test_labels_that_no_expert_gets_right_still_name_their_class(data):
    untrained = experts(data, epochs=4, lr=1e-6)
    condensation = begin(data, untrained, config("datm"), ipc=8)
    assert condensation.labels.argmax(1).tolist() == class_major_labels(3, 8).tolist()
    assert len({tuple(image.flatten().tolist()) for image in condensation.images}) == 24


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_start_epoch": 2}, r"start epochs from 2 below 2, later 2: expected 0 ≤ min_start_epoch < first_upper"),
        ({"first_upper_epoch": 3}, r"start epochs from 0 below 3, later 2"),
        ({"expansion_steps": 0}, "expansion_steps 0: expected at least 1"),
        ({"threshold": 0.0}, "threshold 0.0: expected a loss above 0, or null for none"),
        ({"teacher_epoch": -1}, "teacher_epoch -1: expected 0 or more, or null"),
        ({"lr_labels": 0.0}, "lr_labels 0.0: expected a number above 0"),
        ({"momentum_labels": 1.0}, "momentum_labels 1.0: expected 0 ≤ momentum < 1"),
    ],
)
def test_datms_settings_that_cannot_work_are_one_line(changes, message):

    with pytest.raises(ConfigError, match=message):
        config("datm", **changes)


# Every method under every rule

PAIRS = [("mtt", name) for name in outer.OUTER]
MATCHING = [name for name in METHODS.known() if issubclass(METHODS.get(name).config, TrajectoryConfig)]
MATCHING.remove("mtt")
PAIRS += [(method, name) for method in MATCHING for name in ("satm", "vasso")]


@pytest.mark.parametrize(("method", "rule"), PAIRS)
def test_every_method_takes_every_rule_and_resumes_to_the_bit(data, method, rule):
    from safetensors.torch import load, save

    chosen = config(method, inner_steps=4, window=2, outer=outer.OUTER.get(rule).config())
    trained = experts(data)
    whole = begin(data, trained, chosen)
    measured = [whole.advance() for _ in range(3)]
    assert all(0 < each["loss"] < 10 for each in measured)
    first = begin(data, trained, chosen)
    first.advance()
    saved = save(first.state())
    second = begin(data, trained, chosen)
    second.restore(load(saved))
    assert [second.advance() for _ in range(2)] == measured[1:]
    one, other = whole.state(), second.state()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(whole.result().images, second.result().images)


def test_datms_first_labels_are_those_of_its_code(data):
    """The mean of the experts that are right; from real images all logits of one expert (DATM.py at 97ae510)."""
    trained = experts(data)
    last = [expert.snapshot(config("datm").teacher()).double() for expert in trained]

    def first(**changes):
        condensation = begin(data, trained, config("datm", **changes))
        images = condensation.images.double()
        return images, condensation.labels.double(), torch.stack([logits(theta, images) for theta in last]).detach()

    near = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
    _, labels, found = first(init="real")
    classes = class_major_labels(3, len(labels) // 3)
    near(labels, found[0])
    assert (labels.argmax(1) != classes).any()  # right or wrong
    _, labels, found = first(init="right", first_labels="one")
    near(labels, found[0])
    for changes in ({"init": "real", "first_labels": "right"}, {"init": "right"}, {"init": "noise"}):
        _, labels, found = first(**changes)
        right = found.argmax(2) == classes
        for row in right.any(0).nonzero().flatten():
            near(labels[row], found[right[:, row], row].mean(0))
        assert (labels.argmax(1) == classes).all()
