"""The preset of a method that matches trajectories: its row of hyper-parameters, within the limits of a profile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from satm.methods import OUTER
from satm.presets._types import Preset
from satm.presets.choice import Choice
from satm.presets.numbers import PRINTED_RULES
from satm.presets.rows import nearest_row, numbers_of
from satm.presets.scale import changes, scaled_settings, settings_changes

EXPERTS_SOURCE = "expert count and learning rate are not printed: MTT's 100 and 0.01"
RULE_SOURCE = "the numbers of the outer optimiser are not printed for images: ours (docs/choices.md)"
BASE_SOURCE = "the paper's base is IDC or DREAM: here {}, under its own numbers and defaults"


def matching_preset(choice: Choice) -> Preset:
    """The numbers of `choice.row`, with the method's own outer rule unless `choice.outer` names another."""
    method, scale = choice.method.name, choice.scale
    settings, departures = _settings(choice)
    shared: tuple[str, ...] = ()
    if scale.shared_rows and numbers_of(method).rows:
        shared = (f"{scale.name}: SATM's numbers for every method, so that a comparison differs in it alone",)
    config = choice.config(settings, choice.base.experts(choice.plain_experts()))
    return Preset(
        name=f"{config.set_method}/{choice.dataset}/ipc{choice.ipc}",
        profile=scale.name,
        config=config,
        source=choice.row.source,
        departures=(
            *choice.departures,
            *shared,
            *changes(choice.printed, choice.row, scale),
            *config.held_out,
            EXPERTS_SOURCE,
            *departures,
        ),
    )


def _settings(choice: Choice) -> tuple[Any, tuple[str, ...]]:
    """The method's settings, and how they depart from the printed numbers."""
    row, scale = choice.row, choice.scale
    own, departures = _own_settings(choice)
    given = {
        "outer_steps": row.outer_steps,
        "inner_steps": row.inner_steps,
        "expert_epochs": row.expert_epochs,
        "max_start_epoch": row.max_start_epoch,
        "batch_syn": row.batch_syn,
        "lr_images": row.lr_images,
        "lr_step_size": row.lr_step_size,
        "step_size": row.expert_lr if row.step_size is None else row.step_size,
        **choice.data_settings(),
        **own,
    }
    if choice.outer is not None:
        given["outer"] = OUTER.get(choice.outer).config()
    settings = choice.build(given)
    if settings.engine == "auto":
        settings = replace(settings, engine=scale.engine)
    rule = settings.outer.rule
    if rule not in PRINTED_RULES:
        departures += (RULE_SOURCE,)
    elif PRINTED_RULES[rule] and row.outer_steps != 10_000:
        departures += (f"{scale.name}: {PRINTED_RULES[rule]}",)
    if choice.method.base is not None:
        departures += (BASE_SOURCE.format(choice.base.name),)
    return settings, departures + numbers_of(choice.base.name).departures


def _own_settings(choice: Choice) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings that only this method's table has, fitted to the row that runs, and their departures."""
    method, dataset, ipc = choice.method.name, choice.dataset, choice.ipc
    rows = [row for table in numbers_of(method).rows[:1] for row in table if row.settings]
    if not rows:
        return {}, ()
    row = nearest_row([row for row in rows if row.dataset == dataset] or rows, ipc, choice.row.image_size)
    settings = scaled_settings(row, choice.row)
    if "teacher_epoch" in settings and choice.scale.max_start_epoch is not None:
        settings["teacher_epoch"] = None  # experts are no longer than segments need
    departures = settings_changes(row.settings, settings, choice.scale)
    if (row.dataset, row.ipc) != (dataset, ipc):
        departures += (f"no settings of {method}'s own for this set: those of {row.dataset} IPC {row.ipc}",)
    return settings, departures
