"""The cost of a forward pass, and batches in pieces: every derivative is that of the whole batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from satm import networks
from satm.engine import flatten, make_step
from satm.machine.cost import forward_cost
from satm.machine.pieces import CACHE, FEWEST, images_at_once, pieces
from satm.methods.direct.gradient_matching import ClassGradients
from satm.rng import Seed

SHAPE = (3, 16, 16)


def network(name: str = "convnet3_w4") -> nn.Module:
    return networks.create(name, num_classes=3, image_shape=SHAPE, seed=Seed(0))


def test_the_cost_of_a_forward_pass_is_that_of_its_convolutions():
    flops, saved = forward_cost(network(), SHAPE)
    # 2 · 9 · in · out · pixels of each convolution, then 2 · in · out of the linear layer
    assert flops == 2 * 9 * 4 * (3 * 256 + 4 * 64 + 4 * 16) + 2 * 4 * 4 * 3
    assert saved >= 4 * (3 * 256 + 4 * 256 + 4 * 64)  # at least the inputs of the first convolution, norm and pooling


@given(n=st.integers(1, 400), at_once=st.none() | st.integers(1, 120))
def test_pieces_are_the_batch(n, at_once):
    images, labels = torch.arange(n).view(n, 1, 1, 1).float(), torch.arange(n)
    found = pieces(at_once, images, labels)
    assert torch.equal(torch.cat([x for _, x, _ in found]), images)
    assert torch.equal(torch.cat([y for _, _, y in found]), labels)
    sizes = {len(x) for _, x, _ in found}
    assert max(sizes) <= (at_once or n)
    assert len(sizes) <= 2
    assert [share for share, _, _ in found] == [len(x) / n for _, x, _ in found]
    if at_once is not None and any(n % size == 0 for size in range(1, at_once + 1) if 2 * size >= at_once):
        assert len(sizes) == 1
    if at_once is None or at_once >= FEWEST:
        assert min(sizes) > 1 or n == 1


def test_pieces_are_smaller_for_larger_images_and_wider_networks():
    def at_once(name, side):
        shape = (3, side, side)
        made = networks.create(name, num_classes=10, image_shape=shape, seed=Seed(0))
        return images_at_once(made, shape)

    small = at_once("convnet3_w32", 32)
    assert 10 < small < 100
    assert at_once("convnet4_w32", 64) < small / 2
    assert at_once("convnet3", 32) < small / 2


def test_pieces_have_enough_images_and_are_at_least_as_large_as_their_gradient():
    huge = networks.create("convnet5", num_classes=10, image_shape=(3, 128, 128), seed=Seed(0))
    assert images_at_once(huge, (3, 128, 128)) == FEWEST
    heavy = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10**4))
    activations = forward_cost(heavy, SHAPE)[1]
    assert images_at_once(heavy, SHAPE) * activations >= 0.9 * sum(p.nbytes for p in heavy.parameters()) > CACHE


@pytest.mark.parametrize("name", ["convnetbn3_w4", "dropout", "batch mean", "norm of one value"])
def test_a_batch_whose_images_depend_on_each_other_or_on_chance_is_not_cut(name):
    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    single = nn.Sequential(nn.Conv2d(3, 3, 16), nn.BatchNorm2d(3), nn.Upsample(16))
    first = {"dropout": nn.Dropout(0.5), "batch mean": Centred(), "norm of one value": single}.get(name)
    made = network(name) if first is None else nn.Sequential(first, network())
    before = {key: value.clone() for key, value in made.state_dict().items()}
    assert images_at_once(made, SHAPE) is None
    assert all(torch.equal(before[key], value) for key, value in made.state_dict().items())


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 4, 7])
def test_a_step_in_pieces_is_the_step(soft, at_once):
    made = network().double()
    generator = Seed(1).generator()
    images = torch.randn(7, *SHAPE, generator=generator, dtype=torch.float64)
    labels = torch.randn(7, 3, generator=generator, dtype=torch.float64).softmax(1)
    labels = labels if soft else labels.argmax(1)
    theta = flatten(made.parameters()).detach()
    v = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    whole, cut = make_step(made), make_step(made, at_once=at_once)
    assert (whole.at_once, cut.at_once) == (None, at_once)
    exact = {"rtol": 1e-10, "atol": 1e-14}
    torch.testing.assert_close(cut.gradient(theta, images, labels), whole.gradient(theta, images, labels), **exact)
    for name in ("product", "mixed"):
        a, b = (getattr(step, name)(theta, images, labels, v) for step in (cut, whole))
        assert (a.theta is None, a.labels is None) == (name == "mixed", not soft)
        torch.testing.assert_close([x for x in a if x is not None], [x for x in b if x is not None], **exact)


def test_gradient_matching_takes_pieces_compiled_or_not():
    assert ClassGradients(network(), at_once=4).step.at_once == 4
    assert ClassGradients(network(), at_once=4, notify=pytest.fail).step.at_once == 4
