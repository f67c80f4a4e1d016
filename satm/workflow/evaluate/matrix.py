"""Evaluates several sets on several architectures. It can stop after any network and continue later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation import RatePolicy, Recipe, Trainer
from evaluation.matrix import Matrix, MatrixRow
from registry import Registry
from registry.results import recipe_id
from satm.errors import ConfigError, Diverged
from satm.machine.fused import Compilation
from satm.progress import SILENT, Progress
from satm.synthetic import digest
from satm.workflow.evaluate.in_domain import Wanted, train_missing, trainer_of
from satm.workflow.evaluate.rows import NetworkRows
from satm.workflow.evaluate.subject import Entrant, Judging, MemoryKind, find_entrant, open_subject, policies
from satm.workflow.teachers import Labelling
from satm.workflow.workspace import Workspace, opened


def evaluate_matrix(
    references: Sequence[str] = ("latest",),
    *,
    architectures: Sequence[str],
    baseline: Literal["random"] | None = None,
    against: str | None = None,
    recipe: str | None = None,
    repeats: int | None = None,
    learning_rate: RatePolicy | None = None,
    prefix: int | None = None,
    labels: Labelling | None = None,
    save_predictions: bool | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Matrix:
    """Train networks on every set under one recipe, and compare the sets.

    The architectures are those given and the sets' own. A network depends only on its architecture, its repeat and its
    memory, so a network in the registry is not trained again, even if another command trained it.

    `against` chooses the other side of the comparison: "random" for as many random real images, or a set, which is then
    also evaluated. `baseline="random"` trains on random images too; without `against`, they are the other side.
    Differences are paired over repeats. Sets with the same random images
    share the networks trained on them. `dry_run` trains nothing and returns the stored results. The other arguments are
    those of `evaluate`.

    Raises ConfigError if the sets belong to different data sets, or if no recipe is named and their own recipes differ.
    Raises UnknownName or ConfigError for an architecture. All this is before anything is trained. Raises Interrupted if
    the user stops it; the networks finished until then are stored. Raises Diverged, after all other networks, if a grid
    has no rate at which a network can be trained. `evaluate_matrices` takes "both" as the learning rate.
    """
    request = MatrixRequest(
        references=tuple(references),
        architectures=tuple(architectures),
        baseline=baseline,
        against=against,
        repeats=repeats,
        judging=Judging(recipe=recipe, learning_rate=learning_rate, prefix=prefix, labels=labels),
        save_predictions=save_predictions,
    )
    with opened(registry, device=device, data_root=data_root, progress=progress, read_only=dry_run) as workspace:
        return _matrices(workspace, (request,), compilation, dry_run)[0]


def evaluate_matrices(
    references: Sequence[str] = ("latest",),
    *,
    architectures: Sequence[str],
    baseline: Literal["random"] | None = None,
    against: str | None = None,
    recipe: str | None = None,
    repeats: int | None = None,
    learning_rate: RatePolicy | Literal["both"] | None = "both",
    prefix: int | None = None,
    labels: Labelling | None = None,
    save_predictions: bool | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> tuple[Matrix, ...]:
    """`evaluate_matrix` under each policy of the learning rate: for "both" the matrix at learned rates, then at grid's.

    A memory without a step size, such as random images, has only grid rates. It is trained once and stands in both
    matrices. All requests are checked before anything is trained.
    """
    requests = tuple(
        MatrixRequest(
            references=tuple(references),
            architectures=tuple(architectures),
            baseline=baseline,
            against=against,
            repeats=repeats,
            judging=Judging(recipe=recipe, learning_rate=policy, prefix=prefix, labels=labels),
            save_predictions=save_predictions,
        )
        for policy in policies(learning_rate)
    )
    with opened(registry, device=device, data_root=data_root, progress=progress, read_only=dry_run) as workspace:
        return _matrices(workspace, requests, compilation, dry_run)


def _matrices(
    workspace: Workspace, requests: Sequence[MatrixRequest], compilation: Compilation, dry_run: bool
) -> tuple[Matrix, ...]:
    """The matrix of each request; the networks that are missing are trained first, unless it is a dry run."""
    plans = [plan_matrix(workspace.store, request) for request in requests]
    trainer = trainer_of(workspace, compilation)
    for plan in plans:
        workspace.progress.say(plan.opening(workspace.store))
        if not dry_run and not plan.finished(workspace.store):
            train_matrix(workspace, plan, trainer)
    return tuple(read_matrix(workspace.store, plan) for plan in plans)


@dataclass(frozen=True, kw_only=True)
class MatrixRequest:
    """A user's request for a matrix: its sets, its architectures and the comparison."""

    references: tuple[str, ...]
    architectures: tuple[str, ...]
    baseline: Literal["random"] | None
    against: str | None  # "random" or a set; None: the baseline, if there is one
    repeats: int | None
    judging: Judging
    save_predictions: bool | None = None  # None: if there are few enough test images

    @property
    def against_random(self) -> bool:
        """Whether each set is compared with random images."""
        return self.against == "random" or (self.against is None and self.baseline == "random")

    @property
    def against_set(self) -> str | None:
        """The set that all sets are compared with."""
        return None if self.against == "random" else self.against


