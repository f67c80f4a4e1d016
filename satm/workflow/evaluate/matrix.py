"""Evaluates several sets on several architectures. The work can stop after any network and continue later.

A memory is what networks are trained on: the images of a set, or random real images in their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evaluation import RatePolicy, Recipe, Trainer
from evaluation.matrix import Matrix, MatrixRow
from registry import Group, Registry, ResultRow
from registry.group_ids import memberships
from registry.results import recipe_id
from satm.canonical import digest
from satm.errors import ConfigError, Diverged
from satm.machine.fused import Compilation
from satm.progress import SILENT, Progress
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
    log: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Matrix:
    """Train networks on every set under one recipe, and compare the sets.

    Each reference names a set, or a group of sets that differ only in their seed (`Registry.group`). All sets of a
    group are evaluated, and the matrix has one row for the group. The architectures are the given ones and those that
    the sets were made with. A network that another command has stored is used and not trained again.

    `against` is what every set is compared with: "random" (as many random real images), or a set or group, which is
    then evaluated too. `baseline="random"` also trains networks on random images; without `against`, every set is
    compared with them. Differences are paired, as `MatrixRow.difference` describes. If the same random images are drawn
    for several sets, the networks on them are trained once. With `dry_run` nothing is trained, and the stored results
    are returned. The other arguments are those of `evaluate`, but the learning rate cannot be "both".

    Before anything is trained, ConfigError is raised if the sets belong to different data sets, or if no recipe is
    given and their own recipes differ. It is also raised if a set or group and `against` have different IPC, find the
    learning rate in different ways, are a single set and a group, or are groups with fewer than two seeds in common.
    The errors of `Registry.group` and those for an architecture are raised then too. Later Interrupted is raised if the
    user asks to stop; finished networks are stored. Diverged is raised, after all other networks are trained, if no
    rate of the grid can train the networks of a memory.
    """
    (matrix,) = evaluate_matrices(
        references,
        architectures=architectures,
        baseline=baseline,
        against=against,
        recipe=recipe,
        repeats=repeats,
        learning_rate=learning_rate,
        prefix=prefix,
        labels=labels,
        save_predictions=save_predictions,
        device=device,
        compilation=compilation,
        registry=registry,
        data_root=data_root,
        dry_run=dry_run,
        log=log,
        progress=progress,
    )
    return matrix


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
    log: Sequence[str] = (),
    progress: Progress = SILENT,
) -> tuple[Matrix, ...]:
    """Return one matrix for each policy of the learning rate, made as in `evaluate_matrix`.

    For "both" the first matrix has learned rates and the second has rates that are chosen from the grid. Images without
    a step size, such as random images, only have grid rates. Their networks are trained once and appear in both
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
    with opened(
        registry, device=device, data_root=data_root, progress=progress, read_only=dry_run, log=log
    ) as workspace:
        plans = [plan_matrix(workspace.store, request) for request in requests]
        trainer = trainer_of(workspace, compilation)
        for plan in plans:
            progress.say(plan.opening(workspace.store))
            if not dry_run and not plan.finished(workspace.store):
                train_matrix(workspace, plan, trainer)
        return tuple(read_matrix(workspace.store, plan) for plan in plans)


