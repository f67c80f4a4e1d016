"""From a data set, an IPC, a method and a profile to the configuration that runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from satm.augment import STRATEGY
from satm.data import CATALOGUE
from satm.errors import ConfigError, UnknownName
from satm.experts import ExpertConfig
from satm.methods import METHODS
from satm.methods.trajectory import TrajectoryConfig
from satm.networks import convnet_name
from satm.presets._types import CondenseConfig, Preset, Row
from satm.presets.profiles import Profile, get_profile
from satm.presets.satm import ROWS

EXPERTS_SOURCE = "expert count and learning rate are not printed: MTT's 100 and 0.01"
SETTINGS_SOURCE = "ρ, γ and the outer momentum are not printed: ours (docs/choices.md)"


def all_rows() -> dict[str, Row]:
    """Every printed or chosen row by name, `cifar10/ipc10`."""
    return {f"{row.dataset}/ipc{row.ipc}": row for row in ROWS}


def find_preset(
    dataset: str,
    ipc: int,
    *,
    method: str = "satm",
    profile: str = "paper",
    image_size: int = 32,
    row: str | None = None,
) -> Preset:
    """The preset for a data set of `image_size` pixels a side.

    The row is the one named, else the data set's own at this IPC, else its nearest IPC, else the nearest IPC of the
    printed set of the nearest size; every step away is a departure. Raises UnknownName for `row`, `profile`,
    `method`, ConfigError for an IPC below 1.
    """
    scale = get_profile(profile)
    METHODS.get(method)
    if ipc < 1:
        raise ConfigError(f"ipc {ipc}: expected at least 1 image per class")
    printed, departures = _choose_row(dataset, ipc, image_size, row)
    known = CATALOGUE.get(dataset) if dataset in CATALOGUE else None
    fitted = printed
    if printed.dataset != dataset:
        fitted = replace(printed, image_size=image_size, depth=_depth(image_size))
    chosen = _scaled(fitted, scale, images=known.num_classes * ipc if known else None)
    departures += _changes(printed, chosen, scale)
    departures += (f"experts train on 90% of train: a validation split is held out ({EXPERTS_SOURCE})", SETTINGS_SOURCE)
    augment = known.augment if known else STRATEGY
    config = CondenseConfig(
        dataset=dataset,
        ipc=ipc,
        method=method,
        architecture=convnet_name(chosen.depth, scale.width),
        image_size=chosen.image_size,
        zca=chosen.zca,
        recipe=scale.recipe,
        experts=ExpertConfig(count=scale.experts, lr=chosen.expert_lr, batch_size=chosen.expert_batch, augment=augment),
        settings=_settings(method, chosen, augment, scale),
    )
    return Preset(
        name=f"{method}/{dataset}/ipc{ipc}", profile=profile, config=config, source=chosen.source, departures=departures
    )


def _choose_row(dataset: str, ipc: int, image_size: int, named: str | None) -> tuple[Row, tuple[str, ...]]:
    rows = all_rows()
    if named is not None:
        if named not in rows:
            raise UnknownName("preset", named, rows)
        row = rows[named]
        return row, (*row.departures, f"the numbers of {named}, as asked")
    own = [row for row in ROWS if row.dataset == dataset]
    if own:
        row = min(own, key=lambda row: (abs(row.ipc - ipc), row.ipc))
        nearest = () if row.ipc == ipc else (f"no numbers for IPC {ipc}: those of IPC {row.ipc}",)
        return row, row.departures + nearest
    row = min(
        (row for row in ROWS if row.donor),
        key=lambda row: (abs(row.image_size - image_size), abs(row.ipc - ipc), row.ipc),
    )
    return row, (*row.departures, f"no numbers for {dataset}: those of {row.dataset} IPC {row.ipc}")


def _depth(image_size: int) -> int:
    """3 up to 32 pixels, 4 up to 64, 5 above (paper A.8)."""
    return 3 if image_size <= 32 else 4 if image_size <= 64 else 5


def _scaled(row: Row, scale: Profile, *, images: int | None) -> Row:
    """`row` within the limits of a profile, for a set of `images` where their number is known."""
    inner_steps = _at_most(row.inner_steps, scale.max_inner_steps)
    batch = scale.max_batch_syn if row.batch_syn is None else _at_most(row.batch_syn, scale.max_batch_syn)
    seen = [count for count in (batch, images) if count is not None]
    outer_steps = _at_most(row.outer_steps, scale.outer_steps)
    if scale.max_inner_images is not None and seen:
        outer_steps = min(outer_steps, max(1, scale.max_inner_images // (inner_steps * min(seen))))
    return replace(
        row,
        inner_steps=inner_steps,
        expert_epochs=_at_most(row.expert_epochs, scale.max_expert_epochs),
        max_start_epoch=_at_most(row.max_start_epoch, scale.max_start_epoch),
        batch_syn=batch,
        lr_images=row.lr_images * scale.image_step,
        outer_steps=outer_steps,
        zca=row.zca and (scale.max_zca_size is None or row.image_size <= scale.max_zca_size),
    )


def _changes(printed: Row, chosen: Row, scale: Profile) -> tuple[str, ...]:
    """How the row that runs differs from the printed one, in words."""
    names = {
        "image_size": "pixels a side",
        "depth": "depth of the ConvNet",
        "inner_steps": "N",
        "expert_epochs": "M",
        "max_start_epoch": "T",
        "batch_syn": "synthetic images an inner step (at most)",
        "lr_images": "learning rate of the images",
        "outer_steps": "outer steps",
        "zca": "ZCA",
    }
    changed = [(word, getattr(printed, name), getattr(chosen, name)) for name, word in names.items()]
    changed = [("width of the ConvNet", 128, scale.width), ("experts", 100, scale.experts), *changed]
    words = [f"{scale.name}: {word} {_spell(new)} instead of {_spell(old)}" for word, old, new in changed if new != old]
    return (*words, f"{scale.name}: evaluated by the recipe `{scale.recipe}`")


def _spell(value: float | None) -> str:
    if value is None:
        return "all"
    return ("on" if value else "off") if isinstance(value, bool) else f"{value:g}"


def _settings(method: str, row: Row, augment: str, scale: Profile) -> Any:
    config: type[Any] = METHODS.get(method).config
    if not issubclass(config, TrajectoryConfig):
        return config()
    return config(
        outer_steps=row.outer_steps,
        inner_steps=row.inner_steps,
        expert_epochs=row.expert_epochs,
        max_start_epoch=row.max_start_epoch,
        batch_syn=row.batch_syn,
        lr_images=row.lr_images,
        lr_step_size=row.lr_step_size,
        step_size=row.expert_lr,
        augment=augment,
        engine=scale.engine,
    )


def _at_most(value: int, limit: int | None) -> int:
    return value if limit is None else min(value, limit)
