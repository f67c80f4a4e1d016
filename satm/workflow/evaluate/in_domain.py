"""Evaluates a stored set: trains fresh networks on it and tests them.

The networks have the architecture that the set was made with (in-domain) or another one (cross-architecture). The work
can stop after any network and continue later.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import evaluation
from evaluation import Earlier, EvaluationResult, RatePolicy, Trainer, check_compilation
from evaluation.predictions import SAVED_BELOW
from registry import Group, Registry
from registry.provenance import environment
from satm.errors import Interrupted
from satm.machine.fused import Compilation
from satm.progress import SILENT, Progress
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.evaluate.rows import NetworkRows, Tested
from satm.workflow.evaluate.subject import (
    ROOT,
    Entrant,
    Judging,
    MemoryKind,
    Subject,
    find_entrant,
    open_subject,
    policies,
)
from satm.workflow.former_runs import continue_former
from satm.workflow.logging import Loggers, logged, logged_names
from satm.workflow.teachers import Labelling, label_facts
from satm.workflow.workspace import Workspace, opened


def evaluate(
    reference: str = "latest",
    *,
    architectures: Sequence[str] | None = None,
    baseline: Literal["random"] | None = None,
    recipe: str | None = None,
    repeats: int | None = None,
    learning_rate: RatePolicy | Literal["both"] | None = None,
    prefix: int | None = None,
    labels: Labelling | None = None,
    save_predictions: bool | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    log: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Group:
    """Train networks from scratch on stored sets, and store their metrics on the test images.

    The return value is the group of the evaluated sets; `group_results` reads the stored metrics.

    `reference` names one set, or a group of sets that differ only in their seed (`Registry.group`). Every set of a
    group is evaluated. The networks that are trained on a set are numbered 0, 1, …; this number is called the repeat.
    Networks of the same repeat have the same initial weights for every set.

    One result row is stored for each network and each metric of `evaluation.METRICS`. A network that has a stored row
    for every metric is not trained again.

    Args:
        architectures: the networks to train. By default only the architecture that the set was made with
            ("in-domain"); the results of any other architecture are stored as "cross-arch".
        baseline: "random" also trains networks on as many random real images under the same recipe, once for a whole
            group. Each repeat draws new images. Their learning rate is chosen on the validation split, unless
            `learning_rate` is a number.
        recipe: the name of the recipe by which the networks are trained; by default the recipe of the set's profile.
        learning_rate: how the learning rate is found: "learned", "grid" or a number; by default as the recipe says.
            "both" evaluates with "learned" first and then with "grid", and stores the results of both.
        repeats: the number of networks for each architecture on the set, and again on random images; by default the
            recipe's number.
        prefix: train only on the first `prefix` images of each class, and on as many random images. The results are
            stored with `[:PREFIX]` in the field `memory`, as in `condensed[:3]`.
        labels: "teacher" or `ByTeacher`: every batch, also of random images, is labelled by a teacher, a network that
            was trained on the set's real data. "own": the set's own labels are used. By default as the recipe says.
        save_predictions: whether to store the class that each network predicts for each test image, one byte for each
            prediction. By default predictions are stored if there are fewer than 20,000 test images. With True, stored
            networks without predictions are trained again.
        compilation: "compiled" or "eager" forces how networks are trained; "auto" compiles long trainings. The way is
            stored with every result.
        dry_run: check the request and train nothing.
        log: tools that also receive every metric, as in `condense`.

    Raises ConfigError before anything is trained if a learning rate must be chosen on validation images and the set
    has none (`validation=0`). Raises Interrupted if the user asks to stop; every finished network is stored before.
    """
    choices = [
        Judging(recipe=recipe, learning_rate=policy, prefix=prefix, labels=labels) for policy in policies(learning_rate)
    ]
    with opened(
        registry, device=device, data_root=data_root, progress=progress, read_only=dry_run, log=log
    ) as workspace:
        group = workspace.store.group(reference)
        works = list(_works(workspace.store, group, choices, architectures, baseline, repeats))
        trainer = trainer_of(workspace, compilation)
        for judging, entrant, wanted in works:
            progress.say(wanted.opening(entrant))
            subject = open_subject(workspace, entrant.record.id, judging)
            if not dry_run:
                train_missing(workspace, subject, replace(wanted, save_predictions=save_predictions), trainer)
    return group


def _works(
    store: Registry,
    group: Group,
    choices: Sequence[Judging],
    architectures: Sequence[str] | None,
    baseline: MemoryKind | None,
    repeats: int | None,
) -> Iterator[tuple[Judging, Entrant, Wanted]]:
    """Yield the choices, the set and the networks to train, for each set of the group under each of the `choices`.

    Raises the errors of `_wanted`.
    """
    for record, judging in product(group.sets, choices):
        # Random images do not depend on the seed of the condensation, so they are evaluated only with the first set.
        beside = baseline if record is group.sets[0] else None
        entrant = find_entrant(store, record.id, judging)
        yield judging, entrant, _wanted(entrant, architectures, beside, repeats)


def _wanted(
    subject: Entrant, architectures: Sequence[str] | None, baseline: MemoryKind | None, repeats: int | None
) -> Wanted:
    """Return the networks that `evaluate` needs for one set.

    Raises ConfigError if an architecture cannot be trained on the set, or if its learning rate cannot be found.
    """
    names = [subject.config.architecture] if architectures is None else list(architectures)
    wanted = Wanted(
        architectures=tuple(subject.canonical(name) for name in names),
        memories=("condensed",) if baseline is None else ("condensed", baseline),
        repeats=subject.recipe.repeats if repeats is None else repeats,
        kind="eval" if architectures is None else "eval-arch",
    )
    for memory in wanted.memories:
        subject.check_learning_rate(memory)
    return wanted


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The networks that an evaluation of one set needs."""

    architectures: tuple[str, ...]  # canonical names
    memories: tuple[MemoryKind, ...]  # the kinds of images that networks are trained on: the set, real images …
    repeats: int  # the number of networks for each architecture and memory
    kind: Literal["eval", "eval-arch"]  # the kind of run under which the evaluation is stored
    save_predictions: bool | None = None  # None: predictions are stored if there are fewer than SAVED_BELOW test images

    def opening(self, subject: Entrant) -> str:
        """Return one line that describes what is trained."""
        beside = "".join(f", beside {memory}" for memory in self.memories if memory != "condensed")
        return (
            f"{subject.record.name} ({subject.profile}{subject.remark}): {self.repeats} networks each of "
            f"{', '.join(self.architectures)}, recipe {subject.recipe.name} ({subject.recipe.epochs} epochs){beside}"
        )

    def complete(self, rows: NetworkRows) -> set[tuple[str, int]]:
        """Return the networks that need no training, as pairs (architecture, repeat).

        If `save_predictions` is True, a network without stored predictions is trained again. A network that diverged
        has no predictions and is not trained again.
        """
        done = rows.complete()
        if not self.save_predictions:
            return done
        diverged = {(row.architecture, row.repeat) for row in rows.diverged(self.repeats)}
        return done & (diverged | rows.predicted().keys())

    def facts(self, subject: Subject) -> dict[str, Any]:
        """Return the facts about the request that the run stores, as values that JSON can represent."""
        facts = {"architectures": list(self.architectures), "memories": list(self.memories)}
        facts |= {"recipe": subject.recipe.to_dict(), "repeats": self.repeats}
        if subject.hardened:  # the key of a run is a hash of the facts; without the entry, older runs keep their key
            facts["hardened"] = True
        return facts if subject.prefix is None else facts | {"prefix": subject.prefix}


