"""`replay`, compiled and not, against `higher` on real networks.

If the input of a ReLU is almost 0, the order of a sum decides on which side of 0 it is. In float64 no input here is so
near 0: the parameters are random, and the images have no flat parts. In float32 a real problem always has some inputs
that are so near 0, so there both results are compared with the float64 result.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from satm import networks
from satm.augment import DSA, apply
from satm.data import load
from satm.engine import (
    FlatNetwork,
    Full,
    HigherPolicy,
    InnerLoop,
    LastSteps,
    OuterVariables,
    ReplayPolicy,
    TeslaPolicy,
    flatten,
    make_step,
)
from satm.matching import TrajectoryLoss
from satm.methods import class_major_labels, random_images
from satm.rng import Seed
from tests.helpers import normal, refuse_compiling

N, IMAGES, CLASSES, SHAPE = 5, 6, 3, (2, 16, 16)


class Tied(nn.Module):
    """A network that holds one convolution under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.once = self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, images):
        hidden = self.twice(self.once(self.stem(images)).tanh()).tanh()
        return self.head(hidden.mean((2, 3)))


def convnet():
    return networks.create("convnet3_w4", num_classes=CLASSES, image_shape=SHAPE, seed=Seed(0))


def problem(network, *, soft, batches, augmented, dtype=torch.float64):
    """The arguments of a policy: a loop on random images, with random start and target parameters."""
    network = network.to(dtype)
    size = sum(p.numel() for p in network.parameters())
    index = [None if not batches else torch.tensor([i % IMAGES, (i + 2) % IMAGES, (i + 3) % IMAGES]) for i in range(N)]
    transforms = [_identity] * N
    if augmented:
        generator = Seed(5).generator()
        counts = [IMAGES if b is None else len(b) for b in index]
        transforms = [
            partial(apply, draw=DSA("color_crop_flip_scale_rotate").draw(n, SHAPE, generator)) for n in counts
        ]
    labels = normal(IMAGES, CLASSES, name="labels").softmax(1) if soft else torch.arange(IMAGES) % CLASSES
    target = normal(size, name="target").to(dtype)
    return {
        "loop": InnerLoop(network=network, batches=tuple(index), transforms=tuple(transforms)),
        "at": OuterVariables(
            normal(IMAGES, *SHAPE, name="images").to(dtype),
            labels.to(dtype) if soft else labels,
            torch.tensor(0.2, dtype=dtype),
        ),
        "theta_start": (flatten(network.parameters()).detach() + 0.1 * normal(size, name="theta")).to(dtype),
        "outer_loss": lambda theta: (theta - target).square().sum() / size,
    }


def _identity(images):
    return images


def agree(found, expected, *, rtol):
    """Every part agrees within `rtol` of the size of that part."""
    for name in ("loss", "images", "step_size", "step_size_taped", "theta", "labels", "kept"):
        a, b = getattr(found, name), getattr(expected, name)
        if b is None:
            assert a is None
        else:
            assert (a - b).norm() <= rtol * b.norm(), (name, float((a - b).norm() / b.norm()))


CASES = pytest.mark.parametrize(
    ("make", "soft", "batches", "augmented"),
    [
        pytest.param(convnet, False, False, False, id="convnet"),
        pytest.param(convnet, True, True, True, id="convnet, soft labels, mini-batches, augmented"),
        pytest.param(convnet, False, True, True, id="convnet, mini-batches, augmented"),
        pytest.param(Tied, True, False, True, id="shared parameters, soft labels, augmented"),
    ],
)


@CASES
def test_eager_replay_is_higher_for_every_window(make, soft, batches, augmented):
    given = problem(make(), soft=soft, batches=batches, augmented=augmented)
    replay = ReplayPolicy(make_step(given["loop"].network))
    for window in range(1, N + 1):
        how = {"truncation": LastSteps(window), "keep": N - window}
        agree(replay(**given, **how), HigherPolicy()(**given, **how), rtol=1e-10)


@CASES
def test_eager_replay_is_higher_in_single_precision(make, soft, batches, augmented):
    given = problem(make(), soft=soft, batches=batches, augmented=augmented, dtype=torch.float32)
    replay = ReplayPolicy(make_step(given["loop"].network))
    agree(replay(**given, truncation=Full()), HigherPolicy()(**given, truncation=Full()), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "soft", "batches", "augmented"),
    [
        pytest.param(convnet, True, True, True, id="convnet, soft labels, mini-batches, augmented"),
        pytest.param(convnet, False, False, False, id="convnet, classes"),
        pytest.param(Tied, False, True, True, id="shared parameters, classes, mini-batches, augmented"),
    ],
)
def test_compiled_replay_is_higher_for_every_window(make, soft, batches, augmented):
    given = problem(make(), soft=soft, batches=batches, augmented=augmented)
    replay = ReplayPolicy(make_step(given["loop"].network, notify=pytest.fail))
    for window in range(1, N + 1):
        how = {"truncation": LastSteps(window), "keep": N - window}
        agree(replay(**given, **how), HigherPolicy()(**given, **how), rtol=1e-10)


