"""In-domain and cross-architecture evaluation of a stored set, resumed network by network."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

import evaluation
from evaluation import EvaluationResult
from registry import Registry, ResultRow, SetRecord
from registry.provenance import environment
from satm.errors import Interrupted
from satm.machine.device import resolve_device
from satm.machine.fused import Compilation, Fused
from satm.progress import SILENT, Progress
from satm.synthetic import digest
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.evaluate.subject import ROOT, Entrant, Memory, Subject, open_subject


def evaluate(
    reference: str = "latest",
    *,
    architectures: Sequence[str] | None = None,
    baseline: Literal["random"] | None = None,
    recipe: str | None = None,
    repeats: int | None = None,
    learning_rate: float | Literal["learned", "grid"] | None = None,
    prefix: int | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> SetRecord:
    """Train networks from scratch on a stored set and store their test accuracies; `results` reads them.

    Without `architectures` the set's own network is used ("in-domain"), with them each of those ("cross-arch" but for
    the set's own). `baseline` adds as many random real images under the same recipe, drawn afresh each repeat, their
    step size chosen on the validation split. `prefix` uses the first so many images of each class alone, and as many
    random ones; its results are stored as of memory `condensed[:PREFIX]`. `compilation` "compiled" or "eager" forces
    how networks are trained, which every result says; "auto" compiles long trainings. Networks that are in the
    registry already are not trained again. Raises Interrupted with every finished network stored.
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
            prefix=prefix,
        )
        names = [subject.config.architecture] if architectures is None else list(architectures)
        names = [subject.canonical(name) for name in names]
        count = subject.recipe.repeats if repeats is None else repeats
        progress.say(
            f"{subject.record.name} ({subject.profile}): {count} networks each of {', '.join(names)}, recipe "
            f"{subject.recipe.name} ({subject.recipe.epochs} epochs)" + (f", beside {baseline}" if baseline else "")
        )
        if not dry_run:
            train_missing(
                store,
                subject,
                names,
                ["condensed", *([baseline] if baseline else [])],
                kind="eval" if architectures is None else "eval-arch",
                repeats=count,
                device=where,
                compilation=compilation,
                progress=progress,
            )
    return subject.record


def train_missing(
    store: Registry,
    subject: Subject,
    names: Sequence[str],
    memories: Sequence[Memory],
    *,
    kind: str,
    repeats: int,
    device: torch.device,
    compilation: Compilation = "auto",
    shared: dict[tuple[str, int], Fused | None] | None = None,
    progress: Progress = SILENT,
) -> None:
    """Train and store what the registry does not hold of `repeats` networks for every memory and architecture.

    `names` are canonical; `shared` is `evaluation.evaluate`'s. Raises as that does, with what was trained stored.
    """
    asked = {"architectures": list(names), "memories": list(memories), "recipe": subject.recipe.to_dict()}
    asked |= {"repeats": repeats} | ({} if subject.prefix is None else {"prefix": subject.prefix})
    with recorded(store, subject, kind, asked, str(device)) as run:
        recipe_id = store.add_recipe(subject.recipe.name, subject.recipe.to_dict())
        for memory in memories:
            called = subject.stored_memory(memory)
            there = stored(store, subject, memory, names, recipe_id)

            def keep(result: EvaluationResult, memory: str = called) -> None:
                store.add_results([_row(result, subject, memory, recipe_id, run)])

            evaluation.evaluate(
                subject.draws(memory),
                subject.data,
                names,
                subject.recipe,
                seed=ROOT,
                repeats=repeats,
                chosen={row.architecture: row.step_size for row in there if "grid" in row.detail["policy"]},
                device=device,
                compilation=compilation,
                progress=progress,
                skip={(row.architecture, row.repeat) for row in there},
                shared=shared,
                on_result=keep,
            )


def stored(store: Registry, entrant: Entrant, memory: Memory, names: Sequence[str], recipe_id: str) -> list[ResultRow]:
    """The accuracies that the registry holds of a memory on these architectures under a recipe."""
    rows = store.results(
        set=entrant.record.id, memory=entrant.stored_memory(memory), recipe_id=recipe_id, metric="accuracy"
    )
    return [row for row in rows if row.architecture in names and row.protocol == entrant.protocol(row.architecture)]


@contextmanager
def recorded(store: Registry, subject: Subject, kind: str, asked: dict[str, Any], device: str) -> Iterator[str]:
    """A run around an evaluation: its id inside, its end and its seconds stored however it ends.

    Raises SatmError where another process is at the same evaluation.
    """
    key = digest({"kind": kind, "set": subject.record.id, "registry": str(store.path.resolve()), **asked})[:32]
    with Checkpoint(key).held():
        run = store.start_run(
            key=key,
            kind=kind,
            config=asked,
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


def _row(result: EvaluationResult, subject: Subject, memory: str, recipe_id: str, run: str) -> ResultRow:
    return ResultRow(
        set_id=subject.record.id,
        protocol=subject.protocol(result.architecture),
        architecture=result.architecture,
        memory=memory,
        recipe_id=recipe_id,
        repeat=result.repeat,
        metric="accuracy",
        value=result.accuracy,
        profile=subject.profile,
        seed=result.seed,
        step_size=result.learning_rate,
        detail={
            "policy": result.policy,
            "adaptation": dict(result.adaptation),
            "preprocessing": subject.synthetic.preprocessing.kind,  # every network is fed the set's own space
            "seconds": result.seconds,
            "training": result.training,
        },
        run_id=run,
    )