def tested_images(subject: Subject, save_predictions: bool | None) -> Tested | None:
    """Return the test images for which predictions are stored, or None if no predictions are stored.

    If `save_predictions` is None, predictions are stored if there are fewer than `SAVED_BELOW` test images.
    """
    test = subject.data.test
    saved = len(test) < SAVED_BELOW if save_predictions is None else save_predictions
    return Tested.of(test, subject.data.num_classes) if saved else None


def trainer_of(workspace: Workspace, compilation: Compilation) -> Trainer:
    """Return a trainer of networks on the device of the workspace."""
    return Trainer(device=workspace.device, compilation=compilation, progress=workspace.progress)


def train_missing(workspace: Workspace, subject: Subject, wanted: Wanted, trainer: Trainer) -> None:
    """Train the networks that are not stored or lack a metric, and store the missing metrics.

    A network that lacks a metric is trained again with the same seed as before. Its stored rows do not change. If the
    recipe needs a teacher that is not stored, the teacher is trained first. Raises the same errors as
    `evaluation.evaluate`; the networks that were finished before the error are stored.
    """
    store, progress = workspace.store, workspace.progress
    check_compilation(subject.recipe, trainer.compilation)  # before a teacher is trained
    asked, device = wanted.facts(subject), str(workspace.device)
    with (
        recorded(store, subject, wanted.kind, asked, device) as run,
        logged(workspace, subject.record, run, wanted.kind, asked) as log,
    ):
        teacher, facts = subject.trained_teacher(workspace), label_facts(subject.data, subject.recipe.labels)
        test = tested_images(subject, wanted.save_predictions)
        for memory in wanted.memories:
            recipe = subject.recipe_of(memory)
            recipe_id = store.add_recipe(recipe.name, recipe.to_dict())
            rows = NetworkRows.read(store, subject, memory, wanted.architectures, recipe_id)
            rows = rows.with_metrics_of_predictions(wanted.repeats)
            if lacking := rows.lacking(wanted.repeats):
                names = ", ".join(sorted(set().union(*lacking.values())))
                progress.say(f"{rows.memory}: {len(lacking)} stored networks lack {names} and are trained again")
            evaluation.evaluate(
                subject.draws(memory),
                subject.data,
                wanted.architectures,
                recipe,
                seed=ROOT,
                repeats=wanted.repeats,
                trainer=trainer,
                teacher=teacher,
                earlier=Earlier(trained=wanted.complete(rows), learning_rates=rows.learning_rates()),
                on_result=partial(_keep, rows=rows, log=log, run_id=run, labels=facts, progress=progress, test=test),
            )


