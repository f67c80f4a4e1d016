"""Every policy against hand-unrolled loops in plain torch and against finite differences, in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from satm import networks
from satm.augment import DSA, apply
from satm.engine import FlatNetwork, Full, InnerLoop, LastSteps, OuterVariables, flatten
from satm.errors import ConfigError
from satm.rng import Seed
from tests.helpers import CLASSES, EXACT, VALUES, Case, central_differences, leaves, normal, tiny_case

close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
numerically_close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-8)
N = 6


@pytest.fixture(params=EXACT, ids=lambda policy: policy.name)
def policy(request):
    return request.param


def solve(policy, case, truncation=None, **more):
    return policy(case.loop, case.at, more.pop("theta", case.theta), case.loss, truncation or Full(), **more)


def tensors(found):
    """Every tensor of a hypergradient by name; plain SGD keeps no moments."""
    assert found.kept_moments == ()
    return {name: getattr(found, name) for name in found.__slots__ if name != "kept_moments"}


def by_hand(case, **how):
    """F, ∂F/∂images, ∂F/∂labels (None for classes) and ∂F/∂α by autograd through the hand-unrolled loop."""
    at = leaves(case.at)
    loss = case.loss(case.unroll(at, **how)[0][-1])
    wanted = [leaf for leaf in at if leaf.requires_grad]
    images, *labels, step_size = torch.autograd.grad(loss, wanted)
    return loss.detach(), images, labels[0] if labels else None, step_size


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
@pytest.mark.parametrize("steps", [1, 2, N])
def test_full_window_is_the_derivative_of_the_unrolled_loop(policy, soft, steps):
    case = tiny_case(steps=steps, soft=soft)
    found = solve(policy, case)
    loss, images, labels, step_size = by_hand(case)
    close(found.loss, loss)
    close(found.images, images)
    close(found.step_size_taped, step_size)
    close(found.theta, case.unroll(case.at)[0][-1].detach())
    if soft:
        close(found.labels, labels)
    else:
        assert found.labels is None


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
def test_full_window_agrees_with_finite_differences_through_the_whole_loop(policy, soft):
    case = tiny_case(soft=soft)
    found = solve(policy, case)
    images = central_differences(lambda images: case.value(case.at._replace(images=images)), case.at.images)
    numerically_close(found.images, images)
    alpha = central_differences(lambda alpha: case.value(case.at._replace(step_size=alpha)), case.at.step_size)
    numerically_close(found.step_size_taped, alpha)
    if soft:
        labels = central_differences(lambda labels: case.value(case.at._replace(labels=labels)), case.at.labels)
        numerically_close(found.labels, labels)


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "probabilities"])
@pytest.mark.parametrize("window", range(1, N + 1))
def test_truncated_window_is_autograd_with_the_early_steps_detached(policy, window, soft):
    case = tiny_case(soft=soft)
    found = solve(policy, case, LastSteps(window))
    loss, images, labels, step_size = by_hand(case, tape_from=N - window)
    close(found.loss, loss)
    close(found.images, images)
    close(found.step_size_taped, step_size)
    if soft:
        close(found.labels, labels)


def test_images_that_only_the_early_steps_saw_have_no_derivative_in_the_window(policy):
    case = tiny_case(steps=3)
    batches = tuple(torch.tensor(batch) for batch in ([0, 1], [1, 2], [3]))
    case = replace(case, loop=replace(case.loop, batches=batches))
    found = solve(policy, case, LastSteps(1))
    assert found.images[3].abs().min() > 0
    assert not found.images[[0, 1, 2, 4]].any()
    assert solve(policy, case).images[:4].flatten(1).norm(dim=1).min() > 0


@pytest.mark.parametrize("window", [1, 3, N])
@pytest.mark.parametrize("keep", range(N + 1))
def test_kept_parameters_are_those_of_step_keep(policy, keep, window):
    case = tiny_case()
    close(solve(policy, case, LastSteps(window), keep=keep).kept, case.unroll(case.at)[0][keep].detach())


@pytest.mark.parametrize("window", [1, 3, N])
def test_second_pass_from_the_kept_parameters_is_the_first_one_again(policy, window):
    case, iota = tiny_case(), N - window
    first = solve(policy, case, LastSteps(window), keep=iota)
    second = solve(policy, case, LastSteps(window), first=iota, theta=first.kept)
    for name in ("loss", "images", "theta", "step_size_taped"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    elsewhere = solve(policy, case, LastSteps(window), first=iota, theta=first.kept + 1e-3)
    assert not torch.isclose(elsewhere.loss, first.loss)
    assert not torch.allclose(elsewhere.images, first.images)


@pytest.mark.parametrize("first", [2, 4])
@pytest.mark.parametrize("window", [1, 3, N])
def test_a_pass_from_the_middle_runs_the_remaining_steps_only(policy, first, window):
    case, start = tiny_case(), normal(43, name="middle")
    found = solve(policy, case, LastSteps(window), first=first, theta=start)
    how = {"theta": start, "first": first}
    loss, images, _, step_size = by_hand(case, **how, tape_from=N - window)
    close(found.loss, loss)
    close(found.images, images)
    close(found.step_size_taped, step_size)
    thetas, gradients = case.unroll(case.at, **how)
    (outer,) = torch.autograd.grad(case.loss(thetas[-1]), thetas[-1])
    close(found.step_size, -(outer @ sum(gradients)).detach())


@pytest.mark.parametrize("window", [1, 3, N])
def test_a_loop_replays_its_own_draws(policy, window):
    """Augmentations and mini-batches are values of the loop: a second run has the same bits, after other draws too.

    The result with DSA also agrees with the hand-unrolled loop.
    """
    case, shape = tiny_case(soft=True), (1, 2, 3)
    dsa, generator = DSA(), Seed(0).generator()
    draws = [dsa.draw(5 if batch is None else len(batch), shape, generator) for batch in case.loop.batches]
    assert len({draw.op for draw in draws}) > 2
    case = replace(case, loop=replace(case.loop, transforms=tuple(partial(apply, draw=draw) for draw in draws)))
    first = solve(policy, case, LastSteps(window), keep=1)
    torch.rand(100)
    second = solve(policy, case, LastSteps(window), keep=1)
    for name, value in tensors(first).items():
        assert torch.equal(value, tensors(second)[name]), name
    close(first.images, by_hand(case, tape_from=N - window)[1])


def test_a_pass_changes_none_of_its_arguments(policy):
    case = tiny_case(soft=True)
    given = {**case.at._asdict(), "theta": case.theta, **dict(case.loop.network.named_parameters())}
    before = {name: (value.detach().clone(), value.requires_grad) for name, value in given.items()}
    found = solve(policy, case, LastSteps(3), keep=2)
    for name, (value, requires_grad) in before.items():
        assert torch.equal(given[name], value), name
        assert given[name].requires_grad == requires_grad, name
        assert given[name].grad is None, name
    assert not any(value.requires_grad for value in tensors(found).values())


def test_the_first_differentiated_step():
    assert Full().first_taped(7) == 0
    assert [LastSteps(window).first_taped(7) for window in (1, 3, 7)] == [6, 4, 0]


def test_impossible_windows_are_one_line(policy):
    with pytest.raises(ConfigError, match=r"^window 0: expected at least 1 differentiated step$"):
        LastSteps(0)
    with pytest.raises(ConfigError, match=r"^window 7 is longer than the inner loop of 6 steps; lower window$"):
        solve(policy, tiny_case(), LastSteps(N + 1))


class Tied(nn.Module):
    """One layer used twice, and one weight under two names."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(VALUES, VALUES).double()
        self.again = self.layer
        self.tied = nn.Linear(VALUES, VALUES).double()
        self.tied.weight = self.layer.weight
        self.head = nn.Linear(VALUES, CLASSES).double()

    def forward(self, images):
        return self.head(self.tied(self.again(self.layer(images.flatten(1)).tanh()).tanh()).tanh())


