"""Networks by name: the field's own at their published sizes, and any that timm knows."""

from __future__ import annotations

from satm.networks.architectures import OTHERS, NetworkPlan, convnet_depth, convnet_name, create, known, plan, plan_for
from satm.networks.features import features

__all__ = ["OTHERS", "NetworkPlan", "convnet_depth", "convnet_name", "create", "features", "known", "plan", "plan_for"]