def _keep(result: EvaluationResult, *, rows: NetworkRows, log: Loggers, **facts: Any) -> None:
    """Store and log the metrics of one network. `facts` are the other arguments of `NetworkRows.add`."""
    rows.add(result, **facts)
    protocol = rows.entrant.protocol(result.architecture)
    log.add(result.repeat, logged_names(protocol, result.architecture, rows.memory, result.metrics))


@contextmanager
def recorded(store: Registry, subject: Subject, kind: str, facts: dict[str, Any], device: str) -> Iterator[str]:
    """Store a run for the evaluation in the `with` block, and yield the id of the run.

    At the end of the block, how the block ended and its seconds are stored with the run. `facts` describe the request;
    the key of the run is a hash of `kind`, the set and these facts. Raises SatmError if another process does the same
    evaluation at this time.
    """
    deciding = {"kind": kind, "set": subject.record.id, **facts}
    continue_former(store, deciding)
    key = store.run_key(deciding)
    with Checkpoint(key).held():
        run = store.start_run(
            key=key,
            kind=kind,
            config=facts,
            profile=subject.profile,
            dataset=subject.record.dataset,
            method=subject.record.method,
            ipc=subject.record.ipc,
            seed=ROOT.root,
            device=device,
            environment=environment(),
            command=" ".join(sys.argv),
            set_id=subject.record.id,
        )
        started = time.monotonic()
        status: Literal["done", "failed", "interrupted"] = "interrupted"
        message = ""
        try:
            yield run
            status = "done"
        except Interrupted:
            raise
        except Exception as error:
            status, message = "failed", str(error)
            raise
        finally:
            store.finish_run(run, status=status, message=message, add_seconds=time.monotonic() - started)
