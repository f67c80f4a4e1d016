"""Finds groups: sets that differ in the seed of their condensation and in nothing else."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.group_ids import Experts
from registry.records import SetRecord
from registry.sets import Sets
from satm.errors import ConfigError, RegistryError

MOST = 10_000  # the largest number of versions in one range, such as @1-3
# A name with its versions, such as `cifar10/ipc10/satm@1-3,5`.
VERSIONS = re.compile(r"(?P<path>.+/ipc\d+/[^/@]+)@(?P<versions>\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One set, or several sets that differ only in the seed of their condensation."""

    name: str  # a reference to these sets, which `Groups.group` reads
    sets: tuple[SetRecord, ...]  # ordered by seed
    experts: Experts  # the kind of experts of the sets (`registry.group_ids`)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the condensations."""
        return tuple(each.seed for each in self.sets)

    @property
    def newest(self) -> SetRecord:
        """The set with the highest version."""
        return max(self.sets, key=lambda each: each.version)


class Groups(Sets):
    """The part of the registry that finds groups."""

    def group(self, reference: str) -> Group:
        """Return the group of the sets that `reference` names.

        - A name without a version (`cifar10/ipc10/satm`): the newest set, and all other sets that differ from it only
          in the seed. If several of them have the same seed, only the newest of these is in the group.
        - A name with several versions (`cifar10/ipc10/satm@1-3,5`): exactly these sets.
        - Any other reference that `find` reads: only the set that `find` returns.

        Raises UnknownName if a set does not exist. Raises ConfigError if a range of versions goes down, if the versions
        do not belong to one group, or if two of them have the same seed.
        """
        listed = VERSIONS.fullmatch(reference)
        if listed is not None and not listed["versions"].isdigit():
            return self._listed(reference, listed["path"], listed["versions"])
        record = self.find(reference)
        path = record.name.rpartition("@")[0]
        if reference != path:
            return self.alone([record])[0]
        siblings = self.sets(dataset=record.dataset, method=record.method, ipc=record.ipc)
        return _Siblings(siblings, self._groups_of_sets()).around(record)

    def group_of(self, records: Sequence[SetRecord]) -> Group:
        """Return the group of exactly these sets. They must have the same dataset, ipc and method, and different seeds.

        If the name without versions stands for exactly these sets (see `group`), it is the name of the returned group.
        Otherwise the name lists the versions.
        """
        path = records[0].name.rpartition("@")[0]
        newest = self.group(path)
        if {each.id for each in newest.sets} == {record.id for record in records}:
            return newest
        return self.group(f"{path}@{_spell(sorted({record.version for record in records}))}")

    def alone(self, records: Sequence[SetRecord]) -> list[Group]:
        """Return one group for each set, which holds only this set."""
        membership = self._groups_of_sets()
        return [Group(name=r.name, sets=(r,), experts=next(iter(membership[r.id].values()))) for r in records]

    def groups(self, **filters: Any) -> list[Group]:
        """Return groups that together contain every stored set.

        A set with experts of its own seed can be in two groups: with other sets that have experts of their own, and
        with sets that share its experts. Every other set is in exactly one group. `filters` limit the sets, as in
        `Sets.sets`. If no other set differs from a set only in the seed, the set is a group with one member.
        """
        stored, membership = self.sets(**filters), self._groups_of_sets()
        named = defaultdict(list)
        for record in stored:
            named[record.dataset, record.ipc, record.method].append(record)
        siblings = {name: _Siblings(alike, membership) for name, alike in named.items()}
        found: list[Group] = []
        used: set[str] = set()
        for record in reversed(stored):
            if record.id not in used:
                alike = siblings[record.dataset, record.ipc, record.method]
                found.append(alike.taken_around(record))
                used |= {each.id for each in found[-1].sets}
        return found[::-1]

    def _listed(self, reference: str, path: str, versions: str) -> Group:
        """Return the group of exactly these versions. `path` is the name without versions."""
        numbers = _numbers(versions)
        if numbers is None:
            raise ConfigError(f"{reference}: a range of versions goes up, such as @1-3")
        records = [self.find(f"{path}@{version}") for version in numbers]
        common = self._kinds(records)
        if not common:
            raise ConfigError(
                f"{reference}: these sets differ in more than the seed ({_differences(records)}), so they are no "
                "group; name sets of one configuration"
            )
        by_seed = {each.seed: each for each in records}
        if len(by_seed) < len(records):
            again = next(each for each in records if by_seed[each.seed] is not each)
            raise ConfigError(
                f"{reference}: {again.name} and {by_seed[again.seed].name} both have seed {again.seed}; leave one out"
            )
        sets = tuple(by_seed[seed] for seed in sorted(by_seed))
        return Group(name=reference, sets=sets, experts=next(iter(common.values())))

    def _kinds(self, records: Sequence[SetRecord]) -> dict[str, Experts]:
        """Return the groups to which all these sets belong: the kind of experts by the id of the group."""
        membership = self._groups_of_sets()
        first, *others = (_of(record, membership) for record in records)
        return {group_id: kind for group_id, kind in first.items() if all(group_id in other for other in others)}

    def _groups_of_sets(self) -> dict[str, dict[str, Experts]]:
        """Return the groups of every set: the kind of experts by the id of the set, then by the id of the group."""
        found: dict[str, dict[str, Experts]] = {}
        for set_id, group_id, experts in self._tuples(
            "SELECT set_id, group_id, experts FROM set_groups ORDER BY set_id, experts"
        ):
            found.setdefault(set_id, {})[group_id] = experts
        return found


