"""The losses of SSD and SCR against their equations, written out in float64; the classifier of nearest means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from protocols.methods.scr import ContrastiveNetwork, NearestMean, SCRConfig, contrastive_loss
from protocols.online.matching import summary_loss
from satm.errors import ConfigError
from satm.networks import plan
from satm.rng import Seed
from tests.protocols.online.test_memories import literal


def network() -> nn.Module:
    return plan("convnet3_w4", num_classes=5, image_shape=(1, 16, 16)).create(Seed(1)).double()


def images(count: int, name: str) -> torch.Tensor:
    return torch.randn(count, 1, 16, 16, generator=Seed(0).child(name).generator(), dtype=torch.float64)


@pytest.mark.parametrize("past", [0, 3])
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_matching_loss_and_its_gradient_are_ssds(past: int, weight: float) -> None:
    net, seen = network(), [0, 2, 4]
    summary, real, earlier = images(3, "summary").requires_grad_(), images(6, "real"), images(past, "past")
    ours = summary_loss(net, summary, real, 2, seen=seen, past=earlier, weight=weight)
    theirs = literal(net, summary, real, 1, seen, list(earlier), weight)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    (one,), (two,) = torch.autograd.grad(ours, summary), torch.autograd.grad(theirs, summary)
    torch.testing.assert_close(one, two, atol=1e-10, rtol=0)
    assert one.abs().max() > 1e-6
    # Real images match themselves, and a class that has not arrived is in no loss.
    itself = summary_loss(net, real, real, 2, seen=seen, past=earlier, weight=weight)
    assert itself.item() == pytest.approx(0, abs=1e-12)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_matching_losss_gradient_is_that_of_finite_differences() -> None:
    net, real, past = network(), images(4, "real"), images(2, "past")
    summary, along = images(2, "summary"), images(2, "direction")

    def loss(at: torch.Tensor) -> torch.Tensor:
        return summary_loss(net, at, real, 0, seen=[0, 1], past=past, weight=1.0)

    leaf = summary.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    step = 1e-5
    slope = (loss(summary + step * along) - loss(summary - step * along)) / (2 * step)
    assert (gradient * along).sum().item() == pytest.approx(slope.item(), rel=1e-6)


def test_the_contrastive_loss_and_its_gradient_are_khoslas() -> None:
    labels, tau = torch.tensor([0, 1, 0, 1, 2, 2, 0]), 0.07
    raw = torch.randn(7, 3, generator=Seed(2).generator(), dtype=torch.float64)
    z = nn.functional.normalize(raw).requires_grad_()
    terms = []
    for i in range(7):
        others = [a for a in range(7) if a != i]
        below = sum((z[i] @ z[a] / tau).exp() for a in others)
        positive = [p for p in others if labels[p] == labels[i]]
        terms.append(-sum(((z[i] @ z[p] / tau).exp() / below).log() for p in positive) / len(positive))
    theirs = sum(terms) / 7
    ours = contrastive_loss(z, labels, temperature=tau)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    (one,), (two,) = torch.autograd.grad(ours, z), torch.autograd.grad(theirs, z)
    torch.testing.assert_close(one, two, atol=1e-10, rtol=0)


def test_an_image_gets_the_class_of_the_nearest_mean_and_never_one_without_a_mean() -> None:
    net = ContrastiveNetwork(network(), 6).double().eval()
    shown = images(4, "shown")
    with torch.no_grad():
        found = net.encoder(shown)
        means = nn.functional.normalize(found[:2])
        logits = NearestMean(net.encoder, means, [3, 1], 5)(shown)
        vectors = net(shown)
    assert vectors.shape == (4, 6)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4, dtype=torch.float64))
    for row, features in zip(logits, found, strict=True):
        unit = features / features.norm()
        for column, mean in zip((3, 1), means, strict=True):
            assert row[column].item() == pytest.approx(-float((unit - mean).pow(2).sum()), abs=1e-12)
    assert (logits[:, [0, 2, 4]] == -1e4).all()
    assert logits[:2].argmax(1).tolist() == [3, 1]


@pytest.mark.parametrize(
    ("setting", "said"), [({"temperature": 0.0}, "temperature 0.0"), ({"projection": 0}, "projection 0")]
)
def test_settings_of_scr_out_of_range_are_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SCRConfig(**setting)
