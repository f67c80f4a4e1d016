"""The plan of a class-incremental evaluation: everything that is decided before the first network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocols.base import ClassIncremental
from protocols.order import class_order, split_classes
from satm.config import to_dict
from satm.networks import NetworkPlan, plan_for
from satm.presets.profiles import CUSTOM
from satm.rng import Seed
from satm.workflow.evaluate.subject import ROOT, Subject, open_subject
from satm.workflow.incremental.memories import Groups, MemorySource, memory_source
from satm.workflow.incremental.request import IncrementalRequest
from satm.workflow.teachers import label_facts
from satm.workflow.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class IncrementalPlan:
    """Everything that a class-incremental evaluation trains, on which memory, and under which names.

    A dry run shows the plan and stops.
    """

    request: IncrementalRequest
    subject: Subject
    config: Any  # the settings of the protocol
    network: NetworkPlan
    groups: tuple[Groups, ...]  # for each class order, the classes of each step
    networks: int  # networks trained for each class order
    source: MemorySource  # makes the memory of each class order

    @property
    def protocol(self) -> ClassIncremental:
        """The protocol to run."""
        return self.request.entry

    @property
    def orders(self) -> int:
        """The number of class orders."""
        return len(self.groups)

    @property
    def steps(self) -> int:
        """The number of incremental steps."""
        return self.request.step_count

    @property
    def profile(self) -> str:
        """The profile of the results: the subject's, or `custom` if that is `paper` and protocol settings differ."""
        return CUSTOM if self.request.settings and self.subject.profile == "paper" else self.subject.profile

    @property
    def departures(self) -> tuple[str, ...]:
        """One line for each difference from the published comparison."""
        comparison = self.request.comparison
        if comparison is None:
            return ()
        return comparison.departures(self.subject.config.dataset, self.subject.record.ipc, self.orders, self.networks)

    def recipe(self) -> tuple[str, dict[str, Any]]:
        """The name and the config of the recipe that the results are stored under.

        If the protocol `builds_on` earlier steps, they come from the protocol's own settings, else from the subject's
        recipe.
        """
        recipe = self.subject.recipe
        if not self.protocol.trains_itself:
            return recipe.name, recipe.to_dict()
        settings, changed = to_dict(self.config), self.request.settings
        named = ", ".join(f"{key} {value}" for key, value in settings.items() if key in changed)
        name = f"{self.protocol.name} {recipe.scale}" + (f", {named}" if named else "")
        stated = {"name": name, "protocol": self.protocol.name, "scale": recipe.scale, "augment": recipe.augment}
        return name, stated | settings

    def opening(self) -> list[str]:
        """The lines to say before the work starts."""
        lines, groups = [], self.groups[0]
        if len({len(group) for group in groups}) > 1:
            sizes = ", ".join(str(len(group)) for group in groups)
            lines.append(f"{self.network.num_classes} classes over {self.steps} steps: {sizes} classes each")
        name, recipe = self.recipe()
        held = "without a memory" if self.source.kind == "none" else f"on {self.source.name} images"
        lines.append(
            f"{self.subject.record.name} ({self.profile}{self.subject.remark}): {self.protocol.name} {held}, "
            f"{self.network.name}, {self.orders} class orders of {self.steps} steps, {self.networks} networks each, "
            f"recipe {name} ({recipe['epochs']} epochs)"
        )
        if self.request.comparison is not None:
            lines.append(f"published comparison {self.request.comparison.name}: {self.request.comparison.source}")
            lines += [f"departure: {each}" for each in self.departures]
        if self.request.condense_per_step:
            own = {frozenset(group) for order in self.groups for group in order}
            lines.append(f"condenses {len(own)} steps on their own and trains their experts, unless both are stored")
        return lines

    def run_facts(self) -> dict[str, Any]:
        """The configuration of the run, as it is stored."""
        return {
            "architecture": self.network.name,
            "steps": self.steps,
            "memory": self.source.name,
            "orders": self.orders,
            "networks": self.networks,
            "protocol": self.protocol.name,
            "settings": to_dict(self.config),
            "recipe": self.subject.recipe.to_dict(),
        }

    def row_facts(self) -> dict[str, Any]:
        """The details that are stored with every result row."""
        comparison = self.request.comparison
        published = {} if comparison is None else {"preset": comparison.name, "departures": list(self.departures)}
        labels = label_facts(self.subject.data, self.subject.recipe.labels)
        return {**self.source.detail, **labels, **published, **self.subject.held_out}


def plan_incremental(workspace: Workspace, reference: str, request: IncrementalRequest) -> IncrementalPlan:
    """Plan the evaluation of the set that `reference` names. Stores nothing.

    Raises UnknownName, ConfigError, RegistryError, DataError or ExpertError if the request cannot be carried out.
    """
    subject = open_subject(workspace, request.reference(reference, workspace.store), request.judging)
    if not request.entry.trains_itself:
        subject.check_learning_rate(request.memory_kind)
    config = request.config(subject.recipe)
    orders, networks = request.repeats(subject.profile)
    network = plan_for(request.architecture or subject.config.architecture, subject.data)
    seeds = [order_seed(order) for order in range(orders)]
    groups = tuple(split_classes(class_order(network.num_classes, seed), request.step_count) for seed in seeds)
    source = memory_source(
        workspace,
        subject,
        request.memory_kind,
        budget=request.budget,
        per_step=groups[0] if request.condense_per_step else None,
    )
    return IncrementalPlan(
        request=request,
        subject=subject,
        config=config,
        network=network,
        groups=groups,
        networks=networks,
        source=source,
    )


def order_seed(order: int) -> Seed:
    """The seed of class order number `order`, counted from 0, and of the first network that it trains."""
    return ROOT.child("class-incremental", order)
