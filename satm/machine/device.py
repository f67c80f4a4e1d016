"""The device on which the arithmetic runs."""

from __future__ import annotations

import torch

from satm.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`: `auto` (CUDA if there is one, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps` …

    Raises ConfigError for an unknown name, and for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device '{name}': expected auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device '{name}': {torch.cuda.device_count()} CUDA devices here; use --device cpu or auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device '{name}' is not available here; use --device cpu or auto")
    return device
