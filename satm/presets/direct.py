"""Numbers of the methods that match no trajectories, with their sources, and what the smaller profiles make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from satm.experts import ExpertConfig
from satm.methods import METHODS
from satm.networks import convnet_name
from satm.presets._types import CondenseConfig, Preset, Row
from satm.presets.build import build
from satm.presets.profiles import Profile

DC_CODE = "DC's code (main.py and utils.py at 53f63a6)"
DSA_CODE = f"{DC_CODE}, its README's --init real"
DM_CODE = "DM's code (main_DM.py at 53f63a6)"
RDED_CODE = "RDED's code (argument.py and scripts/ at 31f9117)"

# get_loops of DC's utils.py: updates of the images a network, epochs of its training between two of them, by IPC.
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}

# What a method prints, beyond the loops. A network is trained on φ at 0.01 in batches of 256, α is none of theirs.
PRINTED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "random": ({}, "real images: nothing is printed"),
    "dc": ({"networks": 1000, "lr_images": 0.1, "batch_real": 256, "init": "noise"}, DC_CODE),
    "dsa": (
        {"networks": 1000, "lr_images": 0.1, "batch_real": 256, "init": "real"},
        DSA_CODE,
    ),
    "dm": ({"outer_steps": 20_000, "lr_images": 1.0, "batch_real": 256, "init": "real"}, DM_CODE),
    "rded": ({"candidates": 300, "crops": 5, "expert_epochs": 50}, RDED_CODE),
    "herding": ({"expert_epochs": 50}, "MTT's experts; their number of epochs is its code's"),
    "kcenter": ({"expert_epochs": 50}, "MTT's experts; their number of epochs is its code's"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a profile allows; null: as printed."""

    batch_real: int | None = None  # real images a class at a step, at most
    inner_epochs: int | None = None  # of training the network between two updates, at most
    images: int | None = None  # that pass a network forwards and backwards in all: what bounds the time
    expert_epochs: int | None = None  # of the expert whose features count, at most
    teacher_epochs: int | None = None  # of RDED's teacher, at most
    image_step: Mapping[str, float] | None = None  # factor on lr_images, by method: fewer steps, larger ones


LIMITS = {
    "paper": Limits(),
    "cpu": Limits(batch_real=64, inner_epochs=5, images=200_000, expert_epochs=5, teacher_epochs=10),
    "smoke": Limits(batch_real=16, inner_epochs=1, images=4_000, expert_epochs=1, teacher_epochs=1),
}

TEACHER = ExpertConfig(count=1, lr=0.01, momentum=0.9, weight_decay=5e-4)
TEACHER_SOURCE = (
    "RDED's teacher is trained by the field's evaluation recipe (momentum 0.9, weight decay 5e-4), not its own"
)
DEPARTURES = {
    "random": ("in the space of the trajectory methods",),
    "rded": (TEACHER_SOURCE, "one soft label an image for those of its crops at every epoch"),
    "herding": ("in the space of the trajectory methods, whose experts it shares",),
    "kcenter": ("in the space of the trajectory methods, whose experts it shares",),
}


def _printed(method: str) -> tuple[Mapping[str, Any], str]:
    """A method's numbers, none for another package's, and where they come from."""
    return PRINTED[method] if method in PRINTED else ({}, f"the defaults of {METHODS.owner(method)}")


def spell_printed(method: str) -> list[str]:
    """Lines that say what `method` prints, and where."""
    values, source = _printed(method)
    words = "  ".join(f"{name} {value}" for name, value in values.items()) or "no numbers"
    lines = [f"{method:24} {words}  [{source}]"]
    if method in ("dc", "dsa"):
        lines += [f"{f'{method}, IPC {ipc}':24} updates {a}  inner_epochs {b}" for ipc, (a, b) in LOOPS.items()]
    return lines


