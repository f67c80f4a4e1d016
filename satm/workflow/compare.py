"""Compares groups of stored sets by the results that the registry has already. Nothing is trained.

Two groups are compared in pairs of results. The two results of a pair have the same condensation seed and the same
network, that is, the same repeat of the evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from registry import Group, Registry
from satm.errors import ConfigError, RegistryError, UnknownName
from satm.statistics import (
    DELTA,
    Common,
    Crossed,
    FamilyMember,
    against_control,
    all_pairs,
    common,
    crossed,
    may_be_best,
)
from satm.workflow.grouped import Cell, GroupRow, group_rows
from satm.workflow.incremental.differences import STREAM_METRICS
from satm.workflow.incremental.naming import BASE

POLICIES = ("learned", "grid", "fixed")  # ways to find the learning rate of an evaluation
WHOLE = ("in-domain", "cross-arch")  # protocols whose networks are trained on all classes at once
SHORT = {"cl": BASE, "arch": "cross-arch"}  # short names of protocols


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One group in a comparison."""

    row: GroupRow  # all stored results of the group for this comparison
    mean: Crossed  # the mean over only the seeds and networks (or class orders) that all groups have

    @property
    def name(self) -> str:
        """The name of the group, by which it can be looked up."""
        return self.row.group.name

    @property
    def unevaluated(self) -> tuple[int, ...]:
        """The seeds of the group that have no result for this comparison."""
        return tuple(seed for seed in self.row.group.seeds if seed not in self.row.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The comparisons at one rate policy, architecture, recipe and profile.

    They are one family: Holm's method corrects their p-values together.
    """

    cell: Cell  # what all values have in common; its protocol is "" if the groups' protocols differ
    recipe: str  # the name of the recipe
    sides: tuple[Side, ...]  # in the order in which the groups were given; a control is last
    comparisons: tuple[FamilyMember, ...]
    may_be_best: tuple[str, ...] | None  # the groups that may be the best; None with a control or two groups
    left_out: int  # the number of values that are not compared, because not every group has their seed or network

    @property
    def unit(self) -> Literal["network", "order"]:
        """What is paired within a seed: networks, or class orders if the protocol is class-incremental."""
        return "order" if self.cell.incremental else "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The result of `compare`."""

    blocks: tuple[Block, ...]
    # One line for each rate policy, or for each pair of a policy and an architecture that was asked for, without a
    # block: it says why. Fixed rates have no line if all policies were asked for.
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which results are compared."""

    architectures: tuple[str, ...]  # empty: every architecture that all groups have
    metric: str
    protocol: str | None  # None: both in-domain and cross-arch
    policies: tuple[str, ...]  # the rate policies, from `POLICIES`
    recipe: str | None  # None: every recipe
    profile: str | None  # None: every profile

    @property
    def incremental(self) -> bool:
        """Whether the results are of class-incremental streams."""
        return self.protocol is not None and self.protocol.startswith(BASE)

    def wants(self, row: GroupRow) -> bool:
        """Whether a row can be compared.

        The row must be of condensed images and have the metric, one of the policies and the recipe. In a
        class-incremental stream it must be of the last step. If the question has no protocol, the protocol of the row
        must be in-domain or cross-arch.

        This method does not check a protocol that the question has, the profile and the architecture: `group_rows`
        returns only rows of this protocol and profile, and `_is_of` checks the architecture.
        """
        cell = row.cell
        return (
            (self.protocol is not None or cell.protocol in WHOLE)
            and cell.memory.startswith("condensed")
            and cell.metric == self.metric
            and cell.step == cell.steps
            and cell.policy in self.policies
            and self.recipe in (None, row.recipe, _plain(row.recipe))
        )

    def command(self, groups: Sequence[Group], policy: str, *, architecture: str = "", recipe: str = "") -> str:
        """The commands that make the results that are missing for `groups`, as text for a message."""
        rate = "NUMBER" if policy == "fixed" else policy
        recipe = _plain(recipe or self.recipe or "")
        options = f" --learning-rate {rate}" + (f" --recipe {recipe}" if recipe else "")
        names = [group.name for group in groups]
        if not self.incremental:
            if architecture:
                return f"`satm eval-arch {' '.join(names)} --arch {architecture}{options}`"
            return " and ".join(f"`satm eval {name}{options}`" for name in names)
        kind = (self.protocol or "").partition("/")[2].partition("[")[0]
        options = (
            (f" --protocol {kind}" if kind else "") + (f" --arch {architecture}" if architecture else "") + options
        )
        return " and ".join(f"`satm eval-cl {name}{options}`" for name in names)


def compare(
    references: Sequence[str],
    *,
    against: str | None = None,
    architectures: Sequence[str] = (),
    metric: str | None = None,
    protocol: str | None = None,
    learning_rate: Literal["learned", "grid", "fixed", "both"] = "both",
    recipe: str | None = None,
    profile: str | None = None,
    delta: float = DELTA,
    registry: Path | str = "satm.db",
) -> Compared:
    """Compare groups of sets by their stored results.

    The differences are d[s, r] = y_A − y_B for condensation seed s and network r, where y are the results of the groups
    A and B. For class-incremental protocols r is a class order, and y is the mean over the networks of this order.

    With two references, A is the first and B the second. With three or more, all pairs are compared, with the higher
    mean as A, and the result says which groups may be the best. With `against`, this group is B in every comparison.

    All results of a block have one rate policy, architecture, recipe and profile. Nothing is averaged over blocks,
    because the sign of a difference can change with the policy. Holm's method corrects each block separately.

    Args:
        references: groups or sets, in the form that `Registry.group` accepts. Single sets say nothing about their
            methods, so their verdict is "cannot tell (this set only)".
        against: the control, a group or set.
        architectures: the only architectures to compare on; empty: every architecture that all groups have.
        metric: the name of a fraction for which more is better; None: accuracy, or for streams the final accuracy.
        protocol: in-domain, cross-arch or class-incremental (or class-incremental/NAME); None: the first two.
        learning_rate: a rate policy. "both" means learned and grid rates in separate blocks, and also fixed rates if
            all groups have them.
        recipe: use only results of this recipe. `smoke` also stands for changed forms as `smoke, lr grid`.
        profile: use only results of this profile.
        delta: the smallest difference that matters, as a fraction. Choose it before you look at the results.
        registry: the registry's file, which is only read.

    Raises ConfigError for fewer than two groups, for groups with different images or IPC, with a set in common or
    without a seed in common, for a single set beside a group of several, and for a wrong metric, rate policy or delta.
    Raises UnknownName for an unknown name, and RegistryError, which says what to do, if no results can be compared.
    """
    if not 0 < delta < float("inf"):
        raise ConfigError(f"delta {delta:g}: expected a fraction above 0, such as {DELTA:g} (one point)")
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        groups = _groups(store, references, against)
        question = Question(
            architectures=tuple(dict.fromkeys(_canonical(store, groups, name) for name in architectures)),
            metric=metric or ("final_accuracy" if _protocol(protocol).startswith(BASE) else "accuracy"),
            protocol=_protocol(protocol) or None,
            policies=_policies(learning_rate),
            recipe=_known_recipe(store, recipe),
            profile=profile,
        )
        _check_metric(question)
        rows = [
            list(filter(question.wants, group_rows(store, each, protocol=question.protocol, profile=profile)))
            for each in groups
        ]
    return _answer(question, groups, rows, control=against is not None, delta=delta)


def _answer(
    question: Question, groups: Sequence[Group], rows: Sequence[Sequence[GroupRow]], *, control: bool, delta: float
) -> Compared:
    """Make a block for each policy and architecture for which all groups have results.

    `rows` holds the rows of each group, in the order of `groups`. A policy or architecture without a block gets a line
    in `missing`. Raises RegistryError if there is no block at all.
    """
    blocks: list[Block] = []
    missing = []
    for policy in question.policies:
        for architecture in question.architectures or ("",):
            part = [[row for row in each if _is_of(row, policy, architecture)] for each in rows]
            keys = _shared(part)
            blocks += [_block(key, part, control=control, delta=delta) for key in keys]
            # If all policies are asked for (`learning_rate` is "both"), fixed rates are an extra that may be missing.
            if not keys and (policy != "fixed" or question.policies == ("fixed",)):
                missing.append(f"at {policy} rates: {_missing(question, groups, part, policy, architecture)}")
    if not blocks:
        raise RegistryError(f"nothing to compare: {'; '.join(missing)}")
    return Compared(blocks=tuple(blocks), missing=tuple(missing))


def _block(key: Cell, rows: Sequence[Sequence[GroupRow]], *, control: bool, delta: float) -> Block:
    """The block made from the row of each group that has the key `key`.

    `rows` holds the rows of each group. `control` says whether the last group is the control.
    """
    chosen = [next(row for row in each if _key(row) == key) for each in rows]
    table = _paired(chosen)
    names = [row.group.name for row in chosen]
    tables = dict(zip(names, table.tables, strict=True))
    pairs = len(names) > 2 and not control
    protocols = {row.cell.protocol for row in chosen}
    return Block(
        cell=replace(key, protocol=protocols.pop() if len(protocols) == 1 else ""),
        recipe=chosen[0].recipe,
        sides=tuple(Side(row=row, mean=crossed(y)) for row, y in zip(chosen, table.tables, strict=True)),
        comparisons=tuple(all_pairs(tables, delta) if pairs else against_control(tables, names[-1], delta)),
        may_be_best=may_be_best(tables) if pairs else None,
        left_out=table.left_out,
    )


def _paired(rows: Sequence[GroupRow]) -> Common:
    """One table [seeds, networks] for each row, with the seeds and networks that all rows have.

    If every row is of a single set, the seeds of the sets may differ: the comparison is then about these sets only.
    """
    single = all(len(row.group.sets) == 1 for row in rows)
    return common(*({0: next(iter(row.values.values()))} if single else row.values for row in rows))


def _key(row: GroupRow) -> Cell:
    """What two rows must have in common to be compared.

    In-domain and cross-arch count as one protocol, because the architecture of a row can be the one that the first set
    was made with (in-domain), while the second set was made with another one (cross-arch).
    """
    return replace(row.cell, protocol="") if row.cell.protocol in WHOLE else row.cell


def _is_of(row: GroupRow, policy: str, architecture: str) -> bool:
    return row.cell.policy == policy and architecture in ("", row.cell.architecture)


def _shared(rows: Sequence[Sequence[GroupRow]]) -> list[Cell]:
    """The keys that all groups have. Keys of the architecture that the first group was made with come first."""
    ordered = sorted(rows[0], key=lambda row: (row.cell.protocol != "in-domain", row.cell.architecture, row.recipe))
    others = [{_key(row) for row in each} for each in rows[1:]]
    return [key for key in map(_key, ordered) if all(key in other for other in others)]


def _missing(
    question: Question, groups: Sequence[Group], rows: Sequence[Sequence[GroupRow]], policy: str, architecture: str
) -> str:
    """A message: why these groups have no result in common, and the command that makes the missing results."""
    lacking = [group for group, found in zip(groups, rows, strict=True) if not found]
    bare = [group for group in lacking if policy == "learned" and all(each.step_size is None for each in group.sets)]
    if bare:
        return f"{_names(bare)} learned no step size; compare at grid rates"
    if lacking:
        on = f" on {architecture}" if architecture else ""
        by = f" by recipe {question.recipe}" if question.recipe else ""
        at = f" at profile {question.profile}" if question.profile else ""
        make = question.command(lacking, policy, architecture=architecture)
        return f"no {question.metric} of {_names(lacking)}{on}{by}{at} is stored; {_made(make, 'it')}"
    for name, found in _facets(rows).items():
        if not set.intersection(*map(set, found)):
            spelt = "; ".join(f"{each.name}: {', '.join(sorted(v))}" for each, v in zip(groups, found, strict=True))
            first = min(found[0])
            ways = {
                "architectures": _made(question.command(groups, policy, architecture=first)),
                "recipes": _made(question.command(groups[1:], policy, recipe=first)),
                "profiles": "condense all of them at one profile",
            }
            way = ways.get(name) or _made(question.command(groups, policy) + ", with the same options for all,")
            return f"the results have different {name} ({spelt}); {way}"
    made = _made(question.command(groups, policy))
    return f"the results have no architecture, recipe and profile in common; {made}"


def _made(commands: str, what: str = "them") -> str:
    """The end of a message: `commands` make `what`. `what` is "them" for results and "it" for one result."""
    return f"{commands} {'make' if '` and `' in commands else 'makes'} {what}"


def _facets(rows: Sequence[Sequence[GroupRow]]) -> dict[str, list[set[str]]]:
    """For each property that results must have in common, the values that it has in each group."""
    return {
        "architectures": [{row.cell.architecture for row in each} for each in rows],
        "recipes": [{row.recipe for row in each} for each in rows],
        "profiles": [{row.cell.profile for row in each} for each in rows],
        "protocols": [{_key(row).protocol for row in each} for each in rows],
        "memories": [{row.cell.memory for row in each} for each in rows],
        "numbers of steps": [{str(row.cell.steps) for row in each} for each in rows],
    }


def _groups(store: Registry, references: Sequence[str], against: str | None) -> list[Group]:
    """The groups to compare, with the control `against`, if there is one, last.

    Raises ConfigError if they cannot be compared.
    """
    if "random" in (*references, against):
        other = next((name for name in references if name != "random"), "SET")
        raise ConfigError(
            "random: real images are drawn anew for each network, so no seed pairs them with a set; compare with them "
            f"by `satm eval-arch {other} --arch convnet3 --against random`"
        )
    groups = [store.group(name) for name in references]
    if against is not None:
        control = store.group(against)
        groups = [each for each in groups if each.sets != control.sets] + [control]
    if len(groups) < 2:
        there = groups[0].name if groups else "nothing"
        raise ConfigError(f"only {there} to compare; expected two groups or more, as in: satm compare A B")
    for one, two in combinations(groups, 2):
        twice = {each.name for each in one.sets} & {each.name for each in two.sets}
        if twice:
            raise ConfigError(f"{one.name} and {two.name} both hold {min(twice)}; name every set once")
        for what, here, there in _must_share(one, two):
            if here != there:
                raise ConfigError(
                    f"{one.name} and {two.name} have different {what} ({here} and {there}); compare sets of one data "
                    "set and one IPC"
                )
        if (len(one.sets) == 1) != (len(two.sets) == 1):
            single, several = sorted((one, two), key=lambda each: len(each.sets))
            raise ConfigError(
                f"{single.name} is one set and {several.name} a group of {len(several.sets)}; compare groups of the "
                "same seeds (satm condense --seeds), or name one set of each"
            )
    return groups


def _must_share(one: Group, other: Group) -> Iterator[tuple[str, Any, Any]]:
    """Triples: the name of a property that two groups must have in common, and its value in each of the two."""
    a, b = one.sets[0], other.sets[0]
    yield "data sets", a.dataset, b.dataset
    yield "IPCs", a.ipc, b.ipc
    yield "image shapes", a.image_shape, b.image_shape
    yield "classes", list(a.about["classes"]), list(b.about["classes"])
    data = [sorted(parent for parent in each.parents if parent.startswith("data:")) for each in (a, b)]
    if all(data):  # an imported set may have no `data:` parent
        yield "real images", data[0][0], data[1][0]


def _canonical(store: Registry, groups: Sequence[Group], name: str) -> str:
    """The name under which the results of an architecture are stored.

    Raises UnknownName for an unknown architecture.
    """
    if store.results(set=groups[0].sets[0].id, architecture=name):
        return name
    from satm.networks import plan

    record = groups[0].sets[0]
    return plan(name, num_classes=len(record.about["classes"]), image_shape=record.image_shape).name


def _protocol(name: str | None) -> str:
    """The full name of a protocol, with which results are stored; "" for None.

    Raises UnknownName for an unknown protocol.
    """
    name = SHORT.get(name or "", name or "")
    if name and name not in (*WHOLE, BASE) and not name.startswith(f"{BASE}/"):
        raise UnknownName("protocol", name, (*WHOLE, BASE, f"{BASE}/NAME"))
    return name


def _policies(learning_rate: str) -> tuple[str, ...]:
    if learning_rate != "both" and learning_rate not in POLICIES:
        raise ConfigError(f"learning rate '{learning_rate}': expected learned, grid, fixed or both")
    return POLICIES if learning_rate == "both" else (learning_rate,)


def _known_recipe(store: Registry, name: str | None) -> str | None:
    from evaluation import RECIPES

    stored = {} if name is None else {row[0]: None for row in store.query("SELECT name FROM recipes")[1]}
    if name is not None and name not in {*RECIPES, *stored, *map(_plain, stored)}:
        raise UnknownName("recipe", name, {*RECIPES, *stored})
    return name


def _check_metric(question: Question) -> None:
    """Raise UnknownName or ConfigError unless the metric is a fraction for which more is better."""
    from evaluation import METRICS

    name = question.metric
    if question.incremental and (name in STREAM_METRICS or name.endswith("accuracy")):
        return
    good = [each for each in METRICS if METRICS.get(each).higher_is_better and METRICS.get(each).unit == "fraction"]
    known = [*STREAM_METRICS, "accuracy"] if question.incremental else good
    if name in METRICS and name not in known:
        raise ConfigError(
            f"metric {name}: a difference is compared with δ in points, for a fraction of which more is better; take "
            f"{' or '.join(known)}"
        )
    if name not in known:
        raise UnknownName("metric", name, known, hint="(streams: --protocol cl)" if name in STREAM_METRICS else "")


def _plain(recipe: str) -> str:
    """The name of a recipe without its changes: `smoke` for `smoke, lr grid (5 networks)`."""
    return recipe.partition(",")[0]


def _names(groups: Sequence[Group]) -> str:
    return " and ".join(group.name for group in groups)
