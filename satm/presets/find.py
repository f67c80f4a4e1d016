"""From a data set, an IPC, a method and a profile to the configuration that runs."""

from __future__ import annotations

from typing import Any

from satm.errors import UnknownName
from satm.experts import ExpertConfig
from satm.methods import METHODS, SATMConfig
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
    printed set of the nearest size; every step away is a departure. Raises UnknownName for `row`, `profile`, `method`.
    """
    scale = get_profile(profile)
    METHODS.get(method)
    chosen, departures = _choose_row(dataset, ipc, image_size, row)
    if scale.name != "paper":
        departures += _departures(chosen, scale)
    departures += (f"experts train on 90% of train: a validation split is held out ({EXPERTS_SOURCE})", SETTINGS_SOURCE)
    own_size = chosen.dataset != dataset
    config = CondenseConfig(
        dataset=dataset,
        ipc=ipc,
        method=method,
        architecture=convnet_name(_depth(image_size) if own_size else chosen.depth, scale.width),
        image_size=image_size if own_size else chosen.image_size,
        zca=chosen.zca and (scale.max_zca_size is None or image_size <= scale.max_zca_size),
        recipe=scale.recipe,
        experts=ExpertConfig(
            count=scale.experts, lr=chosen.expert_lr, batch_size=chosen.expert_batch, augment=chosen.augment
        ),
        settings=_settings(method, chosen, scale),
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
    row = min(ROWS, key=lambda row: (abs(row.image_size - image_size), abs(row.ipc - ipc), row.ipc))
    return row, (*row.departures, f"no numbers for {dataset}: those of {row.dataset} IPC {row.ipc}")


def _depth(image_size: int) -> int:
    """3 up to 32 pixels, 4 up to 64, 5 above (paper A.8)."""
    return 3 if image_size <= 32 else 4 if image_size <= 64 else 5


def _settings(method: str, row: Row, scale: Profile) -> Any:
    if method != "satm":
        return METHODS.get(method).config()
    return SATMConfig(
        outer_steps=min(row.outer_steps, scale.outer_steps),
        inner_steps=_at_most(row.inner_steps, scale.max_inner_steps),
        expert_epochs=_at_most(row.expert_epochs, scale.max_expert_epochs),
        max_start_epoch=_at_most(row.max_start_epoch, scale.max_start_epoch),
        batch_syn=_batch(row.batch_syn, scale.max_batch_syn),
        lr_images=row.lr_images * scale.image_step,
        lr_step_size=row.lr_step_size,
        step_size=row.expert_lr,
        augment=row.augment,
    )


def _at_most(value: int, limit: int | None) -> int:
    return value if limit is None else min(value, limit)


def _batch(value: int | None, limit: int | None) -> int | None:
    return limit if value is None else _at_most(value, limit)


def _departures(row: Row, scale: Profile) -> tuple[str, ...]:
    """What the scale changes, in words."""
    changes = [
        f"{scale.name}: ConvNet of width {scale.width} instead of 128",
        f"{scale.name}: {scale.experts} experts instead of 100",
        f"{scale.name}: {min(row.outer_steps, scale.outer_steps)} outer steps instead of {row.outer_steps:,}",
        f"{scale.name}: evaluated by the recipe `{scale.recipe}`",
        f"{scale.name}: image learning rate × {scale.image_step:g}",
    ]
    limits = (
        ("N", row.inner_steps, scale.max_inner_steps),
        ("M", row.expert_epochs, scale.max_expert_epochs),
        ("T", row.max_start_epoch, scale.max_start_epoch),
    )
    changes += [
        f"{scale.name}: {s} = {_at_most(v, limit)} instead of {v}" for s, v, limit in limits if limit and v > limit
    ]
    if scale.max_batch_syn is not None and (row.batch_syn is None or row.batch_syn > scale.max_batch_syn):
        changes.append(f"{scale.name}: at most {scale.max_batch_syn} synthetic images an inner step")
    if row.zca and scale.max_zca_size is not None and row.image_size > scale.max_zca_size:
        changes.append(f"{scale.name}: no ZCA above {scale.max_zca_size} pixels")
    return tuple(changes)