@dataclass(frozen=True, kw_only=True)
class MatrixRequest:
    """A user's request for a matrix: its sets, its architectures and the comparison."""

    references: tuple[str, ...]
    architectures: tuple[str, ...]
    baseline: Literal["random"] | None
    against: str | None  # what every set is compared with: "random", or a set or group; None: the baseline, if given
    repeats: int | None  # the number of networks for each architecture and memory; None: the recipe's number
    judging: Judging
    save_predictions: bool | None = None  # None: predictions are stored if there are few test images (`evaluate`)

    @property
    def against_random(self) -> bool:
        """Whether each set is compared with random images."""
        return self.against == "random" or (self.against is None and self.baseline == "random")

    @property
    def against_set(self) -> str | None:
        """The name of the set or group that all sets are compared with; None if there is none."""
        return None if self.against == "random" else self.against


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One group of the matrix: its sets, each with the recipe that it is evaluated by. A group can be a single set."""

    group: Group
    entrants: tuple[Entrant, ...]  # the sets of the group, in the order of their seeds

    @property
    def name(self) -> str:
        """The name of the group's row in the matrix: the name of the group or, of a single set, the name of the set."""
        return self.group.name if len(self.entrants) > 1 else self.entrants[0].record.name

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the sets of the group."""
        return tuple(each.record.id for each in self.entrants)

    @property
    def first(self) -> Entrant:
        """The set with the lowest seed. All sets of a group have its image shape, recipe, profile and architecture."""
        return self.entrants[0]


@dataclass(frozen=True, kw_only=True)
class MatrixPlan:
    """The plan of a matrix: its groups, architectures and recipe, found in the registry and checked."""

    request: MatrixRequest
    contenders: tuple[Contender, ...]
    other: Contender | None  # the group that all groups are compared with; None if there is no such group
    randoms: Mapping[str, Entrant]
    """Maps the name of a group to the set of the matrix under which the results of the group's random images are
    stored. Several groups can share one such set. The mapping is empty if no random images are used."""
    architectures: tuple[str, ...]  # canonical names; first the architectures that the sets were made with
    repeats: int  # the number of networks for each architecture and memory

    @property
    def entrants(self) -> tuple[Entrant, ...]:
        """All sets of the matrix, without repetitions."""
        return _once(self.contenders)

    @property
    def recipe(self) -> Recipe:
        """The recipe of every set."""
        return self.contenders[0].first.recipe

    def memories(self, entrant: Entrant) -> tuple[MemoryKind, ...]:
        """Return what networks are trained on for this set: its own images and, for some sets, random images.

        Networks are trained on random images for those sets under which their results are stored (`randoms`).
        """
        holders = {each.record.id for each in self.randoms.values()}
        return ("condensed", "random") if entrant.record.id in holders else ("condensed",)

    def rows(self, store: Registry, entrant: Entrant, memory: MemoryKind) -> NetworkRows:
        """Return the stored results of a set for one memory: its own images, or random images."""
        return _stored(store, entrant, memory, self.architectures)

    def all_rows(self, store: Registry) -> list[NetworkRows]:
        """Return the stored results of every memory of every set."""
        return [self.rows(store, entrant, memory) for entrant in self.entrants for memory in self.memories(entrant)]

    def stored(self, store: Registry) -> tuple[int, int]:
        """Return two numbers: how many networks of the matrix are stored, and how many networks it has in all."""
        rows = self.all_rows(store)
        total = len(rows) * len(self.architectures) * self.repeats
        return sum(len(each.accuracies(self.repeats)) + len(each.diverged(self.repeats)) for each in rows), total

    def finished(self, store: Registry) -> bool:
        """Return whether every network is stored with every metric, and with its predictions if they were requested."""
        there, total = self.stored(store)
        rows = self.all_rows(store)
        if there < total or any(each.lacking(self.repeats) for each in rows):
            return False
        return not self.request.save_predictions or all(
            (row.architecture, row.repeat) in each.predicted() for each in rows for row in each.accuracies(self.repeats)
        )

    def opening(self, store: Registry) -> str:
        """Return one line that describes the matrix and says how many of its networks are stored."""
        there, total = self.stored(store)
        sets = "1 set" if len(self.entrants) == 1 else f"{len(self.entrants)} sets"
        if len(self.entrants) > len(self.contenders):
            sets += f" in {len(self.contenders)} {'group' if len(self.contenders) == 1 else 'groups'}"
        random = ", random images" if self.randoms else ""
        return (
            f"{sets}{random} on {', '.join(self.architectures)}, {self.repeats} networks each, "
            f"recipe {self.recipe.name} ({self.recipe.epochs} epochs): {there} of {total} networks are stored"
            + "".join(f"; {each.record.name}{each.remark}" for each in self.entrants if each.remark)
        )


def plan_matrix(store: Registry, request: MatrixRequest) -> MatrixPlan:
    """Find the groups and their recipe, and check that they can be compared.

    Raises the errors that `evaluate_matrix` raises before anything is trained.
    """
    wanted = [*request.references, *([request.against_set] if request.against_set is not None else [])]
    found = [_contender(store, name, request.judging) for name in wanted]
    contenders = tuple({each.ids: each for each in reversed(found)}.values())[::-1]
    entrants = _once(contenders)
    _check_comparable(entrants)
    other = next(each for each in contenders if each.ids == found[-1].ids) if request.against_set else None
    for each in contenders:
        if other is not None and each is not other:
            _check_pair(each, other)
    asked = [*(entrant.own for entrant in entrants), *request.architectures]
    recipe = entrants[0].recipe
    architectures = tuple(dict.fromkeys(entrant.canonical(name) for name in asked for entrant in entrants))
    plan = MatrixPlan(
        request=request,
        contenders=contenders,
        other=other,
        randoms=_sharing_random(store, contenders, architectures) if request.against_random or request.baseline else {},
        architectures=architectures,
        repeats=recipe.repeats if request.repeats is None else request.repeats,
    )
    for entrant in plan.entrants:
        for memory in plan.memories(entrant):
            entrant.check_learning_rate(memory)
    return plan


def train_matrix(workspace: Workspace, plan: MatrixPlan, trainer: Trainer) -> None:
    """Train the missing networks, one set and memory after another.

    Raises Diverged, after all other networks are trained, if no learning rate could train the networks of a memory.
    """
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
    """Return the matrix of the stored accuracies. It also says for each group which row the group is compared with."""
    sets = {each.name: _matrix_row(store, plan, each) for each in plan.contenders}
    holders = {each.record.id: each for each in plan.randoms.values()}
    randoms = {key: _random_row(store, plan, holder) for key, holder in holders.items()}
    against: dict[str, MatrixRow] = {}
    for name in sets:
        if plan.request.against_random:
            against[name] = randoms[plan.randoms[name].record.id]
        elif plan.other is not None:
            against[name] = sets[plan.other.name]
    return Matrix(
        recipe=plan.recipe.name,
        policy=plan.recipe.learning_rate if isinstance(plan.recipe.learning_rate, str) else "fixed",
        architectures=plan.architectures,
        sets=tuple(sets.values()),
        randoms=tuple(randoms.values()),
        against=against,
    )


def _contender(store: Registry, reference: str, judging: Judging) -> Contender:
    group = store.group(reference)
    return Contender(group=group, entrants=tuple(find_entrant(store, each.id, judging) for each in group.sets))


def _once(contenders: Sequence[Contender]) -> tuple[Entrant, ...]:
    """Return the sets of all groups without repetitions. Two groups can have a set in common."""
    return tuple({each.record.id: each for one in contenders for each in one.entrants}.values())


def _stored(store: Registry, entrant: Entrant, memory: MemoryKind, architectures: Sequence[str]) -> NetworkRows:
    recipe = entrant.recipe_of(memory)
    under = recipe_id(recipe.name, recipe.to_dict())
    return NetworkRows.read(store, entrant, memory, architectures, under)


def _check_comparable(entrants: Sequence[Entrant]) -> None:
    first = entrants[0]
    for other in entrants[1:]:
        here, there = ((e.config.dataset, e.synthetic.image_shape, e.synthetic.classes) for e in (first, other))
        # The data files are compared only if both sets name their data files; an imported set may not name them.
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


def _check_pair(one: Contender, other: Contender) -> None:
    """Raise ConfigError if these two groups cannot be compared.

    This is so if they have different IPC, if their learning rates are found in different ways, if only one of them is a
    single set, or if both are groups of several sets with fewer than two common seeds.
    """
    first, second = one.first, other.first
    if first.synthetic.ipc != second.synthetic.ipc:
        raise ConfigError(
            f"{one.name} has IPC {first.synthetic.ipc}, {other.name} IPC {second.synthetic.ipc}; compare sets of one "
            "IPC with --against"
        )
    rates = [first.policy, second.policy]
    if rates[0] != rates[1]:
        raise ConfigError(
            f"{one.name} is judged at {rates[0]} rates, {other.name} at {rates[1]} rates; compare them with "
            "--learning-rate grid"
        )
    sizes = [len(each.entrants) for each in (one, other)]
    if min(sizes) == 1 < max(sizes):
        single, group = (one, other) if sizes[0] == 1 else (other, one)
        raise ConfigError(
            f"{single.name} is one set and {group.name} a group of {max(sizes)}; compare two groups, or name one set "
            f"of it, as {group.group.newest.name}"
        )
    shared = set(one.group.seeds) & set(other.group.seeds)
    if max(sizes) > 1 and len(shared) < 2:
        seeds = " and ".join(", ".join(map(str, each.group.seeds)) for each in (one, other))
        raise ConfigError(
            f"{one.name} and {other.name} have the seeds {seeds}: groups are compared seed by seed; condense two or "
            "more seeds with both"
        )


def _sharing_random(
    store: Registry, contenders: Sequence[Contender], architectures: Sequence[str]
) -> dict[str, Entrant]:
    """Return for each group, by its name, the set under which the results of the group's random images are stored.

    Several sets can share these results if the same random images are drawn for them and the result rows have the same
    protocol and profile. Among such sets, the one with the most stored networks on random images is chosen; if several
    have equally many, the first of them is chosen.
    """
    alike: dict[str, list[Entrant]] = {}
    for entrant in _once(contenders):
        alike.setdefault(_kind(entrant), []).append(entrant)
    fullest = {
        kind: max(sets, key=lambda each: len(_stored(store, each, "random", architectures).found))
        for kind, sets in alike.items()
    }
    return {each.name: fullest[_kind(each.first)] for each in contenders}


def _kind(entrant: Entrant) -> str:
    """Return a hash that is equal for sets that can share the results of their random images."""
    return digest(
        {
            "ipc": entrant.synthetic.ipc,
            "preprocessing": entrant.synthetic.preprocessing.to_dict(),
            "data": _data(entrant),
            "own": entrant.own,
            "profile": entrant.profile,
        }
    )


def _matrix_row(store: Registry, plan: MatrixPlan, contender: Contender) -> MatrixRow:
    rows = {each.record.seed: plan.rows(store, each, "condensed") for each in contender.entrants}
    origins = {origin for each in contender.entrants for origin in _origins(each)}
    return replace(_row_of(plan, rows), name=contender.name, origins=frozenset(origins))


def _random_row(store: Registry, plan: MatrixPlan, holder: Entrant) -> MatrixRow:
    named = next(each for each in plan.contenders if holder.record.id in each.ids)
    rows = plan.rows(store, holder, "random")
    # Random images do not depend on the seed of a condensation, so in the row all of them have the one seed 0.
    return replace(_row_of(plan, {0: rows}), name=named.name, draws=True)


def _row_of(plan: MatrixPlan, by_seed: Mapping[int, NetworkRows]) -> MatrixRow:
    """Return the matrix row of one memory, made from its stored networks.

    `by_seed` maps the seed of each set of a group to the stored networks of the set.
    """
    accuracies: dict[str, dict[int, dict[int, float]]] = {}
    diverged: dict[str, dict[int, frozenset[int]]] = {}
    found: list[ResultRow] = []
    for seed, rows in by_seed.items():
        scored, lost = rows.accuracies(plan.repeats), rows.diverged(plan.repeats)
        for row in sorted(scored, key=lambda row: plan.architectures.index(row.architecture)):
            accuracies.setdefault(row.architecture, {}).setdefault(seed, {})[row.repeat] = row.value
        for name in dict.fromkeys(row.architecture for row in lost):
            repeats = frozenset(row.repeat for row in lost if row.architecture == name)
            diverged.setdefault(name, {})[seed] = repeats
        found += [*scored, *lost]
    first = next(iter(by_seed.values()))
    rates = {name: {row.rate for row in found if row.architecture == name} for name in plan.architectures}
    return MatrixRow(
        name=first.entrant.record.name,
        memory=first.memory,
        profile=first.entrant.profile,
        own=first.entrant.own,
        ipc=first.entrant.synthetic.ipc,
        accuracies=accuracies,
        images=next((len(each.targets) for each in first.predicted().values()), None),
        adaptations={row.architecture: row.detail.get("adaptation", {}) for row in found},
        diverged=diverged,
        chance=1 / len(first.entrant.synthetic.classes),
        policies={row.architecture: row.policy or "" for row in found},
        rates={name: tuple(sorted(values)) for name, values in rates.items() if values},
    )


def _origins(entrant: Entrant) -> set[str]:
    """Return labels for the origins of a set. Two sets with a common label depend on each other.

    The labels name the groups of the set, its images, its own run, and the sets and runs that it was made from.
    """
    record = entrant.record
    parents = {parent for parent in record.parents if parent.startswith(("set:", "run:"))}
    # The group of an imported set says nothing about its origin, because its condensation is not described.
    groups = memberships(record.about, record.parents) if "condense" in record.about["config"] else {}
    runs = {f"run:{record.run_id}"} if record.run_id else set()
    return {*groups, *parents, *runs, f"set:{record.id}", f"images:{digest(list(record.blobs))}"}
