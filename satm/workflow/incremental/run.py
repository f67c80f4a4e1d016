"""Class-incremental evaluation of a stored set: request, plan and run.

Results are stored after each incremental step. An interrupted evaluation continues after the last stored step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from evaluation import plan_training
from protocols.base import State
from protocols.job import Arrivals, StreamJob
from protocols.networks import Networks
from protocols.order import Steps
from protocols.result import StepResult
from protocols.run import run
from registry import Group, Registry, ResultRow
from satm.errors import ConfigError
from satm.machine.fused import Compilation, Fused, how_trained
from satm.progress import SILENT, Progress
from satm.synthetic import SyntheticSet
from satm.teachers import Teacher
from satm.workflow.evaluate.in_domain import recorded, tested_images
from satm.workflow.evaluate.subject import MemoryKind, policies
from satm.workflow.incremental.beside import beside_set
from satm.workflow.incremental.memories import Budget
from satm.workflow.incremental.naming import protocol_name
from satm.workflow.incremental.plan import IncrementalPlan, order_seed, plan_group
from satm.workflow.incremental.rates import Rates
from satm.workflow.incremental.request import IncrementalRequest, RatePolicy
from satm.workflow.incremental.rows import GRID, Cell, Rows
from satm.workflow.logging import Loggers, logged, logged_names
from satm.workflow.teachers import Labelling
from satm.workflow.workspace import Workspace, opened


def evaluate_incremental(
    reference: str = "latest",
    *,
    protocol: str | None = None,
    steps: int | None = None,
    base: int | None = None,
    domains: str | None = None,
    order: str | None = None,
    memory: MemoryKind | None = None,
    budget: Budget = "images",
    buffer: int | None = None,
    condense_per_step: bool = False,
    published: str | None = None,
    orders: int | None = None,
    networks: int | None = None,
    architecture: str | None = None,
    recipe: str | None = None,
    learning_rate: RatePolicy | Literal["both"] = None,
    labels: Labelling | None = None,
    replay_weight: float | None = None,
    save_predictions: bool | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    log: Sequence[str] = (),
    progress: Progress = SILENT,
    preset: str | None = None,
) -> Group:
    """Judge stored sets as the memory of a class-incremental stream.

    `reference` names one set or a group of sets (`Registry.group`). Every set of a group is judged, one after the
    other, on the same class orders and initial networks. For an online protocol, `reference` can also be the name of a
    data set (`beside_set`). A memory that is the same for all sets of the group (random
    images) is judged once. The group is returned; `group_results` reads the numbers.

    The arguments from `protocol` to `settings` are the fields of `IncrementalRequest`, which explains them. Stored
    numbers are not computed again. With `learning_rate` "both" the sets are judged with "learned" and then with "grid".
    `compilation` and `log` are the same as for `evaluate`. A dry run shows the plan and stops. `preset` is the old name
    of `published`.

    Raises UsageError, RegistryError, DataError or ExpertError before anything is stored if the request cannot work.
    Raises Interrupted if the user stops the work; finished steps are stored.
    """
    request = IncrementalRequest(
        protocol=protocol,
        steps=steps,
        base=base,
        domains=domains,
        order=order,
        memory=memory,
        budget=budget,
        buffer=buffer,
        condense_per_step=condense_per_step,
        published=_one_name(published, preset),
        orders=orders,
        networks=networks,
        architecture=architecture,
        recipe=recipe,
        labels=labels,
        replay_weight=replay_weight,
        save_predictions=save_predictions,
        settings=settings or {},
    )
    requests = [replace(request, learning_rate=policy) for policy in policies(learning_rate)]
    reference = beside_set(
        reference,
        request,
        device=device,
        registry=registry,
        data_root=data_root,
        dry_run=dry_run,
        progress=progress,
    )
    with opened(
        registry, device=device, data_root=data_root, progress=progress, read_only=dry_run, log=log
    ) as workspace:
        return _judge(workspace, reference, requests, None if dry_run else compilation)


def _judge(
    workspace: Workspace, reference: str, requests: Sequence[IncrementalRequest], compilation: Compilation | None
) -> Group:
    """Announce and run every plan of the group that `reference` names. With `compilation` None nothing is run."""
    group = workspace.store.group(requests[0].reference(reference, workspace.store))
    for plan in plan_group(workspace, group, requests):
        plan.announce(workspace.progress)
        if compilation is not None:
            run_plan(workspace, plan, compilation)
    return group


def run_plan(workspace: Workspace, plan: IncrementalPlan, compilation: Compilation) -> None:
    """Train those networks of a plan whose results are not all stored. Results are stored after each step."""
    name = f"{plan.protocol.name} on {plan.source.name}: networks"
    facts, device, record = plan.run_facts(), str(workspace.device), plan.subject.record
    with (
        recorded(workspace.store, plan.subject, "eval-cl", facts, device) as run_id,
        logged(workspace, record, run_id, "eval-cl", facts) as log,
    ):
        fused = None
        if plan.protocol.trains_by_recipe:
            fused = plan_training(
                plan.subject.synthetic,
                plan.network,
                plan.subject.recipe,
                device=workspace.device,
                compilation=compilation,
                progress=workspace.progress,
            )
        runner = _Runner(
            workspace=workspace,
            plan=plan,
            rows=_rows(workspace.store, plan, run_id),
            teacher=plan.subject.trained_teacher(workspace),
            fused=fused,
            log=log,
        )
        with workspace.progress.bar(name, plan.orders * plan.networks) as bar:
            for final in runner.finals():
                bar.advance(final=final)


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """Runs the streams of a plan: one stream for each network of each class order."""

    workspace: Workspace
    plan: IncrementalPlan
    rows: Rows
    teacher: Teacher | None  # labels the training images; None if they keep their own labels
    fused: Fused | None  # compiled training code; None if there is none
    log: Loggers

    def finals(self) -> Iterator[float]:
        """Yield the final accuracy of each network, one class order after the other.

        Each accuracy is yielded as soon as it is known.
        """
        rates = Rates(workspace=self.workspace, plan=self.plan, rows=self.rows, teacher=self.teacher, fused=self.fused)
        for order, steps in enumerate(self.plan.streams):
            memory = self.plan.source.at(order, steps)
            found, policy = rates.of(memory, steps)
            images = None if memory.images is None else memory.images.to(self.workspace.device)
            for network in range(self.plan.networks):
                seed = order_seed(order) if network == 0 else order_seed(order).child("network", network)
                cell = Cell(
                    order=order,
                    network=network,
                    steps=steps,
                    rates=found,
                    policy=policy,
                    choice=rates.chosen if policy == GRID else None,
                    seed=seed,
                    parts=memory.parts,
                    trained=partial(how_trained, self.fused),
                )
                yield self.rows.final(cell) if self.rows.complete(cell) else self._run(cell, images)

    def _run(self, cell: Cell, images: SyntheticSet | None) -> float:
        """Run one stream from its first step that is not stored. Returns the final accuracy."""
        keeping = self.plan.source.keeping
        job = StreamJob(
            protocol=self.plan.protocol,
            config=self.plan.config,
            memory=images,
            train=self.plan.subject.data.train,
            test=self.plan.subject.data.test,
            groups=cell.steps.groups,
            networks=Networks(
                plan=self.plan.network,
                recipe=self.plan.subject.recipe,
                rates=cell.rates,
                device=self.workspace.device,
                teacher=self.teacher,
                fused=self.fused,
                progress=self.workspace.progress,
            ),
            seed=cell.seed,
            buffer=self.plan.request.buffer if keeping is None else keeping.capacity,
            keeping=keeping,
            arrivals=self._arrivals(cell.steps, images),
        )
        result = run(
            job,
            earlier=self.rows.earlier(cell),
            on_step=partial(self._add_step, cell=cell),
            progress=self.workspace.progress,
        )
        self.rows.add_scores(result, cell=cell)
        self._log(cell, self.plan.steps - 1, result.scores())
        return result.scores()["final_accuracy"]

    def _arrivals(self, steps: Steps, images: SyntheticSet | None) -> Arrivals | None:
        """When each image of a domain-incremental stream arrives; None for a class-incremental stream."""
        if steps.domains is None:
            return None
        # The real images are sorted by domain as the user names them, those of the memory by class and then by step.
        step_of = torch.tensor([steps.domains.index(name) for name in self.plan.request.domain_names or ()])
        count, data = len(steps.domains), self.plan.subject.data
        train, test = (step_of.repeat_interleave(len(part) // count) for part in (data.train, data.test))
        each = 0 if images is None else len(images) // (count * len(images.classes))
        memory = torch.arange(count).repeat_interleave(each).repeat(len(data.classes))
        return Arrivals(train=train, test=test, memory=memory)

    def _add_step(self, result: StepResult, state: State, *, cell: Cell) -> None:
        self.rows.add_step(result, state, cell=cell)
        self._log(cell, result.step, {"accuracy": result.seen, "masked_accuracy": result.masked})

    def _log(self, cell: Cell, step: int, values: Mapping[str, float]) -> None:
        """Log the values of one network. `step` is counted from 0."""
        like = self.rows.like
        self.log.add(step, logged_names(like.protocol, like.architecture, like.memory, values, network=cell.repeat))


def _rows(store: Registry, plan: IncrementalPlan, run_id: str) -> Rows:
    """The reader and writer of a plan's result rows."""
    # A template for new rows. The fields that differ from row to row (repeat, step, metric, value …) are placeholders.
    like = ResultRow(
        set_id=plan.subject.record.id,
        protocol=protocol_name(plan.protocol.name, plan.stream),
        architecture=plan.network.name,
        memory=plan.source.name,
        recipe_id=store.add_recipe(*plan.recipe()),
        steps=plan.steps,
        repeat=0,
        step=1,
        metric="",
        value=0.0,
        profile=plan.profile,
        seed=0,
        step_size=0.0,
        run_id=run_id,
    )
    return Rows(
        store=store,
        like=like,
        detail=plan.row_facts(),
        last_only=plan.protocol.judged == "last step",
        tested=tested_images(plan.subject, plan.request.save_predictions),
        must_have_predictions=bool(plan.request.save_predictions),
    )


def _one_name(published: str | None, preset: str | None) -> str | None:
    """The published comparison, from option `published` or its old name `preset`.

    Raises ConfigError if both are given.
    """
    if published is not None and preset is not None:
        raise ConfigError(f"published {published} and preset {preset}: these are one option; leave preset out")
    return published if preset is None else preset