@pytest.mark.slow
def test_compiled_single_precision_is_as_near_to_the_float64_result_as_eager():
    """Medians over eight segments on real digits. Compiled code flips other ReLUs, but not more of them."""
    data = load("digits", image_size=16)
    found = {"eager": [], "compiled": []}
    double, single = (
        networks.create("convnet3_w8", num_classes=10, image_shape=(1, 16, 16), seed=Seed(0)) for _ in range(2)
    )
    double.double()
    exact = ReplayPolicy(make_step(double))
    policies = {"eager": HigherPolicy(), "compiled": ReplayPolicy(make_step(single, notify=pytest.fail))}
    for seed in range(8):
        images = random_images(data, 1, Seed(seed))
        start = (
            flatten(single.parameters()).detach()
            + 0.02 * normal(sum(p.numel() for p in single.parameters()), name=f"start {seed}").float()
        )
        target = start + 0.05 * normal(len(start), name=f"target {seed}").float()

        def solve(policy, network, dtype, images=images, start=start, target=target):
            loop = InnerLoop(network=network, batches=(None,) * 12, transforms=(_identity,) * 12)
            at = OuterVariables(images.to(dtype), class_major_labels(10, 1), torch.tensor(0.05, dtype=dtype))
            loss = TrajectoryLoss(start.to(dtype), target.to(dtype))
            return policy(loop, at, start.to(dtype), loss, Full()).images.double()

        answer = solve(exact, double, torch.float64)
        for name, policy in policies.items():
            found[name].append(float((solve(policy, single, torch.float32) - answer).norm() / answer.norm()))
    medians = {name: float(torch.tensor(values).median()) for name, values in found.items()}
    assert medians["compiled"] <= 1.25 * medians["eager"], medians


@pytest.mark.slow
def test_changing_the_batch_shape_back_and_forth_compiles_each_shape_once():
    from torch._dynamo.utils import counters

    network = Tied()
    step = make_step(network, notify=pytest.fail)
    theta = flatten(network.parameters()).detach()
    counters.clear()
    for size in (2, 3, 2, 3, 2, 3):
        step.gradient(theta, torch.randn(size, *SHAPE), torch.zeros(size, dtype=torch.long))
    assert counters["stats"]["unique_graphs"] == 2


def test_without_a_compiler_the_plain_function_runs_and_says_so_once(monkeypatch):
    from satm.machine import compilation

    refuse_compiling(monkeypatch)
    said = []

    def double(x):
        return 2 * x

    fast = compilation.compiled(double, notify=said.append)
    assert [float(fast(torch.tensor(2.0))) for _ in range(3)] == [4.0] * 3
    assert len(said) == 1
    assert "double" in said[0]


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
def test_tesla_is_the_sum_of_direct_terms(soft):
    """∂F/∂φ ≈ −α Σ_i ∂⟨∇L(θ_i, φ), v⟩/∂φ with θ_i and v constant, written out with autograd only."""
    given = problem(convnet(), soft=soft, batches=True, augmented=True)
    loop, at = given["loop"], given["at"]
    network = FlatNetwork(loop.network)
    images = at.images.clone().requires_grad_()
    labels = at.labels.clone().requires_grad_(soft)
    thetas, gradients = [given["theta_start"]], []
    for i in range(N):
        theta = thetas[-1].detach().requires_grad_()
        loss = loop.loss(partial(network, theta), i, OuterVariables(images, labels, at.step_size))
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
        gradients.append(gradient)
        thetas.append(theta.detach() - at.step_size * gradient.detach())
    end = thetas[-1].requires_grad_()
    (v,) = torch.autograd.grad(given["outer_loss"](end), end)
    for window in (1, 3, N):
        total = -at.step_size * sum(g @ v for g in gradients[N - window :])
        wanted = torch.autograd.grad(total, [images, *([labels] if soft else [])], retain_graph=True)
        found = TeslaPolicy(make_step(loop.network))(**given, truncation=LastSteps(window))
        torch.testing.assert_close(found.images, wanted[0], rtol=1e-10, atol=1e-14)
        if soft:
            torch.testing.assert_close(found.labels, wanted[1], rtol=1e-10, atol=1e-14)


def test_tesla_with_one_step_is_exact():
    given = problem(convnet(), soft=True, batches=False, augmented=True)
    given["loop"] = InnerLoop(network=given["loop"].network, batches=(None,), transforms=given["loop"].transforms[:1])
    agree(
        TeslaPolicy(make_step(given["loop"].network))(**given, truncation=Full()),
        HigherPolicy()(**given, truncation=Full()),
        rtol=1e-10,
    )
