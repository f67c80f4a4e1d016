"""Class-incremental evaluation of a stored set, resumed step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from evaluation import choose_learning_rate, plan_training, stated_learning_rate, train_network, watching
from evaluation.cross_arch import CHOOSING
from protocols.gdumb import gdumb
from protocols.order import class_order, split_classes
from protocols.result import IncrementalResult, StepResult
from registry import Registry, ResultRow, SetRecord
from satm.device import resolve_device
from satm.errors import ConfigError
from satm.fused import Compilation, Fused
from satm.networks import plan
from satm.presets import class_orders
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.types import Examples
from satm.workflow.evaluation import recorded
from satm.workflow.subject import ROOT, Memory, Subject, open_subject

PROTOCOL = "class-incremental"


def evaluate_incremental(
    reference: str = "latest",
    *,
    steps: int = 5,
    memory: Memory = "condensed",
    orders: int | None = None,
    architecture: str | None = None,
    recipe: str | None = None,
    learning_rate: float | Literal["learned", "grid"] | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> SetRecord:
    """GDumb on a class-incremental stream of `steps` steps, its memory the stored set; `results` reads the numbers.

    `orders` class orders are run (the number of the set's profile by default), each a repeat. `memory` "random" takes
    as many real images instead, drawn afresh for each order, their step size chosen on the validation split. The set
    was condensed as a whole and is split along the class order, which every result says. Steps that are in the registry
    already are not trained again. `compilation` is `evaluate`'s; "auto" decides by the whole memory. Raises
    ConfigError for more steps than classes, Interrupted with every step stored.
    """
    where = resolve_device(device)
    with Registry.open(registry, must_exist=True, read_only=dry_run) as store:
        subject = open_subject(
            store,
            reference,
            recipe=recipe,
            learning_rate=learning_rate,
            data_root=data_root,
            device=device,
            progress=progress,
        )
        orders = class_orders(subject.profile) if orders is None else orders
        if orders < 1:
            raise ConfigError(f"orders {orders}: expected at least 1 class order")
        name = plan(
            architecture or subject.config.architecture,
            num_classes=len(subject.data.classes),
            image_shape=subject.data.image_shape,
        ).name
        groups = [split_classes(class_order(len(subject.data.classes), _seed(r)), steps) for r in range(orders)]
        if len({len(group) for group in groups[0]}) > 1:
            sizes = ", ".join(str(len(group)) for group in groups[0])
            progress.say(f"{len(subject.data.classes)} classes over {steps} steps: {sizes} classes each")
        asked = {"architecture": name, "steps": steps, "memory": memory, "orders": orders}
        asked["recipe"] = subject.recipe.to_dict()
        progress.say(
            f"{subject.record.name} ({subject.profile}): GDumb on {memory} images, {name}, {orders} class "
            f"orders of {steps} steps, recipe {subject.recipe.name} ({subject.recipe.epochs} epochs)"
        )
        if dry_run:
            return subject.record
        with recorded(store, subject, "eval-cl", asked, str(where)) as run:
            recipe_id = store.add_recipe(subject.recipe.name, subject.recipe.to_dict())
            fused = plan_training(
                subject.synthetic,
                architecture=name,
                num_classes=len(subject.data.classes),
                image_shape=subject.data.image_shape,
                recipe=subject.recipe,
                device=where,
                compilation=compilation,
                progress=progress,
            )
            rows = _Rows(store, subject, name, memory, recipe_id, steps, run, "compiled" if fused else "eager")
            rate, policy = rows.learning_rate() or _learning_rate(subject, name, memory, where, fused, progress)
            with progress.task(f"{memory}: class orders", orders) as task:
                for repeat, order in enumerate(groups):
                    result = gdumb(
                        subject.draws(memory)(repeat).to(where),
                        subject.data.test,
                        groups=order,
                        train=partial(
                            _train,
                            subject=subject,
                            architecture=name,
                            learning_rate=rate,
                            device=where,
                            fused=fused,
                            progress=progress,
                        ),
                        seed=_seed(repeat),
                        learning_rate=rate,
                        done=rows.done(repeat),
                        on_step=partial(rows.add_step, repeat=repeat, groups=order, rate=rate, policy=policy),
                        progress=progress,
                    )
                    rows.add_scores(result, repeat, rate, policy)
                    task.advance(average=result.scores()["average_incremental_accuracy"])
    return subject.record


def _seed(repeat: int) -> Seed:
    return ROOT.child("class-incremental", repeat)


def _train(
    examples: Examples,
    seed: Seed,
    *,
    subject: Subject,
    architecture: str,
    learning_rate: float,
    device: torch.device,
    fused: Fused | None,
    progress: Progress,
) -> nn.Module:
    with progress.task(f"training on {len(examples)} images", subject.recipe.epochs) as task:
        return train_network(
            examples,
            architecture=architecture,
            num_classes=len(subject.data.classes),
            image_shape=subject.data.image_shape,
            recipe=subject.recipe,
            learning_rate=learning_rate,
            seed=seed,
            device=device,
            fused=fused,
            on_epoch=watching(progress, task),
        )


def _learning_rate(
    subject: Subject,
    architecture: str,
    memory: Memory,
    device: torch.device,
    fused: Fused | None,
    progress: Progress,
) -> tuple[float, str]:
    """The recipe's policy for this memory: stated, learned, or chosen on the validation split."""
    examples = subject.draws(memory)(CHOOSING)
    stated = stated_learning_rate(subject.recipe.learning_rate, examples)
    if stated is not None:
        return stated
    rate, _ = choose_learning_rate(
        examples.to(device),
        subject.data.validation,
        subject.recipe.grid,
        architecture=architecture,
        num_classes=len(subject.data.classes),
        image_shape=subject.data.image_shape,
        recipe=subject.recipe,
        seed=ROOT.child("class-incremental", "learning rate"),
        device=device,
        fused=fused,
        progress=progress,
    )
    return rate, "grid on validation"


class _Rows:
    """The result rows of one evaluation: written step by step, and read back by a later session."""

    def __init__(
        self,
        store: Registry,
        subject: Subject,
        architecture: str,
        memory: Memory,
        recipe_id: str,
        steps: int,
        run: str,
        training: str,
    ) -> None:
        self.store, self.subject, self.architecture, self.memory = store, subject, architecture, memory
        self.recipe_id, self.steps, self.run, self.training = recipe_id, steps, run, training
        self.there = store.results(
            set=subject.record.id,
            protocol=PROTOCOL,
            architecture=architecture,
            memory=memory,
            recipe_id=recipe_id,
            steps=steps,
        )

    def learning_rate(self) -> tuple[float, str] | None:
        """What an earlier session trained with."""
        return (self.there[0].step_size, self.there[0].detail["policy"]) if self.there else None

    def done(self, repeat: int) -> list[StepResult]:
        """The steps of this class order that are stored, the first ones without a gap."""
        values = {(row.step, row.metric): row for row in self.there if row.repeat == repeat}
        found = []
        for step in range(1, self.steps + 1):
            if (step, "accuracy") not in values:
                break
            found.append(
                StepResult(
                    step=step - 1,
                    accuracies=tuple(values[step, _on(j)].value for j in range(self.steps)),
                    seen=values[step, "accuracy"].value,
                    memory_size=values[step, "accuracy"].detail["memory_size"],
                )
            )
        return found

    def add_step(
        self, result: StepResult, *, repeat: int, groups: Sequence[Sequence[int]], rate: float, policy: str
    ) -> None:
        """Store one step: accuracy on the classes seen, and the row of the accuracy matrix."""
        detail = {
            "policy": policy,
            "classes_by_step": [list(group) for group in groups],
            "memory_size": result.memory_size,
            "training": self.training,
            "condensed": "whole set, split along the class order",
        }
        values = {"accuracy": result.seen} | {_on(j): value for j, value in enumerate(result.accuracies)}
        rows = [self._row(repeat, result.step + 1, metric, value, rate, detail) for metric, value in values.items()]
        self.store.add_results(rows)

    def add_scores(self, result: IncrementalResult, repeat: int, rate: float, policy: str) -> None:
        """Store the numbers over the whole stream, at its last step."""
        detail = {"policy": policy, "class_order": list(result.order), "training": self.training}
        rows = [self._row(repeat, self.steps, name, value, rate, detail) for name, value in result.scores().items()]
        self.store.add_results(rows)

    def _row(
        self, repeat: int, step: int, metric: str, value: float, rate: float, detail: Mapping[str, object]
    ) -> ResultRow:
        return ResultRow(
            set_id=self.subject.record.id,
            protocol=PROTOCOL,
            architecture=self.architecture,
            memory=self.memory,
            recipe_id=self.recipe_id,
            steps=self.steps,
            repeat=repeat,
            step=step,
            metric=metric,
            value=value,
            profile=self.subject.profile,
            seed=_seed(repeat).value,
            step_size=rate,
            detail=detail,
            run_id=self.run,
        )


def _on(step: int) -> str:
    """The metric of column `step` (from 0) of the accuracy matrix."""
    return f"accuracy_on_step_{step + 1}"
