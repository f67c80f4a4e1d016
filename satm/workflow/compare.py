"""Compares groups of stored sets, paired by condensation seed and network. Reads the registry and trains nothing."""

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

POLICIES = ("learned", "grid", "fixed")
WHOLE = ("in-domain", "cross-arch")  # networks trained on all classes at once
SHORT = {"cl": BASE, "arch": "cross-arch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One group in a comparison."""

    row: GroupRow  # all that is stored of the group here
    mean: Crossed  # of the seeds and networks (or class orders) that all groups have

    @property
    def name(self) -> str:
        """The reference of the group."""
        return self.row.group.name

    @property
    def unevaluated(self) -> tuple[int, ...]:
        """The seeds of the group that have no result here."""
        return tuple(seed for seed in self.row.group.seeds if seed not in self.row.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The comparisons of one policy, architecture, recipe and profile: one family, corrected together."""

    cell: Cell  # what all values have in common; its protocol is "" if the groups' protocols differ
    recipe: str  # its name
    sides: tuple[Side, ...]  # in the order given; the control last
    comparisons: tuple[FamilyMember, ...]
    may_be_best: tuple[str, ...] | None  # None against a control, and for two groups
    left_out: int  # values of seeds or networks that not every group has

    @property
    def unit(self) -> Literal["network", "order"]:
        """What is paired within a seed: networks, or class orders of class-incremental protocols."""
        return "order" if self.cell.incremental else "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The answer of `compare`: one block for each policy and architecture, and what is missing, a line each."""

    blocks: tuple[Block, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which results are compared."""

    architectures: tuple[str, ...]  # none: every architecture that all groups have
    metric: str
    protocol: str | None  # None: in-domain and cross-arch
    policies: tuple[str, ...]
    recipe: str | None
    profile: str | None

    @property
    def incremental(self) -> bool:
        """Whether results of class-incremental streams are compared."""
        return self.protocol is not None and self.protocol.startswith(BASE)

    def wants(self, row: GroupRow) -> bool:
        """Whether this row can be compared: condensed images, the metric, a policy, the recipe, and of streams the last
        step.

        If no protocol is named, it must be in-domain or cross-arch. A named protocol and the profile are filtered by
        `group_rows`, the architecture by `_is_of`.
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
        """The commands that store what these groups lack."""
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
    """Compare groups of sets by their stored results: d[s, r] = y_A − y_B of condensation seed s and network r.

    Two references: the first − the second. Three or more: all pairs and the groups that may be best. Given `against`:
    every other group − this one. Several comparisons are corrected by Holm's method, separately for each block. A block
    holds one policy of the learning rate, architecture, recipe and profile: nothing is averaged over them, because the
    sign of a difference can change with the policy. Results of class-incremental protocols are paired by seed and class
    order, each order with the mean of its networks.

    Args:
        references: groups or sets, as `Registry.group` takes them. Single sets say nothing about their methods: their
            verdict is "cannot tell (this set only)".
        against: the control.
        architectures: only these; default: every architecture that all groups have.
        metric: a fraction of which more is better; default: accuracy, for streams the final accuracy.
        protocol: in-domain, cross-arch or class-incremental (or class-incremental/NAME); default: the first two.
        learning_rate: a policy; "both": learned and grid, each by itself, and fixed numbers if all groups have them.
        recipe: only results by this recipe, whatever its policy.
        profile: only results of this profile.
        delta: the smallest difference that matters, as a fraction. Fix it before looking.
        registry: the file, which is only read.

    Raises ConfigError for fewer than two groups, for groups of different images or IPC, for groups that share a set or
    share no seed, and for a delta that is not above 0. Raises UnknownName for an unknown name. Raises RegistryError if
    no results can be compared; its message names the commands that make them.
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
    """A block for every policy and architecture that all groups have, and what keeps the others from one."""
    blocks: list[Block] = []
    missing = []
    for policy in question.policies:
        for architecture in question.architectures or ("",):
            part = [[row for row in each if _is_of(row, policy, architecture)] for each in rows]
            keys = _shared(part)
            blocks += [_block(key, part, control=control, delta=delta) for key in keys]
            # fixed rates are an extra under "both": nothing is missing if not all groups have them
            if not keys and (policy != "fixed" or question.policies == ("fixed",)):
                missing.append(f"at {policy} rates: {_missing(question, groups, part, policy, architecture)}")
    if not blocks:
        raise RegistryError(f"nothing to compare: {'; '.join(missing)}")
    return Compared(blocks=tuple(blocks), missing=tuple(missing))


def _block(key: Cell, rows: Sequence[Sequence[GroupRow]], *, control: bool, delta: float) -> Block:
    """The comparisons of the rows with this key; `control`: against the last group."""
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
    """Tables of common seeds and networks. Single sets need no common seed: they say nothing about their methods."""
    single = all(len(row.group.sets) == 1 for row in rows)
    return common(*({0: next(iter(row.values.values()))} if single else row.values for row in rows))


def _key(row: GroupRow) -> Cell:
    """What two rows must share to be compared.

    In-domain and cross-arch count as one protocol, because a network can be the own architecture of one set and not of
    the other.
    """
    return replace(row.cell, protocol="") if row.cell.protocol in WHOLE else row.cell


def _is_of(row: GroupRow, policy: str, architecture: str) -> bool:
    return row.cell.policy == policy and architecture in ("", row.cell.architecture)


def _shared(rows: Sequence[Sequence[GroupRow]]) -> list[Cell]:
    """The keys that all groups have; the first group's own architecture first."""
    ordered = sorted(rows[0], key=lambda row: (row.cell.protocol != "in-domain", row.cell.architecture, row.recipe))
    others = [{_key(row) for row in each} for each in rows[1:]]
    return [key for key in map(_key, ordered) if all(key in other for other in others)]


def _missing(
    question: Question, groups: Sequence[Group], rows: Sequence[Sequence[GroupRow]], policy: str, architecture: str
) -> str:
    """Why these groups share no result, and the command that changes it."""
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
    """The end of a message: these commands make `what`, which is results or one result."""
    return f"{commands} {'make' if '` and `' in commands else 'makes'} {what}"


def _facets(rows: Sequence[Sequence[GroupRow]]) -> dict[str, list[set[str]]]:
    """For each thing that results must share: the values that each group has."""
    return {
        "architectures": [{row.cell.architecture for row in each} for each in rows],
        "recipes": [{row.recipe for row in each} for each in rows],
        "profiles": [{row.cell.profile for row in each} for each in rows],
        "protocols": [{_key(row).protocol for row in each} for each in rows],
        "memories": [{row.cell.memory for row in each} for each in rows],
        "numbers of steps": [{str(row.cell.steps) for row in each} for each in rows],
    }


def _groups(store: Registry, references: Sequence[str], against: str | None) -> list[Group]:
    """The groups to compare, the control last. Raises ConfigError if they cannot be compared."""
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
    """What two groups must share: its name, and the value that each has."""
    a, b = one.sets[0], other.sets[0]
    yield "data sets", a.dataset, b.dataset
    yield "IPCs", a.ipc, b.ipc
    yield "image shapes", a.image_shape, b.image_shape
    yield "classes", list(a.about["classes"]), list(b.about["classes"])
    data = [sorted(parent for parent in each.parents if parent.startswith("data:")) for each in (a, b)]
    if all(data):  # an imported set may not name its data
        yield "real images", data[0][0], data[1][0]


def _canonical(store: Registry, groups: Sequence[Group], name: str) -> str:
    """The name under which results of an architecture are stored. Raises UnknownName."""
    if store.results(set=groups[0].sets[0].id, architecture=name):
        return name
    from satm.networks import plan

    record = groups[0].sets[0]
    return plan(name, num_classes=len(record.about["classes"]), image_shape=record.image_shape).name


def _protocol(name: str | None) -> str:
    """The protocol as results spell it; "" for None. Raises UnknownName."""
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
    """Raise UnknownName or ConfigError unless the metric is a fraction of which more is better."""
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
    """The name of a recipe without its changes: `smoke, lr grid (5 networks)` is `smoke`."""
    return recipe.partition(",")[0]


def _names(groups: Sequence[Group]) -> str:
    return " and ".join(group.name for group in groups)
