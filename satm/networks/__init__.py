"""Networks by name: those of the papers on dataset condensation, in their published sizes, and all networks of timm."""

from __future__ import annotations

from satm.networks.architectures import NetworkPlan, batch_normed_name, cited, create, known, plan, plan_for
from satm.networks.base import NETWORKS, Fit, Network
from satm.networks.convnet import convnet_depth, convnet_name
from satm.networks.features import LayerFeatures, features

__all__ = [
    "NETWORKS",
    "Fit",
    "LayerFeatures",
    "Network",
    "NetworkPlan",
    "batch_normed_name",
    "cited",
    "convnet_depth",
    "convnet_name",
    "create",
    "features",
    "known",
    "plan",
    "plan_for",
]
