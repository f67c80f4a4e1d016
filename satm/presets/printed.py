"""Builds the preset of a method that matches no trajectories from its printed numbers.

"Printed" means: published in the paper or in the code of the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from satm.experts import ExpertConfig
from satm.methods import OUTER
from satm.networks import batch_normed_name
from satm.parametrisation import parametrisation_of
from satm.presets._types import CondenseConfig, Numbers, Preset, Row
from satm.presets.choice import Choice
from satm.presets.numbers import PRINTED_RULES, RULE_SOURCE
from satm.presets.rows import numbers_of, perturbation
from satm.presets.scale import recipe_change


def spell_printed(method: str) -> list[str]:
    """Lines of text with the printed numbers of `method` and their source."""
    numbers = numbers_of(method)
    stored = {} if numbers.parametrisation == "pixels" else {"parametrisation": numbers.parametrisation}
    several = {dataset: numbers.values_of.get(dataset, {}) for dataset in (*numbers.values_of, *numbers.per_image_of)}
    return [
        f"{method:24} {_spell({**numbers.values, **_rule(numbers.per_image), **stored}) or 'no numbers'}  "
        f"[{numbers.source}]",
        *(
            f"{f'{method}, {dataset}':24} {_spell({**values, **_rule(numbers.per_image_of.get(dataset, {}))})}"
            for dataset, values in several.items()
        ),
        *(f"{f'{method}, IPC {ipc}':24} {_spell(values)}" for ipc, values in numbers.by_ipc.items()),
        *(
            f"{f'{method}, {dataset} IPC {ipc}':24} {_spell(values)}"
            for dataset, found in numbers.by_set.items()
            for ipc, values in found.items()
        ),
    ]


def spell_row(row: Row, method: str) -> list[str]:
    """Lines of text with a row's hyper-parameters, the settings that only its method has, and its departures.

    A departure is a way in which the row differs from its source. `Row` explains the symbols N, M, T and λ. `method` is
    the method that uses the row; the row can be printed for another method. The length of the perturbation is that of
    the outer rule of `method`.
    """
    length = perturbation(method, row)
    batch = "all" if row.batch_syn is None else row.batch_syn
    alpha = row.expert_lr if row.step_size is None else row.step_size
    own = {**row.settings} | ({} if row.flat is None else {"experts.flat": row.flat})
    own |= {} if row.filter is None else {"experts.filter": row.filter}
    return [
        f"{f'{row.dataset}/ipc{row.ipc}':24} N {row.inner_steps}  M {row.expert_epochs}  T {row.max_start_epoch}  "
        f"batch {batch}  lr {row.lr_images:g}  λ {row.lr_step_size:g}  α {alpha:g}  steps {row.outer_steps}  "
        f"{'ZCA' if row.zca else 'mean/std'}  {length + '  ' if length else ''}[{row.source}]",
        *([f"{'':24} {_spell(own)}"] if own else []),
        *(f"{'':24} {departure}" for departure in row.departures),
    ]


def _rule(per_image: Mapping[str, float]) -> dict[str, str]:
    """The settings that are proportional to the IPC, as text: 0.16 for each image becomes `0.16 IPC`."""
    return {name: f"{value:g} IPC" for name, value in per_image.items()}


def _spell(values: Mapping[str, Any]) -> str:
    return "  ".join(part for name, value in values.items() for part in _parts(name, value))


def _parts(name: str, value: Any) -> list[str]:
    """One setting as text. A group of settings (a dataclass) gives one text for each setting that is not None."""
    if not is_dataclass(value):
        return [f"{name} {value}"]
    held = [(each.name, getattr(value, each.name)) for each in fields(value)]
    return [f"{name}.{key} {each}" for key, each in held if each is not None]


def printed_preset(choice: Choice) -> Preset:
    """The preset with the printed numbers of `choice.method`, within the limits of the profile `choice.scale`.

    If some numbers depend on the IPC, the numbers of the nearest printed IPC are used.
    """
    method, scale, name = choice.method, choice.scale, choice.method.name
    numbers = numbers_of(name, choice.numbers)
    values, departures = _values(choice, numbers)
    departures = numbers.departures + numbers.departures_of.get(choice.dataset, ()) + departures
    limits = {**scale.max_settings, **numbers.limits.get(scale.name, {})}
    limited = {name: min(value, limits[name]) if name in limits else value for name, value in values.items()}
    given = {**limited, **choice.data_settings(), **numbers.by_profile.get(scale.name, {})}
    if choice.outer is not None:
        given["outer"] = OUTER.get(choice.outer).config()
        departures += () if choice.outer in PRINTED_RULES else (RULE_SOURCE,)
    settings = choice.build(given)
    if method.unrolls and settings.engine == "auto":
        settings = replace(settings, engine=scale.engine)
    if scale.max_images is not None:
        seen = choice.ipc * parametrisation_of(numbers.parametrisation).each
        settings = method.within(settings, scale.max_images, choice.classes or 10, seen)
    config = replace(choice.config(settings, _experts(choice, numbers)), parametrisation=numbers.parametrisation)
    if numbers.batch_normed:
        config = replace(config, architecture=batch_normed_name(config.architecture))
    config = replace(config, recipe=numbers.recipes.get(scale.name, config.recipe))
    changed = [(name, getattr(settings, name), value) for name, value in values.items()]
    departures += tuple(f"{scale.name}: {name} {new} instead of {old}" for name, new, old in changed if new != old)
    return Preset(
        name=f"{config.set_method}/{choice.dataset}/ipc{choice.ipc}",
        profile=scale.name,
        config=config,
        source=numbers.source,
        departures=departures + _other_departures(choice, config),
    )


def _experts(choice: Choice, numbers: Numbers) -> ExpertConfig:
    """How the experts are trained, and how many there are.

    Both are as printed, but there are at most as many experts as the profile allows. If nothing is printed about the
    experts, both are as the method itself defines them.
    """
    printed = numbers.experts
    if printed is None:
        return choice.method.experts(choice.plain_experts())
    count = min(printed.count, numbers.most_experts.get(choice.scale.name, printed.count))
    return replace(printed, augment=choice.augment, count=count)


def _values(choice: Choice, numbers: Numbers) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The printed settings, and the departures that they cause.

    Some settings depend on the IPC. If they are printed as a rule (a number for each image of a class), the rule is
    applied to the IPC. If they are printed for some IPCs, the numbers of the nearest of these IPCs are used; it is a
    departure if this is not the requested IPC.
    """
    own = numbers.by_set.get(choice.dataset, {})
    printed = {**numbers.by_ipc, **own}
    rule = {**numbers.per_image, **numbers.per_image_of.get(choice.dataset, {})}
    values = {**numbers.values, **numbers.values_of.get(choice.dataset, {})}
    values |= {name: value * choice.row_ipc for name, value in rule.items()}
    if not printed:
        return values, ()
    known = min(printed, key=lambda each: (abs(each - choice.row_ipc), each))
    what = ", ".join(printed[known])
    departures = () if known == choice.ipc else (f"no numbers for IPC {choice.ipc}: those of IPC {known} ({what})",)
    return {**values, **printed[known]}, departures


def _other_departures(choice: Choice, config: CondenseConfig) -> tuple[str, ...]:
    """The departures of the network, the data, the evaluation and the experts from the source, in words."""
    scale = choice.scale
    width = () if scale.width == 128 else (f"{scale.name}: width of the ConvNet {scale.width} instead of 128",)
    with_experts = choice.method.expert_epochs(config.settings) is not None
    with_teacher = choice.method.teacher(config.settings) is not None
    rate = "" if with_teacher else ", its step size chosen on the validation split"
    ours, theirs = config.experts.batch_size, choice.printed.expert_batch
    printed = numbers_of(config.method, choice.numbers).experts
    batch: tuple[str, ...] = ()
    if printed is not None and printed.count != config.experts.count:
        batch = (f"{scale.name}: {config.experts.count} experts instead of {printed.count}",)
    if with_experts and printed is None and ours != theirs:
        batch = (f"{scale.name}: mini-batch of the experts {ours} instead of {theirs}",)
    return (
        *width,
        *config.held_out,
        *recipe_change(scale, config.recipe, rate),
        *batch,
    )
