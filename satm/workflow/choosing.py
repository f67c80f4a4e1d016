"""Chooses the preset of a condensation by data set, IPC and method, and replaces single settings of it."""

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
from satm.methods import OUTER
from satm.presets import CondenseConfig, Preset, find_preset
from satm.presets.profiles import CUSTOM

LENGTHS = ("radius", "rho")
"""The settings for the length of a sharpness-aware rule's perturbation. Exactly one is set."""

PERTURBATION = ("outer.radius", "outer.rho", "outer.ramp")
NEUTRAL = ("engine", "compile")
"""Settings that choose how a derivative is computed. They change round-off only, so replacing them is no departure."""


def default_profile() -> str:
    """The profile of a preset if none is named: `paper` if a CUDA device is found, else `cpu`."""
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
    """Choose the preset of a data set at an IPC, and replace single settings of it.

    Args:
        dataset: the name of a data set.
        ipc: synthetic images of each class.
        method: the condensation method.
        outer: the outer optimiser; None: the method's own.
        profile: `paper`, `cpu` or `smoke`; None: `default_profile()`.
        preset: the row of hyper-parameters, such as `cifar10/ipc10`; None: the data set's own row at this IPC or, if it
            has none, the nearest row (`satm.presets.find_preset` gives the order).
        settings: new values of settings, by name. Dots lead to a nested setting: `outer_steps`, `experts.count`.
        data_root: the only folder in which data sets are looked for; None: the usual places.

    Raises UsageError for an unknown name or a setting that is out of range.
    """
    settings = settings or {}
    # These two decide which row the preset has, so they are read before the other settings are replaced.
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
    RECIPES.get(found.config.recipe)  # a method of another package may name one that is not there
    return with_settings(found, settings)


def with_settings(preset: Preset, settings: Mapping[str, Any], *, by: str = "set by hand") -> Preset:
    """`preset` with single settings replaced; the departures say `by` whom.

    Each replaced setting adds one line to the departures, also if its value stays the same. The settings in `NEUTRAL`
    add none. `validation=0` takes a line away: all of train is used, as published. A preset of profile `paper` that
    gets a line has the profile `custom`.

    Raises ConfigError for `dataset`, `ipc` and `method`: they are not settings, they choose the preset.
    """
    if not settings:
        return preset
    for name in ("dataset", "ipc", "method"):
        if name in settings:
            raise ConfigError(
                f"{name} is not a setting: it chooses the preset; use satm condense DATASET --ipc N --method M"
            )
    _check_perturbation(preset, settings)
    config = CondenseConfig.from_dict(override(preset.config.every_setting(), settings, either=LENGTHS))
    RECIPES.get(config.recipe)  # only to raise UnknownName now: an evaluation would notice it after the condensation
    settings = {key: value for key, value in settings.items() if key.split(".")[-1] not in NEUTRAL}
    changed = tuple(f"{by}: {k} = {v}" for k, v in settings.items() if (k, v) != ("validation", 0))
    kept = [each for each in preset.departures if each not in preset.config.held_out]
    if len(kept) < len(preset.departures):
        kept += config.held_out
    profile = CUSTOM if preset.profile == "paper" and changed else preset.profile
    return replace(preset, config=config, profile=profile, departures=(*kept, *changed))


def _check_perturbation(preset: Preset, settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting of the perturbation if the outer optimiser has none."""
    rule = getattr(preset.config.settings, "outer", None)
    for name in settings:
        if rule is not None and rule.perturbation_length() is None and name.removeprefix("settings.") in PERTURBATION:
            perturbing = ", ".join(
                each for each in OUTER.known() if OUTER.get(each).config().perturbation_length() is not None
            )
            raise ConfigError(
                f"{name}: the outer optimiser {rule.rule} has no perturbation; take one that has (--outer {perturbing})"
            )
