"""The preset of a method that matches no trajectories: its printed numbers, within the limits of a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from satm.presets._types import CondenseConfig, Preset
from satm.presets.choice import Choice
from satm.presets.rows import numbers_of


def spell_printed(method: str) -> list[str]:
    """Lines of text with the printed numbers of `method` and their source."""
    numbers = numbers_of(method)
    return [
        f"{method:24} {_spell(numbers.values) or 'no numbers'}  [{numbers.source}]",
        *(f"{f'{method}, IPC {ipc}':24} {_spell(values)}" for ipc, values in numbers.by_ipc.items()),
    ]


def _spell(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {value}" for name, value in values.items())


def printed_preset(choice: Choice) -> Preset:
    """The printed numbers of `choice.method`. If some depend on the IPC, those of the nearest printed IPC."""
    method, scale, name = choice.method, choice.scale, choice.method.name
    numbers, departures = numbers_of(name), numbers_of(name).departures
    values = dict(numbers.values)
    if numbers.by_ipc:
        known = min(numbers.by_ipc, key=lambda each: (abs(each - choice.row_ipc), each))
        values |= numbers.by_ipc[known]
        departures += () if known == choice.ipc else (f"no loops for IPC {choice.ipc}: those of IPC {known}",)
    limits = {**scale.max_settings, **numbers.limits.get(scale.name, {})}
    limited = {name: min(value, limits[name]) if name in limits else value for name, value in values.items()}
    settings = choice.build({**limited, **choice.data_settings()})
    if scale.max_images is not None:
        settings = method.within(settings, scale.max_images, choice.classes or 10, choice.ipc)
    plain = choice.plain_experts()
    experts = method.experts(plain) if numbers.experts is None else replace(numbers.experts, augment=choice.augment)
    config = choice.config(settings, experts)
    changed = [(name, getattr(settings, name), value) for name, value in values.items()]
    departures += tuple(f"{scale.name}: {name} {new} instead of {old}" for name, new, old in changed if new != old)
    return Preset(
        name=f"{name}/{choice.dataset}/ipc{choice.ipc}",
        profile=scale.name,
        config=config,
        source=numbers.source,
        departures=departures + _other_departures(choice, config),
    )


def _other_departures(choice: Choice, config: CondenseConfig) -> tuple[str, ...]:
    """How the network, the data, the evaluation and the experts differ from the source."""
    scale = choice.scale
    width = () if scale.width == 128 else (f"{scale.name}: width of the ConvNet {scale.width} instead of 128",)
    with_experts = choice.method.expert_epochs(config.settings) is not None
    ours, theirs = config.experts.batch_size, choice.printed.expert_batch
    batch: tuple[str, ...] = ()
    if with_experts and numbers_of(config.method).experts is None and ours != theirs:
        batch = (f"{scale.name}: mini-batch of the experts {ours} instead of {theirs}",)
    return (
        *width,
        *config.held_out,
        f"{scale.name}: evaluated by the recipe `{scale.recipe}`, its step size chosen on the validation split",
        *batch,
    )
