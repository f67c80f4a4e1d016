"""From a data set, an IPC, a method and a profile to the configuration that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from satm.augment import STRATEGY
from satm.data import CATALOGUE
from satm.errors import ConfigError, UnknownName
from satm.experts import ExpertConfig
from satm.methods import METHODS, OUTER, TrajectoryConfig
from satm.methods.mdc import MDCConfig, base_kind
from satm.methods.outer import EMA
from satm.methods.trajectory.config import default_of, default_outer, set_method
from satm.networks import convnet_depth, convnet_name
from satm.presets import datm, ftd, mtt, satm, tesla
from satm.presets._types import CondenseConfig, Preset, Row
from satm.presets.build import build
from satm.presets.direct import direct_preset, expert_changes
from satm.presets.profiles import Profile, get_profile
from satm.presets.scale import changes, scaled, scaled_settings, settings_changes

# The tables that a method takes its numbers from: the first that has a data set at an IPC counts.
TABLES: dict[str, tuple[tuple[Row, ...], ...]] = {
    "mtt": (mtt.ROWS, satm.ROWS),
    "ftd": (ftd.ROWS, mtt.ROWS, satm.ROWS),
    "tesla": (tesla.ROWS, mtt.ROWS, satm.ROWS),
    "datm": (datm.ROWS, satm.ROWS),
    "mdc": (mtt.ROWS, satm.ROWS),  # MDC's own numbers are IDC's
    "satm-da": (datm.ROWS, satm.ROWS),  # Table 7 prints no numbers of its own
}
SHARED = (satm.ROWS,)

EXPERTS_SOURCE = "expert count and learning rate are not printed: MTT's 100 and 0.01"
RULE_SOURCE = "the numbers of the outer optimiser are not printed for images: ours (docs/choices.md)"
BASE_SOURCE = "the paper's base is IDC or DREAM: here {}, under its own numbers and defaults"
MOMENTUM_SOURCE = "the outer momentum is not printed: ours (docs/choices.md)"


def all_rows(method: str = "satm") -> dict[str, Row]:
    """Every printed or chosen row that a method may take, by name, `cifar10/ipc10`."""
    METHODS.get(method)
    return _by_name(TABLES.get(method, SHARED))


def find_preset(
    dataset: str,
    ipc: int,
    *,
    method: str = "satm",
    outer: str | None = None,
    profile: str = "paper",
    image_size: int = 32,
    row: str | None = None,
    base: str | None = None,
) -> Preset:
    """The preset for a data set of `image_size` pixels a side.

    The row is the one named, else the data set's own at this IPC, else its nearest IPC, else the nearest IPC of the
    printed set of the nearest size; every step away is a departure. `outer` names another outer optimiser than the
    method's, `base` the method under `mdc` (`mtt` unless told), whose numbers, defaults and experts it takes. Raises
    UnknownName for `row`, `profile`, `method`, `outer`, `base`, ConfigError for an IPC below 1, for an outer optimiser
    where there is no outer loop of trajectories, and for a base that has none.
    """
    scale = get_profile(profile)
    kind = METHODS.get(method).config
    core = base or default_of(MDCConfig, "base") if kind is MDCConfig else method
    if ipc < 1:
        raise ConfigError(f"ipc {ipc}: expected at least 1 image per class")
    tables = SHARED if scale.shared_rows else TABLES.get(core, SHARED)
    printed, departures = _choose_row(dataset, ipc, image_size, row, list(_by_name(tables).values()))
    if scale.shared_rows and method in TABLES:
        departures += (f"{scale.name}: SATM's numbers for every method, so that a comparison differs in it alone",)
    known = CATALOGUE.get(dataset) if dataset in CATALOGUE else None
    fitted, borrowed = printed, printed.dataset != dataset
    if borrowed:
        fitted = replace(printed, image_size=image_size, depth=convnet_depth(image_size))
    images = known.num_classes * ipc if known else None
    chosen = scaled(fitted, scale, images=images, borrowed=borrowed and row is None)
    augment = known.augment if known else STRATEGY
    if not issubclass(kind, TrajectoryConfig):
        if outer is not None:
            raise _no_outer_loop(method, outer)
        preset = direct_preset(
            method,
            dataset,
            ipc,
            chosen,
            scale,
            augment=augment,
            classes=known.num_classes if known else 10,
            row_ipc=ipc if row is None else printed.ipc,
        )
        return replace(preset, departures=preset.departures + expert_changes(preset.config, printed, scale))
    departures += changes(printed, chosen, scale)
    departures += (f"experts train on 90% of train: a validation split is held out ({EXPERTS_SOURCE})",)
    settings, more = _settings(method, core, outer, chosen, augment, dataset, ipc, scale)
    experts = ExpertConfig(count=scale.experts, lr=chosen.expert_lr, batch_size=chosen.expert_batch, augment=augment)
    config = CondenseConfig(
        dataset=dataset,
        ipc=ipc,
        method=method,
        architecture=convnet_name(chosen.depth, scale.width),
        image_size=chosen.image_size,
        zca=chosen.zca,
        recipe=scale.recipe,
        experts=METHODS.get(core).experts(experts),
        settings=settings,
    )
    return Preset(
        name=f"{set_method(method, settings)}/{dataset}/ipc{ipc}",
        profile=profile,
        config=config,
        source=chosen.source,
        departures=departures + more,
    )


def _by_name(tables: Sequence[Sequence[Row]]) -> dict[str, Row]:
    return {f"{row.dataset}/ipc{row.ipc}": row for table in reversed(tables) for row in table}


def _choose_row(
    dataset: str, ipc: int, image_size: int, named: str | None, rows: Sequence[Row]
) -> tuple[Row, tuple[str, ...]]:
    if named is not None:
        by_name = _by_name([rows])
        if named not in by_name:
            raise UnknownName("preset", named, by_name)
        row = by_name[named]
        return row, (*row.departures, f"the numbers of {named}, as asked")
    own = [row for row in rows if row.dataset == dataset]
    if own:
        row = min(own, key=lambda row: (abs(row.ipc - ipc), row.ipc))
        nearest = () if row.ipc == ipc else (f"no numbers for IPC {ipc}: those of IPC {row.ipc}",)
        return row, row.departures + nearest
    row = _nearest([row for row in rows if row.donor], ipc, image_size)
    return row, (*row.departures, f"no numbers for {dataset}: those of {row.dataset} IPC {row.ipc}")


def _nearest(rows: Sequence[Row], ipc: int, image_size: int) -> Row:
    return min(rows, key=lambda row: (abs(row.image_size - image_size), abs(row.ipc - ipc), row.ipc))


def _settings(
    method: str, core: str, outer: str | None, row: Row, augment: str, dataset: str, ipc: int, scale: Profile
) -> tuple[Any, tuple[str, ...]]:
    """The configuration of `method` on `core`, itself but for `mdc`, and how it departs from what is printed."""
    config: type[Any] = METHODS.get(method).config
    over = config is MDCConfig
    config = base_kind(core) if over else config
    own, departures = _own_settings(method, row, dataset, ipc, scale)
    rule = default_outer(config) if outer is None else OUTER.get(outer).config()
    if isinstance(rule, EMA):
        if row.outer_steps != 10_000:
            departures += (f"{scale.name}: decay 1 − 5 / outer steps instead of 0.9995: the same share of all steps",)
    elif rule.rule != "sgd":
        departures += (RULE_SOURCE,)
    if over:
        departures += (BASE_SOURCE.format(core),)
    if core.startswith("satm"):
        departures += (MOMENTUM_SOURCE,)
    make = partial(MDCConfig.over, core) if over else partial(build, method)
    settings = make(
        outer_steps=row.outer_steps,
        inner_steps=row.inner_steps,
        expert_epochs=row.expert_epochs,
        max_start_epoch=row.max_start_epoch,
        batch_syn=row.batch_syn,
        lr_images=row.lr_images,
        lr_step_size=row.lr_step_size,
        step_size=row.expert_lr if row.step_size is None else row.step_size,
        augment=augment,
        engine=scale.engine if default_of(config, "engine") == "auto" else default_of(config, "engine"),
        outer=rule,
        **own,
    )
    return settings, departures


def _no_outer_loop(method: str, outer: str) -> ConfigError:
    taking = [each for each in METHODS.known() if issubclass(METHODS.get(each).config, TrajectoryConfig)]
    return ConfigError(
        f"--outer {outer}: method {method} has no outer loop of trajectories; leave it out, or take {', '.join(taking)}"
    )


def _own_settings(
    method: str, chosen: Row, dataset: str, ipc: int, scale: Profile
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the method's own table says beyond the shared symbols, fitted to the row that runs."""
    rows = [row for row in TABLES.get(method, ((),))[0] if row.settings]
    if not rows:
        return {}, ()
    own = [row for row in rows if row.dataset == dataset]
    row = _nearest(own or rows, ipc, chosen.image_size)
    settings = scaled_settings(row, chosen)
    if "teacher_epoch" in settings and scale.max_start_epoch is not None:
        settings["teacher_epoch"] = None  # experts are no longer than segments need
    departures = settings_changes(row.settings, settings, scale)
    if (row.dataset, row.ipc) != (dataset, ipc):
        departures += (f"no settings of {method}'s own for this set: those of {row.dataset} IPC {row.ipc}",)
    return settings, departures