@dataclass(frozen=True, kw_only=True)
class MatrixPlan:
    """A matrix whose sets, architectures and recipe are found and checked."""

    request: MatrixRequest
    entrants: tuple[Entrant, ...]
    other: Entrant | None  # the set that all sets are compared with
    randoms: Mapping[str, Entrant]
    """By the id of a set: the set of the matrix under which the random images for it are stored. Several sets can share
    one. It is empty if no random images are used."""
    architectures: tuple[str, ...]  # canonical; the sets' own first
    repeats: int

    @property
    def recipe(self) -> Recipe:
        """The recipe of every set."""
        return self.entrants[0].recipe

    def memories(self, entrant: Entrant) -> tuple[MemoryKind, ...]:
        """The memories of a set that networks are trained on: the set, and random images if they are stored with it."""
        return ("condensed", "random") if self.randoms.get(entrant.record.id) is entrant else ("condensed",)

    def rows(self, store: Registry, entrant: Entrant, memory: MemoryKind) -> NetworkRows:
        """The stored results of one memory of a set."""
        recipe = entrant.recipe_of(memory)
        under = recipe_id(recipe.name, recipe.to_dict())
        return NetworkRows.read(store, entrant, memory, self.architectures, under)

    def all_rows(self, store: Registry) -> list[NetworkRows]:
        """The stored results of every memory of every set."""
        return [self.rows(store, entrant, memory) for entrant in self.entrants for memory in self.memories(entrant)]

    def stored(self, store: Registry) -> tuple[int, int]:
        """The number of networks that are stored, and the number that the matrix has in all."""
        rows = self.all_rows(store)
        total = len(rows) * len(self.architectures) * self.repeats
        return sum(len(each.accuracies(self.repeats)) + len(each.diverged(self.repeats)) for each in rows), total

    def finished(self, store: Registry) -> bool:
        """Whether every network is stored with every metric, and with its predictions if they were asked for."""
        there, total = self.stored(store)
        rows = self.all_rows(store)
        if there < total or any(each.lacking(self.repeats) for each in rows):
            return False
        return not self.request.save_predictions or all(
            (row.architecture, row.repeat) in each.predicted() for each in rows for row in each.accuracies(self.repeats)
        )

    def opening(self, store: Registry) -> str:
        """One line that describes the matrix and says how many of its networks are stored."""
        there, total = self.stored(store)
        random = ", random images" if self.randoms else ""
        return (
            f"{len(self.entrants)} sets{random} on {', '.join(self.architectures)}, {self.repeats} networks each, "
            f"recipe {self.recipe.name} ({self.recipe.epochs} epochs): {there} of {total} networks are stored"
            + "".join(f"; {each.record.name}{each.remark}" for each in self.entrants if each.remark)
        )


def plan_matrix(store: Registry, request: MatrixRequest) -> MatrixPlan:
    """Find the sets and their recipe, and check that they can be compared. Raises the errors of `evaluate_matrix`."""
    wanted = [*request.references, *([request.against_set] if request.against_set is not None else [])]
    found = [find_entrant(store, name, request.judging) for name in wanted]
    entrants = list({entrant.record.id: entrant for entrant in found}.values())
    _check_comparable(entrants)
    asked = [*(entrant.own for entrant in entrants), *request.architectures]
    recipe = entrants[0].recipe
    plan = MatrixPlan(
        request=request,
        entrants=tuple(entrants),
        other=found[-1] if request.against_set is not None else None,
        randoms=_sharing_random(entrants) if request.against_random or request.baseline else {},
        architectures=tuple(dict.fromkeys(entrant.canonical(name) for name in asked for entrant in entrants)),
        repeats=recipe.repeats if request.repeats is None else request.repeats,
    )
    for entrant in plan.entrants:
        for memory in plan.memories(entrant):
            entrant.check_learning_rate(memory)
    return plan


