"""The check of methods that look at a network's features."""

from __future__ import annotations

from satm import networks
from satm.methods.base import Request
from satm.rng import Seed


def check_features(request: Request) -> None:
    """Raise ConfigError for an architecture that has none."""
    classes, shape = len(request.data.classes), request.data.image_shape
    networks.features(networks.create(request.architecture, num_classes=classes, image_shape=shape, seed=Seed(0)))
