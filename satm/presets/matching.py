"""Makes the preset of a method that matches trajectories from a row of hyper-parameters, within a profile's limits."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from satm.experts import ExpertConfig
from satm.methods import OUTER
from satm.presets._types import Preset
from satm.presets.choice import Choice
from satm.presets.numbers import PRINTED_RULES, RULE_SOURCE
from satm.presets.rows import numbers_of
from satm.presets.scale import changes, scaled_settings, settings_changes

EXPERTS_SOURCE = "expert count and learning rate are not printed: MTT's 100 and 0.01; α starts there"
BASE_SOURCE = "the paper's base is IDC or DREAM: here {}, under its own numbers and defaults"


def matching_preset(choice: Choice) -> Preset:
    """The preset with the numbers of `choice.row`.

    Its outer rule is `choice.outer`, or the method's default if that is None.
    """
    scale = choice.scale
    settings, departures = _settings(choice)
    config = choice.config(settings, _experts(choice))
    return Preset(
        name=f"{config.set_method}/{choice.dataset}/ipc{choice.ipc}",
        profile=scale.name,
        config=config,
        source=choice.row.source,
        departures=(
            *_stand_in(choice),
            *choice.departures,
            *changes(choice.printed, choice.row, scale),
            *config.held_out,
            *((EXPERTS_SOURCE,) if choice.printed.method == "satm" else ()),
            *departures,
        ),
    )


def _stand_in(choice: Choice) -> tuple[str, ...]:
    """A sentence about the source of the row's numbers; () if they are from the method `choice.base` itself."""
    row, scale = choice.printed, choice.scale
    if row.method == choice.base.name:
        return ()
    if scale.shared_rows:
        return (f"{scale.name}: SATM's numbers for every method, so that a comparison differs in it alone",)
    return (f"no numbers of {choice.base.name}'s own for this set: {row.method}'s for {row.dataset} IPC {row.ipc}",)


def _experts(choice: Choice) -> ExpertConfig:
    """The configuration of the experts: that of the method `choice.base`.

    If this method uses flat or filtered experts and its own table has numbers for them, these numbers are used. The
    epochs of a filter are scaled like the start epochs.
    """
    experts, own = choice.base.experts(choice.plain_experts()), choice.own_row()
    if own is None:
        return experts
    if experts.flat is not None and own.flat is not None:
        experts = replace(experts, flat=own.flat)
    if experts.filter is not None and own.filter is not None:
        share = choice.row.max_start_epoch / own.max_start_epoch
        experts = replace(experts, filter=own.filter.scaled(share, scorers=choice.row.expert_count))
    return experts


def _settings(choice: Choice) -> tuple[Any, tuple[str, ...]]:
    """The method's configuration, and the sentences that say how it differs from the printed numbers."""
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
    if choice.outer is not None and ("outer" not in own or own["outer"].rule != choice.outer):
        given["outer"] = OUTER.get(choice.outer).config()
    settings = choice.build(given)
    if settings.engine == "auto":
        settings = replace(settings, engine=scale.engine)
    rule = settings.outer.rule
    if rule not in PRINTED_RULES:
        departures += (RULE_SOURCE,)
    elif PRINTED_RULES[rule] and row.outer_steps != 5_000:
        departures += (f"{scale.name}: {PRINTED_RULES[rule]}",)
    if choice.method.base is not None:
        departures += (BASE_SOURCE.format(choice.base.name),)
    return settings, departures + numbers_of(choice.base.name, choice.numbers).departures


def _own_settings(choice: Choice) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings that only this method has, and the sentences that say how they differ from the printed numbers.

    The settings are scaled to the row that is used (`choice.row`).
    """
    row = choice.own_row()
    if row is None:
        return {}, ()
    known = {each.name for each in fields(choice.method.config)}  # MDC does not have the settings of its base
    row = replace(row, settings={name: value for name, value in row.settings.items() if name in known})
    settings = scaled_settings(row, choice.row)
    if "teacher_epoch" in settings and choice.scale.max_start_epoch is not None:
        settings["teacher_epoch"] = None  # the profile limits T, so experts are trained only as long as segments need
    departures = settings_changes(row.settings, settings, choice.scale)
    if row.filter is not None and choice.row.max_start_epoch != row.max_start_epoch:
        departures += (f"{choice.scale.name}: the epochs of experts.filter are scaled like the start epochs",)
    if settings and (row.dataset, row.ipc) != (choice.dataset, choice.ipc):
        settings_of = f"no settings of {choice.base.name}'s own for this set: those of {row.dataset} IPC {row.ipc}"
        departures += (settings_of,)
    return settings, departures