class _Siblings:
    """The sets that share a name without version, from which groups are taken one after another.

    The time to find and take all groups is proportional to the number of sets.
    """

    def __init__(self, sets: Sequence[SetRecord], membership: Mapping[str, Mapping[str, Experts]]) -> None:
        self._count, self._membership = len(sets), membership
        # The sets that no group with this id has yet: by the id of a possible group, by seed, by the id of the set.
        # Among the sets with one seed, the newest set comes last.
        self._free: dict[str, dict[int, dict[str, SetRecord]]] = defaultdict(lambda: defaultdict(dict))
        for record in sets:
            for group_id in _of(record, membership):
                self._free[group_id][record.seed][record.id] = record

    def around(self, record: SetRecord) -> Group:
        """Return the largest group that contains `record`, made from the sets that have not been taken."""
        return self._made(record, self._largest(record))

    def taken_around(self, record: SetRecord) -> Group:
        """Return the same group as `around`, and take its sets, so that no later group with this id contains them."""
        group_id = self._largest(record)
        group, by_seed = self._made(record, group_id), self._free[group_id]
        for each in group.sets:
            by_seed[each.seed].pop(each.id)
            if not by_seed[each.seed]:
                del by_seed[each.seed]
        return group

    def _largest(self, record: SetRecord) -> str:
        """Return the id of the largest group that contains `record`."""
        groups = _of(record, self._membership)
        # The groups of a set are ordered by the kind of experts. So if two groups have the same size, `own` is chosen
        # and not `shared`.
        return max(groups, key=lambda group_id: len(self._free[group_id]))

    def _made(self, record: SetRecord, group_id: str) -> Group:
        by_seed = {seed: list(same.values())[-1] for seed, same in self._free[group_id].items()}
        # A newer set with the same seed can be free here although it is in another group already.
        by_seed[record.seed] = record
        sets = tuple(by_seed[seed] for seed in sorted(by_seed))
        path = record.name.rpartition("@")[0]
        name = path if len(sets) == self._count else f"{path}@{_spell(sorted(each.version for each in sets))}"
        return Group(name=name, sets=sets, experts=_of(record, self._membership)[group_id])


def _of(record: SetRecord, membership: Mapping[str, Mapping[str, Experts]]) -> Mapping[str, Experts]:
    """Return the groups of a set. Every stored set has a group, so RegistryError is raised if there is no group."""
    try:
        return membership[record.id]
    except KeyError:
        raise RegistryError(f"{record.name} is in no group: the registry is damaged; restore a copy of it") from None


def _numbers(text: str) -> list[int] | None:
    """Read version numbers: the text `1-3,5` gives [1, 2, 3, 5]. Returns None if a range goes down.

    Raises ConfigError for a range of more than `MOST` numbers, because the list could fill the RAM.
    """
    ends = [[int(each) for each in part.split("-")] for part in text.split(",")]
    if any(pair[0] > pair[-1] for pair in ends):
        return None
    if any(pair[-1] - pair[0] >= MOST for pair in ends):
        raise ConfigError(f"versions {text}: a range of more than {MOST:,}; name versions that are there")
    return list(dict.fromkeys(number for pair in ends for number in range(pair[0], pair[-1] + 1)))


def _spell(numbers: Sequence[int]) -> str:
    """Write version numbers as a short text: [1, 2, 3, 5] gives `1-3,5`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _differences(records: Sequence[SetRecord]) -> str:
    """Return the names of at most three settings in which the sets differ.

    If no setting differs, return "their data, or the run that they began at".
    """
    flat = [dict(_leaves(record.about)) for record in records]
    names = sorted(set().union(*flat) - {"seed", "step_size"})
    differ = [name for name in names if len({json.dumps(each.get(name)) for each in flat}) > 1]
    short = [name.removeprefix("config.condense.") for name in differ if name != "config.condense.experts.seed"]
    # The seed of the experts is named only if no other setting differs.
    short = short or (["experts.seed"] if differ else [])
    return ", ".join(short[:3]) or "their data, or the run that they began at"


def _leaves(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Yield every value inside nested dictionaries, with its dotted name (`config.condense.experts.seed`)."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{name}.{key}" if name else key)
