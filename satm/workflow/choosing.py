"""The preset that is condensed by: chosen by data set, IPC and method, single settings replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from evaluation import RECIPES
from satm.config import override
from satm.data.size import native_image_size
from satm.errors import ConfigError
from satm.presets import CondenseConfig, Preset, find_preset
from satm.presets.profiles import CUSTOM

NEUTRAL = ("engine", "compile")


def default_profile() -> str:
    """`paper` where a CUDA device is found, else `cpu`."""
    return "paper" if torch.cuda.is_available() else "cpu"


def choose_preset(
    dataset: str,
    *,
    ipc: int,
    method: str = "satm",
    outer: str | None = None,
    profile: str | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_root: Path | None = None,
) -> Preset:
    """The preset of a data set at an IPC, single settings replaced (`outer_steps`, or dotted: `experts.count`).

    `outer` names another outer optimiser than the method's, `preset` another row to take the numbers from. Raises
    UsageError for what cannot be meant.
    """
    settings = settings or {}
    size, base = settings.get("image_size"), settings.get("base", settings.get("settings.base"))
    found = find_preset(
        dataset,
        ipc,
        method=method,
        outer=outer,
        profile=profile or default_profile(),
        image_size=size if isinstance(size, int) else native_image_size(dataset, root=data_root),
        row=preset,
        base=base if isinstance(base, str) else None,
    )
    return with_settings(found, settings)


def with_settings(preset: Preset, settings: Mapping[str, Any]) -> Preset:
    """`preset` with single settings replaced, each noted as a departure.

    What was at paper scale is `custom` afterwards, unless only the engine is another. Raises ConfigError for what is no
    setting but the request itself.
    """
    if not settings:
        return preset
    for name in ("dataset", "ipc", "method"):
        if name in settings:
            raise ConfigError(f"{name} is no setting; ask for another preset: satm condense DATASET --ipc N --method M")
    config = CondenseConfig.from_dict(override(preset.config.to_dict(), settings))
    RECIPES.get(config.recipe)
    # How a derivative is computed changes round-off alone: no departure from a paper's numbers.
    changed = tuple(f"set by hand: {k} = {v}" for k, v in settings.items() if k.split(".")[-1] not in NEUTRAL)
    profile = CUSTOM if preset.profile == "paper" and changed else preset.profile
    return replace(preset, config=config, profile=profile, departures=preset.departures + changed)
