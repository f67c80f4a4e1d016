"""Chooses the preset of a condensation by data set, IPC and method, and replaces single settings of the preset."""

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
"""The two settings for the length of a sharpness-aware rule's perturbation. Only one of them is set at a time."""

CHOOSING = {"dataset": "the argument DATASET", "ipc": "--ipc", "method": "--method"}
"""What chooses the preset, with the place of each on the command line."""

PERTURBATION = ("outer.radius", "outer.rho", "outer.ramp")
NEUTRAL = ("engine", "compile")
"""Settings that choose how a derivative is computed. They change only rounding errors, so they cause no departure."""


def default_profile() -> str:
    """The name of the profile that is used if none is given: `paper` if a CUDA device is found, else `cpu`."""
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
        ipc: the number of synthetic images of each class.
        method: the condensation method.
        outer: the name of the outer optimiser; None: the method's own.
        profile: `paper`, `cpu` or `smoke`; None: `default_profile()`.
        preset: the name of a row of hyper-parameters, such as `cifar10/ipc10`; None: the data set's own row with the
            nearest IPC or, if it has no row, the nearest row of another data set (`satm.presets.find_preset`).
        settings: new values of settings, by name. Dots lead to a nested setting, as in `experts.count`.
        data_root: the only folder in which data sets are looked for; None: the usual places.

    Raises UsageError for an unknown name or a setting that is out of range.
    """
    settings = settings or {}
    # `image_size` and `base` decide which row the preset has, so they are read before the other settings are replaced.
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
    RECIPES.get(found.config.recipe)  # raises UnknownName: a method of another package may name an unknown recipe
    return with_settings(found, settings)


def with_settings(preset: Preset, settings: Mapping[str, Any], *, by: str = "set by hand") -> Preset:
    """`preset` with single settings replaced. `by` is the text with which the new departures begin.

    Each replaced setting adds one line to the departures, even if its value stays the same. The settings in `NEUTRAL`
    add no line. `validation=0` adds none either, and removes the line about the validation split: all of train is then
    used, as in the publications. If lines are added to a preset of the profile `paper`, its profile becomes `custom`.

    Raises ConfigError for `dataset`, `ipc` and `method`: these are not settings, because they choose the preset.
    """
    if not settings:
        return preset
    for name, option in CHOOSING.items():
        if name in settings:
            raise ConfigError(f"{name} is not a setting: it chooses the preset; give it as {option}")
    _check_perturbation(preset, settings)
    config = CondenseConfig.from_dict(override(preset.config.every_setting(), settings, either=LENGTHS))
    RECIPES.get(config.recipe)  # raises UnknownName now; the evaluation would raise it only after the condensation
    settings = {key: value for key, value in settings.items() if key.split(".")[-1] not in NEUTRAL}
    changed = tuple(f"{by}: {k} = {v}" for k, v in settings.items() if (k, v) != ("validation", 0))
    kept = [each for each in preset.departures if each not in preset.config.held_out]
    if len(kept) < len(preset.departures):
        kept += config.held_out
    profile = CUSTOM if preset.profile == "paper" and changed else preset.profile
    return replace(preset, config=config, profile=profile, departures=(*kept, *changed))


def _check_perturbation(preset: Preset, settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting of the perturbation if the preset's outer optimiser has no perturbation."""
    rule = getattr(preset.config.settings, "outer", None)
    for name in settings:
        if rule is not None and rule.perturbation_length() is None and name.removeprefix("settings.") in PERTURBATION:
            perturbing = ", ".join(
                each for each in OUTER.known() if OUTER.get(each).config().perturbation_length() is not None
            )
            raise ConfigError(
                f"{name}: the outer optimiser {rule.rule} has no perturbation; take one that has (--outer {perturbing})"
            )