def train_matrix(workspace: Workspace, plan: MatrixPlan, trainer: Trainer) -> None:
    """Train the missing networks, one memory after another. Raises Diverged after all others are trained."""
    diverged = []
    for entrant in plan.entrants:
        subject = open_subject(workspace, entrant.record.id, plan.request.judging)
        for memory in plan.memories(entrant):
            wanted = Wanted(
                architectures=plan.architectures,
                memories=(memory,),
                repeats=plan.repeats,
                kind="eval-arch",
                save_predictions=plan.request.save_predictions,
            )
            try:
                train_missing(workspace, subject, wanted, trainer)
            except Diverged as error:
                diverged.append(f"{entrant.record.name}, {memory}: {error}")
    if diverged:
        raise Diverged("; ".join(diverged))


def read_matrix(store: Registry, plan: MatrixPlan) -> Matrix:
    """The stored accuracies of a plan, and for each set the row that it is compared with."""
    rows = {
        (entrant.record.id, memory): _matrix_row(plan, plan.rows(store, entrant, memory))
        for entrant in plan.entrants
        for memory in plan.memories(entrant)
    }
    against: dict[str, MatrixRow] = {}
    for entrant in plan.entrants:
        if plan.request.against_random:
            against[entrant.record.name] = rows[plan.randoms[entrant.record.id].record.id, "random"]
        elif plan.other is not None:
            against[entrant.record.name] = rows[plan.other.record.id, "condensed"]
    return Matrix(
        recipe=plan.recipe.name,
        policy=plan.recipe.learning_rate if isinstance(plan.recipe.learning_rate, str) else "fixed",
        architectures=plan.architectures,
        sets=tuple(row for (_, memory), row in rows.items() if memory == "condensed"),
        randoms=tuple(row for (_, memory), row in rows.items() if memory == "random"),
        against=against,
    )


def _check_comparable(entrants: Sequence[Entrant]) -> None:
    first = entrants[0]
    for other in entrants[1:]:
        here, there = ((e.config.dataset, e.synthetic.image_shape, e.synthetic.classes) for e in (first, other))
        # The data are compared only if both sets name them; an imported set may name none.
        known = [data for data in (_data(first), _data(other)) if data]
        if here != there or known[:1] != known[-1:]:
            raise ConfigError(
                f"{first.record.name} and {other.record.name} are not of the same images: {_spell(first)} and "
                f"{_spell(other)}; a matrix holds sets of one data set"
            )
        if first.recipe != other.recipe:
            raise ConfigError(
                f"{first.record.name} would be judged by the recipe {first.recipe.name}, {other.record.name} by "
                f"{other.recipe.name}; name one for both with --recipe"
            )


def _spell(entrant: Entrant) -> str:
    size = "×".join(map(str, entrant.synthetic.image_shape))
    return f"{entrant.config.dataset}, {size}, {len(entrant.synthetic.classes)} classes"


def _data(entrant: Entrant) -> list[str]:
    return sorted(parent for parent in entrant.record.parents if parent.startswith("data:"))


def _sharing_random(entrants: Sequence[Entrant]) -> dict[str, Entrant]:
    """By the id of a set: the first set that can share its random images.

    These have the same pixels, and the same protocol and profile in their result rows.
    """
    firsts: dict[str, Entrant] = {}
    found = {}
    for entrant in entrants:
        kind = digest(
            {
                "ipc": entrant.synthetic.ipc,
                "preprocessing": entrant.synthetic.preprocessing.to_dict(),
                "data": _data(entrant),
                "own": entrant.own,
                "profile": entrant.profile,
            }
        )
        found[entrant.record.id] = firsts.setdefault(kind, entrant)
    return found


def _matrix_row(plan: MatrixPlan, rows: NetworkRows) -> MatrixRow:
    accuracies: dict[str, dict[int, float]] = {}
    found, lost = rows.accuracies(plan.repeats), rows.diverged(plan.repeats)
    for row in sorted(found, key=lambda row: plan.architectures.index(row.architecture)):
        accuracies.setdefault(row.architecture, {})[row.repeat] = row.value
    return MatrixRow(
        name=rows.entrant.record.name,
        memory=rows.memory,
        profile=rows.entrant.profile,
        own=rows.entrant.own,
        accuracies=accuracies,
        adaptations={row.architecture: row.detail["adaptation"] for row in found},
        diverged=Counter(row.architecture for row in lost),
        chance=1 / len(rows.entrant.synthetic.classes),
        policies={row.architecture: row.policy or "" for row in (*found, *lost)},
        rates={row.architecture: row.rate for row in (*found, *lost)},
    )
