"""Chooses the preset of a condensation by data set, IPC and method, and replaces single settings."""

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

NEUTRAL = ("engine", "compile")  # settings that change round-off only


def default_profile() -> str:
    """`paper` if a CUDA device is found, else `cpu`."""
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
    """The preset of a data set at an IPC, with single settings replaced.

    Args:
        dataset: the name of a data set.
        ipc: images per class.
        method: the condensation method.
        outer: the outer optimiser; None: the method's own.
        profile: `paper`, `cpu` or `smoke`; None: `default_profile()`.
        preset: the row of hyper-parameters, such as `cifar10/ipc10`; None: the row nearest to the request.
        settings: settings to replace, by name: `outer_steps`, or with dots, `experts.count`.
        data_root: the only folder in which data sets are looked for; None: the usual places.

    Raises UsageError for an unknown name or a setting that is out of range.
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
    """`preset` with single settings replaced. Each is a departure, except those in `NEUTRAL` and `validation=0`.

    `validation=0` takes a departure away: all of train is used, as published. A preset of profile `paper` becomes
    `custom` if there is a new departure. Raises ConfigError for the
    data set, the IPC and the method: they choose a preset and are no settings.
    """
    if not settings:
        return preset
    for name in ("dataset", "ipc", "method"):
        if name in settings:
            raise ConfigError(f"{name} is no setting; ask for another preset: satm condense DATASET --ipc N --method M")
    config = CondenseConfig.from_dict(override(preset.config.to_dict(), settings))
    RECIPES.get(config.recipe)
    # How a derivative is computed changes round-off only, so it is no departure from the paper's numbers.
    settings = {key: value for key, value in settings.items() if key.split(".")[-1] not in NEUTRAL}
    changed = tuple(f"set by hand: {k} = {v}" for k, v in settings.items() if (k, v) != ("validation", 0))
    kept = [each for each in preset.departures if each not in preset.config.held_out]
    if len(kept) < len(preset.departures):
        kept += config.held_out
    profile = CUSTOM if preset.profile == "paper" and changed else preset.profile
    return replace(preset, config=config, profile=profile, departures=(*kept, *changed))
