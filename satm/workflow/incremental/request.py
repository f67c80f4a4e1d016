"""What a class-incremental evaluation was asked for: checked, completed and described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from protocols.base import ClassIncremental
from protocols.settings import Setting
from registry import Registry
from satm.config import from_dict, override, to_dict
from satm.errors import ConfigError, RegistryError
from satm.presets import class_incremental_repeats
from satm.presets.profiles import CUSTOM
from satm.workflow.evaluate.subject import Subject
from satm.workflow.incremental.memories import Budget, Kind, MemorySource
from satm.workflow.incremental.rows import ORDERS

RatePolicy: TypeAlias = float | Literal["learned", "grid"] | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The protocol and its numbers."""

    protocol: ClassIncremental
    config: Any
    steps: int
    setting: Setting | None
    changed: tuple[str, ...]  # settings replaced by hand

    def repeats(self, subject: Subject, orders: int | None, networks: int | None) -> tuple[int, int]:
        """Class orders, and networks for each: as asked, else the preset's, else those of the set's profile."""
        usual = class_incremental_repeats(subject.profile)
        if self.setting is not None and subject.profile not in ("cpu", "smoke"):
            usual = self.setting.orders, self.setting.networks
        orders, networks = usual[0] if orders is None else orders, usual[1] if networks is None else networks
        if not 1 <= orders <= ORDERS:
            raise ConfigError(f"orders {orders}: expected 1 to {ORDERS} class orders")
        if networks < 1:
            raise ConfigError(f"networks {networks}: expected at least 1 for each class order")
        return orders, networks

    def profile(self, subject: Subject) -> str:
        """What the numbers may be called."""
        return CUSTOM if self.changed and subject.profile == "paper" else subject.profile

    def recipe(self, subject: Subject) -> tuple[str, dict[str, Any]]:
        """Name and numbers of how networks are trained, as they are stored."""
        recipe = subject.recipe
        if not self.protocol.builds_on:
            return recipe.name, recipe.to_dict()
        named = ", ".join(f"{key} {value}" for key, value in to_dict(self.config).items() if key in self.changed)
        name = f"{self.protocol.name} {recipe.scale}" + (f", {named}" if named else "")
        stated = {"name": name, "protocol": self.protocol.name, "scale": recipe.scale, "augment": recipe.augment}
        return name, stated | to_dict(self.config)

    def opening(
        self,
        subject: Subject,
        source: MemorySource,
        architecture: str,
        orders: int,
        networks: int,
        groups: tuple[tuple[int, ...], ...],
        departures: tuple[str, ...],
    ) -> list[str]:
        """What is about to be done."""
        lines = []
        if len({len(group) for group in groups}) > 1:
            sizes = ", ".join(str(len(group)) for group in groups)
            lines.append(f"{len(subject.data.classes)} classes over {self.steps} steps: {sizes} classes each")
        name, recipe = self.recipe(subject)
        held = "without a memory" if source.kind == "none" else f"on {source.name} images"
        lines.append(
            f"{subject.record.name} ({self.profile(subject)}): {self.protocol.name} {held}, {architecture}, {orders} "
            f"class orders of {self.steps} steps, {networks} networks each, recipe {name} ({recipe['epochs']} epochs)"
        )
        if self.setting is not None:
            lines.append(f"preset {self.setting.name}: {self.setting.source}")
            lines += [f"departure: {each}" for each in departures]
        return lines


def memory_kind(protocol: ClassIncremental, memory: Kind | None, budget: Budget, per_step: bool) -> Kind:
    """The memory a protocol is handed; raises ConfigError for a combination that makes no sense."""
    if not protocol.memory:
        if memory not in (None, "none") or per_step:
            asked = "--condense-per-step" if per_step else f"memory {memory}"
            raise ConfigError(f"protocol {protocol.name} keeps no memory; leave {asked} out, or take gdumb or replay")
        return "none"
    kind: Kind = memory or "condensed"
    if kind not in ("condensed", "random", "herding"):
        raise ConfigError(f"memory {kind} for protocol {protocol.name}: expected condensed, random or herding")
    if budget not in ("images", "bytes"):
        raise ConfigError(f"budget {budget}: expected images or bytes")
    if budget == "bytes" and kind == "condensed":
        raise ConfigError("budget bytes: it is the condensed set's own; it bounds memory random or herding")
    if per_step and kind != "condensed":
        raise ConfigError(f"--condense-per-step makes a condensed memory; leave memory {kind} out")
    return kind


def protocol_config(protocol: ClassIncremental, subject: Subject, rate: RatePolicy, settings: Mapping[str, Any]) -> Any:
    """The protocol's settings at the recipe's scale, single ones replaced."""
    if protocol.builds_on and isinstance(rate, str):
        raise ConfigError(
            f"learning rate {rate}: protocol {protocol.name} trains on the stream of real images at one of its own; "
            "state a number, or leave it out"
        )
    in_avalanche = protocol.reads == "memory" and not protocol.trains_by_recipe
    if in_avalanche and (subject.recipe.cutmix is not None or subject.recipe.clip_norm is not None):
        raise ConfigError(
            f"protocol {protocol.name} trains in Avalanche's own loop, without CutMix or clipped gradients; take "
            f"another recipe than {subject.recipe.name}"
        )
    changes = dict(settings)
    if protocol.builds_on and rate is not None:
        changes["learning_rate"] = rate
    plain = to_dict(protocol.configured(subject.recipe.scale))
    if settings and not plain:
        raise ConfigError(f"protocol {protocol.name} has no settings of its own; --recipe says how it trains")
    return from_dict(protocol.config, override(plain, changes))


def newest_for(setting: Setting, store: Registry) -> str:
    """The newest set that a preset is about; raises RegistryError where there is none."""
    found = store.sets(dataset=setting.dataset, ipc=setting.ipc)
    if not found:
        raise RegistryError(
            f"no set of {setting.dataset} at IPC {setting.ipc} is stored for preset {setting.name}; make one (satm "
            f"condense {setting.dataset} --ipc {setting.ipc}), or name another set, which is a departure"
        )
    return found[-1].name
