"""Class-incremental evaluation of a stored set, resumed step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from evaluation import RECIPES, choose_learning_rate, plan_training, stated_learning_rate
from evaluation.cross_arch import CHOOSING
from protocols.base import PROTOCOLS
from protocols.networks import Networks
from protocols.order import class_order, split_classes
from protocols.run import run
from protocols.settings import SETTINGS
from registry import Registry, ResultRow, SetRecord
from satm.config import to_dict
from satm.errors import ConfigError
from satm.machine.device import resolve_device
from satm.machine.fused import Compilation, Fused, how_trained
from satm.networks import plan_for
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.workflow.evaluate.in_domain import recorded
from satm.workflow.evaluate.subject import ROOT, Judging, Subject, open_subject
from satm.workflow.incremental.memories import Budget, Kind, Memory, MemorySource, memory_source
from satm.workflow.incremental.request import Asked, RatePolicy, memory_kind, newest_for, protocol_config
from satm.workflow.incremental.rows import Cell, Rows, protocol_name
from satm.workflow.workspace import Workspace


def evaluate_incremental(
    reference: str = "latest",
    *,
    protocol: str | None = None,
    steps: int | None = None,
    memory: Kind | None = None,
    budget: Budget = "images",
    condense_per_step: bool = False,
    preset: str | None = None,
    orders: int | None = None,
    networks: int | None = None,
    architecture: str | None = None,
    recipe: str | None = None,
    learning_rate: RatePolicy = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> SetRecord:
    """Judge a stored set as the memory of a class-incremental stream of `steps` steps; `results` reads the numbers.

    `protocol` is one of `protocols.base.PROTOCOLS`, GDumb by default. `orders` class orders are run with `networks`
    networks each (those of the set's profile by default), every network a repeat of its own. `memory` is what the
    protocol is handed: the set itself, `random` or `herding` (as many real images, or as many as cost as many bytes:
    `budget`; random ones drawn afresh for each order), or `none`. The set was condensed as a whole and is split along
    the class order, unless `condense_per_step` condenses each step's classes on their own; every result says which.
    `preset` takes the numbers of a published comparison (`protocols.settings.SETTINGS`), `settings` replaces single
    ones of the protocol's own. Protocols that train on the memory do so by the recipe, those that train on the stream
    by their own settings, fewer epochs at a recipe's smaller scale.

    Whatever is in the registry already is not trained again. `compilation` is `evaluate`'s; "auto" decides by the whole
    memory. Raises UsageError for what cannot be meant, before anything is stored, and Interrupted with every step
    stored.
    """
    where = resolve_device(device)
    setting = None if preset is None else SETTINGS.get(preset)
    if setting is not None and steps not in (None, setting.steps):
        raise ConfigError(f"steps {steps} beside preset {preset}, which has {setting.steps}; leave one of them out")
    steps = setting.steps if setting is not None else 5 if steps is None else steps
    chosen = PROTOCOLS.get(protocol or (setting.protocol if setting else "gdumb"))
    kind = memory_kind(chosen, memory, budget, condense_per_step)
    with Registry.open(registry, must_exist=True, read_only=dry_run) as store:
        subject = open_subject(
            Workspace(store=store, device=where, data_root=data_root, progress=progress),
            newest_for(setting, store) if setting is not None and reference == "latest" else reference,
            Judging(
                recipe=recipe or (chosen.recipe if chosen.recipe in RECIPES else None),
                learning_rate=None if chosen.builds_on else learning_rate,
            ),
        )
        asked = Asked(
            protocol=chosen,
            config=protocol_config(chosen, subject, learning_rate, settings or {}),
            steps=steps,
            setting=setting,
            changed=tuple(settings or ()),
        )
        orders, count = asked.repeats(subject, orders, networks)
        plan = plan_for(architecture or subject.config.architecture, subject.data)
        name = plan.name
        groups = [split_classes(class_order(len(subject.data.classes), _seed(o)), steps) for o in range(orders)]
        source = memory_source(
            store,
            subject,
            kind,
            budget=budget,
            per_step=groups[0] if condense_per_step else None,
            data_root=data_root,
            device=device,
            progress=progress,
        )
        departures = setting.departures(subject.config.dataset, subject.record.ipc, orders, count) if setting else ()
        for line in asked.opening(subject, source, name, orders, count, groups[0], departures):
            progress.say(line)
        if condense_per_step:
            own = {frozenset(group) for order in groups for group in order}
            progress.say(f"condenses {len(own)} steps on their own, experts included, where they are not stored yet")
        if dry_run:
            return subject.record
        described = {"architecture": name, "steps": steps, "memory": source.name, "orders": orders, "networks": count}
        described |= {"protocol": chosen.name, "settings": to_dict(asked.config), "recipe": subject.recipe.to_dict()}
        with recorded(store, subject, "eval-cl", described, str(where)) as run_id:
            fused = None
            if chosen.trains_by_recipe:
                fused = plan_training(
                    subject.synthetic,
                    plan,
                    subject.recipe,
                    device=where,
                    compilation=compilation,
                    progress=progress,
                )
            like = ResultRow(
                set_id=subject.record.id,
                protocol=protocol_name(chosen.name),
                architecture=name,
                memory=source.name,
                recipe_id=store.add_recipe(*asked.recipe(subject)),
                steps=steps,
                repeat=0,
                step=1,
                metric="",
                value=0.0,
                profile=asked.profile(subject),
                seed=0,
                step_size=0.0,
                run_id=run_id,
            )
            detail = dict(source.detail)
            if setting is not None:
                detail |= {"preset": setting.name, "departures": list(departures)}
            work = _Work(
                asked=asked,
                subject=subject,
                source=source,
                rows=Rows(store=store, like=like, detail=detail, last_only=chosen.judged == "last step"),
                fused=fused,
                device=where,
                progress=progress,
            )
            with progress.bar(f"{chosen.name} on {source.name}: networks", orders * count) as bar:
                for order in range(orders):
                    for average in work.order(order, groups[order], count):
                        bar.advance(final=average)
    return subject.record


@dataclass(kw_only=True)
class _Work:
    """What the cells of one evaluation share."""

    asked: Asked
    subject: Subject
    source: MemorySource
    rows: Rows
    fused: Fused | None
    device: torch.device
    progress: Progress
    chosen: tuple[tuple[float, ...], str] | None = None  # learning rates where they do not depend on the order

    def order(self, order: int, groups: tuple[tuple[int, ...], ...], networks: int) -> Iterator[float]:
        """Run one class order's networks; the final accuracy of each as it is there."""
        memory = self.source.at(order, groups)
        rates, policy = self._rates(memory, groups)
        images = None if memory.images is None else memory.images.to(self.device)
        for network in range(networks):
            seed = _seed(order) if network == 0 else _seed(order).child("network", network)
            cell = Cell(
                order=order,
                network=network,
                groups=groups,
                rates=rates,
                policy=policy,
                seed=seed.value,
                parts=memory.parts,
                trained=partial(how_trained, self.fused),
            )
            if self.rows.complete(cell):
                yield self.rows.final(cell)
                continue
            result = run(
                self.asked.protocol,
                self.asked.config,
                memory=images,
                train=self.subject.data.train,
                test=self.subject.data.test,
                groups=groups,
                networks=self._networks(rates),
                seed=seed,
                earlier=self.rows.earlier(cell),
                on_step=partial(self.rows.add_step, cell=cell),
                progress=self.progress,
            )
            self.rows.add_scores(result, cell=cell)
            yield result.scores()["final_accuracy"]

    def _networks(self, rates: tuple[float, ...]) -> Networks:
        return Networks(
            architecture=self.rows.like.architecture,
            num_classes=len(self.subject.data.classes),
            image_shape=self.subject.data.image_shape,
            recipe=self.subject.recipe,
            rates=rates,
            device=self.device,
            fused=self.fused,
            progress=self.progress,
        )

    def _rates(self, memory: Memory, groups: tuple[tuple[int, ...], ...]) -> tuple[tuple[float, ...], str]:
        """The learning rate of each step: the protocol's own, stated, learned, or chosen on the validation split."""
        steps, policy = self.asked.steps, self.subject.recipe.learning_rate
        if self.asked.protocol.builds_on:
            return (self.asked.config.learning_rate,) * steps, "fixed"
        if policy == "learned" and None not in memory.step_sizes:
            sizes = tuple(size for size in memory.step_sizes if size is not None)
            return sizes, "learned" if not memory.parts else "learned, the mean over the sets held"
        stated = None if memory.images is None else stated_learning_rate(policy, memory.images)
        if stated is not None and stated[1] == "fixed":
            return (stated[0],) * steps, stated[1]
        rate = self.rows.chosen_rate()
        if rate is not None:
            return (rate,) * steps, "grid on validation"
        if self.chosen is None:
            self.chosen = (self._from_grid(memory, groups),) * steps, "grid on validation"
        return self.chosen

    def _from_grid(self, memory: Memory, groups: tuple[tuple[int, ...], ...]) -> float:
        """Once for all class orders, on a memory of its own where memories are drawn."""
        drawn = self.source.at(CHOOSING, groups) if self.source.kind == "random" else memory
        assert drawn.images is not None
        rate, _ = choose_learning_rate(
            drawn.images.to(self.device),
            self.subject.data.validation,
            plan_for(self.rows.like.architecture, self.subject.data),
            self.subject.recipe,
            seed=ROOT.child("class-incremental", "learning rate"),
            device=self.device,
            fused=self.fused,
            progress=self.progress,
        )
        return rate


def _seed(order: int) -> Seed:
    return ROOT.child("class-incremental", order)
