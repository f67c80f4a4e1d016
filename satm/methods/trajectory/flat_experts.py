"""Flat experts, which are trained for flat minima as in FTD, and a check that a request uses them."""

from __future__ import annotations

from dataclasses import replace

from satm.errors import ConfigError
from satm.experts import ExpertConfig, FlatConfig
from satm.methods.base import Request


def flat_experts(plain: ExpertConfig) -> ExpertConfig:
    """The configuration of flat experts: that of `plain` experts, with GSAM in their training (FTD)."""
    return replace(plain, flat=FlatConfig())


def need_flat_experts(request: Request) -> None:
    """Raise ConfigError if the experts of `request` are not trained for flat minima."""
    if request.experts.flat is None:
        other = "satm" if request.method.startswith("satm") else "mtt --outer ema"
        raise ConfigError(
            f"method {request.method} matches experts trained for flatness, and experts.flat is null; leave that out "
            f"(satm experts {request.data.name} --ipc {request.ipc} --method {request.method} trains them), or match "
            f"plain ones with --method {other}"
        )
