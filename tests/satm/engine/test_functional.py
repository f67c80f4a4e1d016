"""Flat parameter vectors, and the checks of an inner loop."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from satm.engine import FlatNetwork, InnerLoop, flatten, unflatten
from satm.errors import ConfigError, ShapeError
from tests.helpers import IMAGE, Tiny, masked, normal, tiny_case, tiny_logits

shapes = st.lists(st.lists(st.integers(1, 4), max_size=3).map(torch.Size), min_size=1, max_size=5)


@given(shapes)
def test_unflatten_inverts_flatten(shapes):
    parts = [normal(*shape, name=f"{position}") for position, shape in enumerate(shapes)]
    back = unflatten(flatten(parts), shapes)
    assert all(torch.equal(part, other) for part, other in zip(parts, back, strict=True))


def test_flatten_copies():
    for network in (Tiny(), nn.Linear(3, 1, bias=False)):  # a single parameter could be returned as a view
        theta = flatten(network.parameters()).detach()
        kept = theta.clone()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 1
        assert torch.equal(theta, kept)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ShapeError, match="a parameter vector of 5 values for a network of 6"):
        unflatten(torch.zeros(5), [torch.Size([2, 3])])


def test_flat_network_is_the_network_at_theta():
    network, images = Tiny(), normal(5, *IMAGE, name="images")
    flat, theta = FlatNetwork(network), normal(43, name="theta")
    before = flatten(network.parameters()).detach()
    torch.testing.assert_close(flat(theta, images), tiny_logits(theta, images))
    assert torch.equal(flatten(network.parameters()), before)
    flat.load(theta)
    torch.testing.assert_close(network(images), tiny_logits(theta, images))
    assert torch.equal(flatten(network.parameters()), theta)


def test_a_module_under_two_names_survives_a_call():
    """`torch.func.functional_call` replaces the parameters of such a module by plain tensors."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 6), nn.Linear(6, 6)).double()
    network.append(network[1])
    network[2].weight = network[1].weight
    parameters = list(network.parameters())
    theta, images = normal(48, name="theta"), normal(5, *IMAGE, name="images")
    weight, first, second = theta[:36].view(6, 6), theta[36:42], theta[42:]
    expected = ((images.flatten(1) @ weight.T + first) @ weight.T + second) @ weight.T + first
    torch.testing.assert_close(FlatNetwork(network)(theta, images), expected)
    assert [id(p) for p in network.parameters()] == [id(p) for p in parameters]


def test_an_inner_loop_without_steps_or_with_draws_missing_is_refused():
    transform = partial(masked, mask=torch.ones(IMAGE))
    with pytest.raises(ConfigError, match=r"an inner loop of 0 steps: expected N of at least 1"):
        InnerLoop(network=Tiny(), batches=(), transforms=())
    with pytest.raises(ShapeError, match=r"2 mini-batches for 1 augmentations"):
        InnerLoop(network=Tiny(), batches=(None, None), transforms=(transform,))


def test_the_loss_of_a_step_is_that_of_its_mini_batch_and_augmentation():
    case = tiny_case(soft=True)
    seen = []
    case.loop.loss(lambda images: seen.append(images) or tiny_logits(case.theta, images), 2, case.at)
    batch = torch.tensor([2, 3, 4])
    assert torch.equal(seen[0], case.loop.transforms[2](case.at.images[batch]))
    assert case.loop.steps == 6
