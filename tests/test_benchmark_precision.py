"""benchmarks/precision.py: the kernels that replace bfloat16 instructions."""

from __future__ import annotations

import torch

from benchmarks.precision import Float32Kernels
from satm.engine import make_step
from satm.networks import create
from satm.rng import Seed


def answers() -> list[torch.Tensor]:
    """The gradient and the products of a bf16 step, by torch's autocast."""
    generator = Seed(1).generator()
    images = torch.randn(4, 3, 8, 8, generator=generator)
    network = create("convnet3_w16", num_classes=5, image_shape=(3, 8, 8), seed=Seed(0))
    step = make_step(network, precision="bf16")
    theta = torch.cat([p.detach().flatten() for p in network.parameters()])
    v = torch.randn(theta.shape, generator=generator)
    labels = torch.tensor([0, 1, 2, 3])
    gradient = step.gradient(theta, images, labels)
    return [gradient, *(x for x in step.product(theta, images, labels, v) if x is not None)]


def test_they_compute_what_bfloat16_kernels_compute():
    own = answers()
    with Float32Kernels():
        lent = answers()
    for a, b in zip(own, lent, strict=True):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.9999
        assert (a - b).norm() < 0.01 * a.norm()


def test_they_round_to_bfloat16_and_do_not_change_float32():
    a, b = torch.randn(2, 8, 8, generator=Seed(2).generator())
    with Float32Kernels():
        rounded, exact = a.bfloat16() @ b.bfloat16(), a @ b
    assert rounded.dtype is torch.bfloat16
    assert torch.equal(rounded, (a.bfloat16().float() @ b.bfloat16().float()).bfloat16())
    assert torch.equal(exact, a @ b)