def direct_preset(
    method: str, dataset: str, ipc: int, fitted: Row, scale: Profile, *, augment: str, classes: int, row_ipc: int
) -> Preset:
    """The preset of a method without trajectories for a set like `fitted`, with the loops of IPC `row_ipc`."""
    limits = LIMITS[scale.name]
    values, source = _printed(method)
    departures = DEPARTURES.get(method, ())
    printed = dict(values)
    if method in ("dc", "dsa"):
        known = min(LOOPS, key=lambda each: (abs(each - row_ipc), each))
        departures += () if known == ipc else (f"no loops for IPC {ipc}: those of IPC {known}",)
        printed["updates"], printed["inner_epochs"] = LOOPS[known]
    if method in ("dsa", "dm"):
        printed["augment"] = augment
    if method == "rded":
        printed["factor"] = 1 if fitted.image_size <= 64 else 2
    settings = build(method, **printed)
    if method in PRINTED:
        settings = _bounded(settings, limits, method, classes, ipc)
    shares_space = method in ("random", "herding", "kcenter") or method not in PRINTED
    count = 1 if method in PRINTED else scale.experts
    plain = ExpertConfig(count=count, lr=fitted.expert_lr, batch_size=fitted.expert_batch)
    experts = TEACHER if method == "rded" else METHODS.get(method).experts(plain)
    config = CondenseConfig(
        dataset=dataset,
        ipc=ipc,
        method=method,
        architecture=convnet_name(fitted.depth, scale.width),
        image_size=fitted.image_size,
        zca=shares_space and fitted.zca,
        recipe=scale.recipe,
        experts=replace(experts, augment=augment),
        settings=settings,
    )
    changed = [(name, getattr(settings, name), value) for name, value in printed.items()]
    departures += tuple(f"{scale.name}: {name} {new} instead of {old}" for name, new, old in changed if new != old)
    if scale.width != 128:
        departures += (f"{scale.name}: width of the ConvNet {scale.width} instead of 128",)
    if METHODS.get(method).expert_epochs(settings) is None:
        departures += ("90% of train: a validation split is held out",)
    else:
        departures += ("the expert trains on 90% of train: a validation split is held out",)
    departures += (
        f"{scale.name}: evaluated by the recipe `{scale.recipe}`, its step size chosen on the validation split",
    )
    return Preset(
        name=f"{method}/{dataset}/ipc{ipc}",
        profile=scale.name,
        config=config,
        source=source,
        departures=departures,
    )


def expert_changes(config: CondenseConfig, printed: Row, scale: Profile) -> tuple[str, ...]:
    """How the experts that a method chooses by differ from those of the printed row."""
    uses = config.method != "rded" and METHODS.get(config.method).expert_epochs(config.settings) is not None
    ours, theirs = config.experts.batch_size, printed.expert_batch
    if not uses or ours == theirs:
        return ()
    return (f"{scale.name}: mini-batch of the experts {ours} instead of {theirs}",)


def _bounded(settings: Any, limits: Limits, method: str, classes: int, ipc: int) -> Any:
    """`settings` within the limits of a profile."""
    epochs = limits.teacher_epochs if method == "rded" else limits.expert_epochs
    changes: dict[str, Any] = {}
    for name, limit in (
        ("batch_real", limits.batch_real),
        ("inner_epochs", limits.inner_epochs),
        ("expert_epochs", epochs),
    ):
        if limit is not None and hasattr(settings, name):
            changes[name] = min(getattr(settings, name), limit)
    if limits.image_step is not None and method in limits.image_step:
        changes["lr_images"] = settings.lr_images * limits.image_step[method]
    settings = replace(settings, **changes)
    if limits.images is None or not hasattr(settings, "steps"):
        return settings
    steps = max(1, int(limits.images / settings.images_a_step(classes, ipc)))
    if method == "dm":
        return replace(settings, outer_steps=min(settings.outer_steps, steps))
    networks = max(1, steps // settings.updates)
    return replace(settings, networks=min(settings.networks, networks), updates=min(settings.updates, steps))
