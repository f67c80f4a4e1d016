"""Checks that several methods share. A check refuses a user's request before anything is trained.

A method sets its field `Method.check` to one of these functions, or to a function of its own.
"""

from __future__ import annotations

import torch

from satm import networks
from satm.errors import ConfigError
from satm.machine.purity import draws_random_numbers
from satm.methods.base import Request
from satm.methods.direct.condensation import DirectConfig, stateless_network
from satm.rng import Seed


def check_features(request: Request) -> None:
    """Raise ConfigError for an architecture without features (the vector of each image before the last layer)."""
    networks.features(networks.plan_for(request.architecture, request.data).create(Seed(0)))


def check_network(request: Request) -> None:
    """Raise ConfigError for an architecture that keeps running statistics (batch normalisation)."""
    stateless_network(networks.plan_for(request.architecture, request.data), Seed(0))


def check_feature_alignment(request: Request) -> None:
    """Raise ConfigError for an architecture that keeps running statistics, or whose layers are not known."""
    network = stateless_network(networks.plan_for(request.architecture, request.data), Seed(0))
    try:
        networks.LayerFeatures(network, 1)
    except ConfigError as error:
        raise ConfigError(
            f"{request.architecture} is no ConvNet, whose layers {request.method} aligns; condense on convnet3, and "
            "evaluate on this one (satm eval-arch)"
        ) from error


def check_distribution_matching(request: Request) -> None:
    """Raise ConfigError for an architecture that keeps running statistics or has no features."""
    check_network(request)
    check_features(request)


def check_gradient_matching(request: Request) -> None:
    """Raise ConfigError if the gradient of the architecture depends on more than the images and the parameters.

    This is so for an architecture with running statistics or with dropout. If real images are chosen by their features,
    an architecture without features is refused, too.
    """
    if isinstance(request.settings, DirectConfig) and request.settings.clusters:
        check_features(request)
    network = stateless_network(networks.plan_for(request.architecture, request.data), Seed(0))
    if draws_random_numbers(network, torch.zeros(1, *request.data.image_shape)):
        raise ConfigError(
            f"{request.architecture} draws random numbers (dropout), so that its gradient cannot be taken twice; "
            "condense on a network without, as convnet3, and evaluate on this one (satm eval-arch)"
        )


def check_inner_loop(request: Request) -> None:
    """Raise ConfigError for an architecture that keeps running statistics (batch normalisation).

    An inner loop is a function of the parameters, and running statistics are not among them.
    """
    plan = networks.plan_for(request.architecture, request.data)
    stateless_network(plan, Seed(0), why="an inner loop over the parameters does not hold")
