"""The features of a network are the input of its last linear layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from satm import networks
from satm.engine import flatten
from satm.errors import ConfigError
from satm.rng import Seed


@pytest.mark.parametrize("name", ["convnet3_w4", "alexnet", "resnet18", "timm/resnet10t"])
def test_the_last_layer_on_the_features_gives_the_logits(name):
    network = networks.create(name, num_classes=4, image_shape=(3, 32, 32), seed=Seed(0)).eval()
    images = torch.randn(2, 3, 32, 32, generator=Seed(1).generator())
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    embedding = networks.features(network)
    with torch.no_grad():
        torch.testing.assert_close(last(embedding(images)), network(images))
    kept = [p for p in network.parameters() if not any(p is mine for mine in last.parameters())]
    assert torch.equal(flatten(embedding.parameters()), flatten(kept))
    assert all(p is not q for p, q in zip(embedding.parameters(), kept, strict=True))


def test_a_network_without_a_linear_layer_is_refused():
    with pytest.raises(ConfigError, match="Sequential has no linear layer"):
        networks.features(nn.Sequential(nn.Flatten()))