def tied_logits(theta, images):
    shared, bias, other_bias = theta[:36].view(6, 6), theta[36:42], theta[42:48]
    x = images.reshape(-1, VALUES)
    for offset in (bias, bias, other_bias):
        x = torch.tanh(x @ shared.T + offset)
    return x @ theta[48:66].view(CLASSES, VALUES).T + theta[66:69]


@pytest.mark.parametrize("window", [2, N])
def test_shared_parameters_are_one_place_in_theta(policy, window):
    case = tiny_case()
    case = replace(
        case,
        loop=replace(case.loop, network=Tied()),
        theta=normal(69, name="tied") / 2,
        target=normal(69, name="tied target"),
        logits=tied_logits,
    )
    close(FlatNetwork(case.loop.network)(case.theta, case.at.images), tied_logits(case.theta, case.at.images))
    close(solve(policy, case, LastSteps(window)).images, by_hand(case, tape_from=N - window)[1])


@pytest.mark.parametrize("architecture", ["convnet3_w4", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_the_fields_networks(policy, architecture):
    """The same agreement through convolutions, GroupNorm and ReLU; torch.func computes the forward pass."""
    shape = (3, 8, 8)
    network = networks.create(architecture, num_classes=CLASSES, image_shape=shape, seed=Seed(0)).double()
    flat = FlatNetwork(network)
    theta = flatten(network.parameters()).detach()
    case = Case(
        loop=InnerLoop(network=network, batches=(None, torch.tensor([2, 0])), transforms=(torch.tanh, torch.tanh)),
        at=OuterVariables(normal(3, *shape, name="images"), torch.arange(3), torch.tensor(0.02, dtype=torch.float64)),
        theta=theta,
        target=theta + 0.01 * normal(len(theta), name="target"),
        logits=flat,
    )
    found = solve(policy, case)
    loss, images, _, step_size = by_hand(case)
    torch.testing.assert_close(found.loss, loss, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.images, images, rtol=1e-7, atol=1e-9 * float(images.abs().max()))
    torch.testing.assert_close(found.step_size_taped, step_size, rtol=1e-8, atol=0)
