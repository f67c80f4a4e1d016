"""Steps that keep their activations, against `higher` and against steps that keep nothing."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from satm import networks
from satm.engine import HigherPolicy, LastSteps, ReplayPolicy, flatten, halves, kept_bytes, make_step
from satm.machine.cut import CannotCut
from satm.rng import Seed
from tests.helpers import normal, refuse_compiling
from tests.satm.engine.test_compiled import CASES, N, Tied, agree, convnet, problem


@pytest.fixture(autouse=True)
def _uncompiled(monkeypatch):
    """The functions of a step run as they are handed to the compiler, but uncompiled."""
    refuse_compiling(monkeypatch)


def ignore(message):
    pass


@CASES
def test_replay_is_higher_for_every_number_of_kept_steps(make, soft, batches, augmented):
    given = problem(make(), soft=soft, batches=batches, augmented=augmented)
    step = make_step(given["loop"].network, notify=ignore, at_once=2 if batches else None)
    for window in (1, 3, N):
        how = {"truncation": LastSteps(window), "keep": N - window}
        expected = HigherPolicy()(**given, **how)
        for kept_steps in (2, N):
            agree(ReplayPolicy(step, kept_steps)(**given, **how), expected, rtol=1e-10)


@pytest.mark.slow
def test_compiled_replay_with_kept_steps_is_higher(monkeypatch):
    monkeypatch.undo()
    given = problem(convnet(), soft=True, batches=True, augmented=True)
    step = make_step(given["loop"].network, notify=pytest.fail)
    for window in (1, N):
        how = {"truncation": LastSteps(window), "keep": N - window}
        agree(ReplayPolicy(step, 2)(**given, **how), HigherPolicy()(**given, **how), rtol=1e-10)


@pytest.mark.parametrize(
    "architecture",
    ["convnet3_w8", "alexnet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vgg11", "resnet18"))],
)
def test_a_product_from_kept_activations_needs_six_of_eight_passes(architecture):
    network = networks.create(architecture, num_classes=3, image_shape=(3, 32, 32), seed=Seed(0)).double()
    step = make_step(network, notify=ignore)
    theta, images, labels = flatten(network.parameters()).detach(), normal(2, 3, 32, 32, name="x"), torch.arange(2)
    v = normal(len(theta), name="v")

    def operations(function, *arguments):
        function(*arguments)  # the counter cannot count while torch traces the function
        with FlopCounterMode(display=False) as counter:
            found = function(*arguments)
        return counter.get_total_flops(), found

    plain, gradient = operations(step.gradient, theta, images, labels)
    half, (same, kept) = operations(step.halves.gradient, theta, images, labels)
    assert half == plain
    torch.testing.assert_close(same, gradient)
    rest, product = operations(step.halves.product, theta, images, labels, v, kept)
    # 6 passes of 3. The first layer needs no cotangent of its input in the gradient, so the share is not exact.
    assert 1.9 < rest / plain < 2.1
    assert kept_bytes(kept) > 0
    for found, expected in zip(product, step.product(theta, images, labels, v), strict=True):
        if expected is not None:
            torch.testing.assert_close(found, expected)


def test_only_the_last_steps_keep_activations():
    given = problem(Tied(), soft=False, batches=False, augmented=False)
    step = make_step(given["loop"].network, notify=ignore)
    calls = []

    def counted(name, function):
        def call(*arguments):
            calls.append(name)
            return function(*arguments)

        return call

    object.__setattr__(step, "product", counted("plain", step.product))
    object.__setattr__(step.halves, "product", counted("kept", step.halves.product))
    ReplayPolicy(step, 2)(**given, truncation=LastSteps(3))
    assert calls == ["kept", "kept", "plain"]


def test_a_step_that_cannot_be_cut_keeps_nothing(monkeypatch):
    def refuse(*arguments):
        raise CannotCut("torch cannot trace it")

    monkeypatch.setattr(halves, "cut", refuse)
    given = problem(convnet(), soft=False, batches=True, augmented=False)
    step = make_step(given["loop"].network, notify=ignore)
    assert step.halves.gradient(given["theta_start"], given["at"].images, given["at"].labels)[1] == ()
    found = ReplayPolicy(step, N)(**given, truncation=LastSteps(3))
    agree(found, HigherPolicy()(**given, truncation=LastSteps(3)), rtol=1e-10)
