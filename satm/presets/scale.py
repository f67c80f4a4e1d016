"""Applies the limits of a profile to a row of hyper-parameters, and puts the changes into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any, TypeVar

from satm.presets._types import Row
from satm.presets.profiles import Profile

N = TypeVar("N", int, float)


def scaled(row: Row, scale: Profile, *, images: int | None, borrowed: bool = False) -> Row:
    """`row` within the limits of the profile `scale`.

    `images` is the number of synthetic images, or None if this number is not known. `borrowed` means that the row was
    borrowed from another data set, so that the two limits of the profile for this case apply, too.
    """
    inner_steps = at_most(row.inner_steps, scale.max_inner_steps)
    batch = scale.max_batch_syn if row.batch_syn is None else at_most(row.batch_syn, scale.max_batch_syn)
    seen = [count for count in (batch, images) if count is not None]
    outer_steps = at_most(row.outer_steps, scale.outer_steps)
    if scale.max_inner_images is not None and seen:
        outer_steps = min(outer_steps, max(1, scale.max_inner_images // (inner_steps * min(seen))))
    if borrowed:
        row = replace(
            row,
            expert_batch=at_most(row.expert_batch, scale.max_borrowed_expert_batch),
            lr_step_size=at_most(row.lr_step_size, scale.max_borrowed_lr_step_size),
        )
    return replace(
        row,
        expert_count=min(row.expert_count, scale.experts),
        inner_steps=inner_steps,
        expert_epochs=at_most(row.expert_epochs, scale.max_expert_epochs),
        max_start_epoch=at_most(row.max_start_epoch, scale.max_start_epoch),
        batch_syn=batch,
        lr_images=row.lr_images * scale.image_step,
        outer_steps=outer_steps,
        zca=row.zca and (scale.max_zca_size is None or row.image_size <= scale.max_zca_size),
    )


def scaled_settings(printed: Row, chosen: Row) -> dict[str, Any]:
    """The settings of `printed` that only its method has, scaled to the numbers of `chosen`.

    `printed` is the row as its source prints it, `chosen` the row that runs. Start epochs are scaled by the ratio of
    the largest start epochs T of the two rows, numbers of outer steps by the ratio of the outer steps.
    """
    settings = dict(printed.settings)
    epochs = chosen.max_start_epoch / printed.max_start_epoch
    first = int(settings.get("min_start_epoch", 0) * epochs)
    if "min_start_epoch" in settings:
        settings["min_start_epoch"] = first
    if "first_upper_epoch" in settings:
        upper = ceil(settings["first_upper_epoch"] * epochs)
        settings["first_upper_epoch"] = min(max(first + 1, upper), chosen.max_start_epoch)
    if "expansion_steps" in settings:
        settings["expansion_steps"] = max(1, settings["expansion_steps"] * chosen.outer_steps // printed.outer_steps)
    return settings


def changes(printed: Row, chosen: Row, scale: Profile) -> tuple[str, ...]:
    """How the row that runs (`chosen`) differs from the row as its source prints it (`printed`), in words."""
    names = {
        "expert_count": "experts",
        "image_size": "pixels a side",
        "depth": "depth of the ConvNet",
        "inner_steps": "N",
        "expert_epochs": "M",
        "max_start_epoch": "T",
        "batch_syn": "synthetic images an inner step (at most)",
        "lr_images": "learning rate of the images",
        "lr_step_size": "learning rate of α",
        "expert_batch": "mini-batch of the experts",
        "outer_steps": "outer steps",
        "zca": "ZCA",
    }
    changed = [(word, getattr(printed, name), getattr(chosen, name)) for name, word in names.items()]
    changed = [("width of the ConvNet", 128, scale.width), *changed]
    words = [f"{scale.name}: {word} {spell(new)} instead of {spell(old)}" for word, old, new in changed if new != old]
    return (*words, *recipe_change(scale, scale.recipe or ""))


def recipe_change(scale: Profile, recipe: str, more: str = "") -> tuple[str, ...]:
    """A tuple with one sentence: that the evaluation uses `recipe`, followed by the text `more`.

    The tuple is empty if the profile `scale` has no recipe of its own, because the recipe of the method's publication
    is then used.
    """
    return () if scale.recipe is None else (f"{scale.name}: evaluated by the recipe `{recipe}`{more}",)


def settings_changes(printed: Mapping[str, Any], chosen: Mapping[str, Any], scale: Profile) -> tuple[str, ...]:
    """How the values in `chosen` differ from those in `printed`, in words.

    Both map the names of settings that only one method has to their values.
    """
    return tuple(
        f"{scale.name}: {name} {spell(chosen[name], null='null')} instead of {spell(printed[name])}"
        for name in printed
        if chosen[name] != printed[name]
    )


def spell(value: float | str | None, *, null: str = "all") -> str:
    """The value of a setting as text. `null` is the text for None."""
    if value is None:
        return null
    if isinstance(value, str):
        return value
    return ("on" if value else "off") if isinstance(value, bool) else f"{value:g}"


def at_most(value: N, limit: N | None) -> N:
    """The smaller one of `value` and `limit`. A limit of None is no limit."""
    return value if limit is None else min(value, limit)
