"""The plan of a class-incremental evaluation: everything that is decided before the first network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocols.base import ClassIncremental
from protocols.order import Steps, class_orders, split_classes
from registry import Group, Registry
from satm.config import to_dict
from satm.data.domain import in_domains
from satm.errors import ConfigError
from satm.networks import NetworkPlan, plan_for
from satm.presets import CondenseConfig
from satm.presets.profiles import CUSTOM
from satm.progress import Progress
from satm.rng import Seed
from satm.workflow.evaluate.subject import NO_STEP_SIZE, ROOT, Subject, open_subject
from satm.workflow.incremental.differences import depends_on_seed
from satm.workflow.incremental.memories import SAW_ALL, MemorySource, MemoryTerms, memory_source
from satm.workflow.incremental.naming import protocol_name
from satm.workflow.incremental.online import online_source
from satm.workflow.incremental.request import IncrementalRequest
from satm.workflow.teachers import label_facts
from satm.workflow.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class IncrementalPlan:
    """What a class-incremental evaluation trains, the memory it trains on, and the names that its results get.

    A dry run shows the plan and stops.
    """

    request: IncrementalRequest
    subject: Subject
    config: Any  # the settings of the protocol: an object of the protocol's own config class
    network: NetworkPlan
    # The name of the stream in results: where the class orders come from and how many classes the first step has, such
    # as "order field, base 50", or the domains. It is "" for the suite's own class orders and steps of equal size.
    stream: str
    streams: tuple[Steps, ...]  # what arrives in each incremental step; one entry for each class order
    networks: int  # the number of networks that are trained for each class order
    source: MemorySource  # makes the memory of each class order

    @property
    def protocol(self) -> ClassIncremental:
        """The protocol to run."""
        return self.request.entry

    @property
    def orders(self) -> int:
        """The number of class orders, or of orders of the domains."""
        return len(self.streams)

    @property
    def arriving(self) -> str:
        """What arrives in the steps: "class" or "domain"."""
        return "class" if self.request.domains is None else "domain"

    @property
    def steps(self) -> int:
        """The number of incremental steps."""
        return self.request.step_count

    @property
    def profile(self) -> str:
        """The profile of the results: the subject's profile.

        If the subject's profile is `paper` and the user changed settings of the protocol, it is `custom`.
        """
        return CUSTOM if self.request.settings and self.subject.profile == "paper" else self.subject.profile

    @property
    def departures(self) -> tuple[str, ...]:
        """One line for each difference from the published comparison; empty if the run does not repeat one."""
        comparison, recipe = self.request.comparison, self.subject.recipe
        if comparison is None:
            return ()
        online = self.protocol.online  # its own settings, and not the recipe, say how it trains
        return comparison.departures(
            {
                "data set": self.subject.config.dataset,
                "IPC": self.subject.record.ipc,
                "class orders": self.orders,
                "networks an order": self.networks,
                "protocol": self.protocol.name,
                "memory": self.source.name,
                "source of class orders": self.request.order or "the suite's seeds",
                "architecture": self.network.name,
                # After the comma, a name gives the learning rate or the labels.
                "recipe": (self.recipe()[0] if online else recipe.name).split(",")[0],
                "learning rate": self.config.learning_rate if online else recipe.on(self.network.name).learning_rate,
            }
        )

    def stored(self, store: Registry) -> int:
        """The number of result rows in `store` of this set, with this plan's memory, protocol, network and steps."""
        return len(
            store.results(
                set=self.subject.record.id,
                protocol=protocol_name(self.protocol.name, self.stream),
                architecture=self.network.name,
                memory=self.source.name,
                steps=self.steps,
            )
        )

    def recipe(self) -> tuple[str, dict[str, Any]]:
        """The name and the config of the recipe that the results are stored under.

        If the protocol `trains_itself` (its own settings, and not a recipe, have its learning rate and epochs), both
        describe the protocol's settings. Otherwise they are those of the subject's recipe; if the protocol has a loss
        of its own, the settings of the loss are added.
        """
        recipe = self.subject.recipe
        settings = {key: value for key, value in to_dict(self.config).items() if value is not None}
        changed = {*self.request.settings, *(() if self.request.replay_weight is None else ("replay_weight",))}
        named = ", ".join(f"{key} {value}" for key, value in settings.items() if key in changed)
        if not self.protocol.trains_itself:
            name = f"{recipe.name}, {named}" if named else recipe.name
            return name, recipe.to_dict() | settings | {"name": name}
        name = f"{self.protocol.name} {recipe.scale}" + (f", {named}" if named else "")
        stated = {"name": name, "protocol": self.protocol.name, "scale": recipe.scale, "augment": recipe.augment}
        return name, stated | settings

    def opening(self) -> list[str]:
        """The lines that tell the user, before the work starts, what is about to run."""
        lines, groups = [], self.streams[0].groups
        if len({len(group) for group in groups}) > 1:
            sizes = ", ".join(str(len(group)) for group in groups)
            lines.append(f"{self.network.num_classes} classes over {self.steps} steps: {sizes} classes each")
        lines += self.source.remarks
        if saw := self.source.detail.get(SAW_ALL):
            lines.append(f"classes are known before they arrive: {'; '.join(saw)}")
        asked = self.request.learning_rate == "learned" and self.subject.synthetic.step_size is None
        if asked and NO_STEP_SIZE not in self.subject.remark:
            lines.append(f"{self.subject.record.name} is {NO_STEP_SIZE}")
        name, recipe = self.recipe()
        held = "without a memory" if self.source.kind == "none" else f"on {self.source.name} images"
        remark = self.subject.remark
        if self.protocol.trains_itself:  # the learning rate of its settings is used
            remark = remark.removesuffix(f", {NO_STEP_SIZE}")
        passes = "one pass" if self.protocol.online else f"{recipe['epochs']} epochs"
        if self.protocol.online:
            held = f"with memory {self.source.name}"
        if condensed := self.source.detail.get("condensed"):
            held += f" ({condensed})"
        lines.append(
            f"{self.subject.record.name} ({self.profile}{remark}): {self.protocol.name} {held}, "
            f"{self.network.name}, {self.orders} {self.arriving} orders of {self.steps} steps"
            f"{f' ({self.stream})' if self.stream else ''}, {self.networks} networks each, "
            f"recipe {name} ({passes})"
        )
        if self.request.comparison is not None:
            lines.append(f"published comparison {self.request.comparison.name}: {self.request.comparison.source}")
            lines += [f"departure: {each}" for each in self.departures]
        if self.request.condense_per_step:
            own = {each for order in self.streams for each in order.domains or map(frozenset, order.groups)}
            lines.append(f"condenses {len(own)} steps on their own and trains their experts, unless both are stored")
        return lines

    def announce(self, progress: Progress) -> None:
        """Show the user the lines of `opening`."""
        for line in self.opening():
            progress.say(line)

    def run_facts(self) -> dict[str, Any]:
        """The configuration of the run, as it is stored."""
        return {
            "architecture": self.network.name,
            "steps": self.steps,
            "memory": self.source.name,
            "stream": self.stream,
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


def plan_group(
    workspace: Workspace, group: Group, requests: Sequence[IncrementalRequest]
) -> tuple[IncrementalPlan, ...]:
    """Plan every request for every set of `group`. Stores nothing.

    A memory that is the same for every set of the group, such as random real images, is planned for one set only: the
    set that already has the most stored results with this memory.

    Raises UnknownName, ConfigError, RegistryError, DataError or ExpertError if a request cannot be carried out.
    """
    plans: list[IncrementalPlan] = []
    for request in requests:
        found: list[IncrementalPlan] = []
        for record in group.sets:
            subject = open_subject(workspace, record.id, request.judging)
            first = next(iter([*plans, *found]), None)
            if first is not None and first.subject.data.fingerprint == subject.data.fingerprint:
                # The sets of a group come from the same data set: keep one copy of its images in RAM.
                subject = replace(subject, data=first.subject.data)
            found.append(_sharing(plan_incremental(workspace, subject, request), [*plans, *found]))
        if len(found) > 1 and not depends_on_seed(found[0].source.name, group.sets):
            found = [max(found, key=lambda plan: plan.stored(workspace.store))]
            same = f"memory {found[0].source.name} is the same for every set of {group.name}"
            workspace.progress.say(f"{same}: judged once, beside {found[0].subject.record.name}")
        plans += found
    return tuple(plans)


def _sharing(plan: IncrementalPlan, others: Sequence[IncrementalPlan]) -> IncrementalPlan:
    """Return `plan` with the real data of one of `others` that has the same images, to keep one copy of them in RAM."""
    for other in others:
        if other.subject.data.fingerprint == plan.subject.data.fingerprint:
            return replace(plan, subject=replace(plan.subject, data=other.subject.data))
    return plan


def plan_incremental(workspace: Workspace, subject: Subject, request: IncrementalRequest) -> IncrementalPlan:
    """Plan the evaluation of one set. Raises the same errors as `plan_group`."""
    if not request.entry.trains_itself:
        subject.check_learning_rate(request.memory_kind)
        subject = replace(subject, recipe=subject.recipe_of(request.memory_kind))
    config = request.config(subject.recipe)
    orders, networks = request.repeats(subject.profile)
    network = plan_for(request.architecture or subject.config.architecture, subject.data)
    stream, streams = _streams(request, subject, orders)
    source = _source(workspace, subject, request, config, network, streams)
    if request.domain_names is not None:
        subject = replace(subject, data=in_domains(subject.data, request.domain_names))
    return IncrementalPlan(
        request=request,
        subject=subject,
        config=config,
        network=network,
        stream=stream,
        streams=streams,
        networks=networks,
        source=source,
    )


def _source(
    workspace: Workspace,
    subject: Subject,
    request: IncrementalRequest,
    config: Any,
    network: NetworkPlan,
    streams: tuple[Steps, ...],
) -> MemorySource:
    """Return the source of the memory. Raises the errors of `memory_source` and `online_source`."""
    if request.entry.online:
        return online_source(
            subject,
            kind=request.memory_kind,
            config=request.memory_config(subject.recipe),
            capacity=len(subject.synthetic.images) if request.capacity is None else request.capacity,
            budget=request.budget,
            network=network,
            batch_size=config.batch_size,
            streams=streams,
        )
    terms = MemoryTerms(
        kind=request.memory_kind,
        steps=streams[0],
        budget=request.budget,
        buffer=request.buffer,
        condense_per_step=request.condense_per_step,
        keeps_logits=request.entry.keeps_logits,
    )
    return memory_source(workspace, subject, terms)


def _streams(request: IncrementalRequest, subject: Subject, orders: int) -> tuple[str, tuple[Steps, ...]]:
    """Return the name of the stream in results, and what arrives in its steps, for each of `orders` orders.

    Raises ConfigError for an order or a number of steps that does not fit the classes or the domains, and if the set is
    itself of one domain and other domains were asked for.
    """
    names = request.domain_names
    arriving = subject.data.classes if names is None else [name.partition(":")[2] for name in names]
    chosen = class_orders(request.order, arriving)
    notes = [f"order {chosen.name}"] if chosen.name else []
    found = [chosen.order(order, len(arriving), order_seed(order)) for order in range(orders)]
    if names is None:
        notes += [] if request.base is None else [f"base {request.base}"]
        groups = [split_classes(order, request.step_count, request.base) for order in found]
        return ", ".join(notes), tuple(map(Steps, groups))
    if isinstance(subject.config, CondenseConfig) and subject.config.domain is not None:
        raise ConfigError(f"{subject.record.name} is of one domain, {subject.config.domain}; leave --domains out")
    every = tuple(range(len(subject.data.classes)))
    notes.append(f"rotation {','.join(arriving)}")
    steps = [Steps((every,) * len(names), tuple(names[number] for number in order)) for order in found]
    return ", ".join(notes), tuple(steps)


def order_seed(order: int) -> Seed:
    """The seed of class order number `order`, counted from 0, and of the first network that is trained on it."""
    return ROOT.child("class-incremental", order)
