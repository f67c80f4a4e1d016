"""Groups of sets that differ in the seed only: which sets they hold, how they are named, and older registries."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from registry import Registry
from registry.migrations import m006_groups
from satm.errors import ConfigError, UnknownName
from satm.synthetic import SyntheticSet
from tests.registry.helpers import a_set


def condensed(seed: int, *, experts: int | None = None, steps: int = 10, **changes: Any) -> SyntheticSet:
    """A set as a condensation with experts of the seed `experts` stores it; None: its method uses none."""
    config = {"condense": {"outer_steps": steps, "experts": {"count": 2, "seed": experts or 0}}}
    parents = ("data:d",) if experts is None else ("data:d", f"experts:of-seed-{experts}")
    return a_set(seed, config=config, parents=parents, **changes)


def add(registry: Registry, *sets: SyntheticSet) -> list[str]:
    return [registry.add_set(each, run=None).name for each in sets]


def names(registry: Registry, reference: str) -> list[str]:
    return [each.name.rpartition("@")[2] for each in registry.group(reference).sets]


def test_a_name_without_a_version_is_the_newest_set_and_those_that_differ_from_it_in_the_seed_only(
    registry: Registry,
) -> None:
    add(registry, condensed(2), condensed(0), condensed(1, steps=20), condensed(1, step_size=0.5))
    group = registry.group("cifar10/ipc2/satm")
    assert (group.seeds, names(registry, "cifar10/ipc2/satm")) == ((0, 1, 2), ["2", "4", "1"])
    assert group.name == "cifar10/ipc2/satm@1-2,4"  # a name that stays right when the bare one means another group
    assert registry.group(group.name) == group
    assert group.newest.version == 4
    assert names(registry, "cifar10/ipc2/satm@3") == names(registry, registry.find("cifar10/ipc2/satm@3").id) == ["3"]
    assert names(registry, "latest") == ["4"]


def test_experts_of_each_seed_and_shared_experts_are_two_groups_and_seed_0_can_belong_to_both(
    registry: Registry,
) -> None:
    add(registry, condensed(0, experts=0), condensed(1, experts=0), condensed(2, experts=0), condensed(1, experts=1))
    assert (registry.group("cifar10/ipc2/satm").experts, names(registry, "cifar10/ipc2/satm")) == ("own", ["1", "4"])
    assert registry.group("cifar10/ipc2/satm@1-3").experts == "shared"
    with pytest.raises(ConfigError, match=r"satm@1-4: these sets differ in more than the seed \(experts.seed\)"):
        registry.group("cifar10/ipc2/satm@1-4")


def test_groups_lists_each_set_once(registry: Registry) -> None:
    add(registry, condensed(0), condensed(1), condensed(0, steps=20), condensed(0, method="mtt"))
    assert [(group.name, len(group.sets)) for group in registry.groups()] == [
        ("cifar10/ipc2/satm@1-2", 2),
        ("cifar10/ipc2/satm@3", 1),
        ("cifar10/ipc2/mtt", 1),
    ]
    assert [group.name for group in registry.groups(method="mtt")] == ["cifar10/ipc2/mtt"]


def test_groups_lists_shared_and_own_experts_in_full_and_a_set_of_both_twice(registry: Registry) -> None:
    shared = [condensed(seed, experts=0) for seed in (0, 1, 2)]
    add(registry, *shared, condensed(1, experts=1))  # versions 1 to 3 share experts, 1 and 4 have their own
    expected = {("cifar10/ipc2/satm@1-3", "shared"), ("cifar10/ipc2/satm@1,4", "own")}
    assert {(group.name, group.experts) for group in registry.groups()} == expected
    assert all(registry.group(group.name) == group for group in registry.groups())
    add(registry, condensed(2, experts=2))  # the larger group does not take the sets of the other one
    expected = {("cifar10/ipc2/satm@1-3", "shared"), ("cifar10/ipc2/satm@1,4-5", "own")}
    assert {(group.name, group.experts) for group in registry.groups()} == expected


def test_groups_shows_an_older_set_of_a_seed_apart(registry: Registry) -> None:
    again = SyntheticSet(**{**vars_of(a_set(7, config=condensed(0).config, parents=("data:d",))), "seed": 0})
    add(registry, condensed(0), condensed(1), again)
    assert [group.name for group in registry.groups()] == ["cifar10/ipc2/satm@1", "cifar10/ipc2/satm@2-3"]


def test_of_two_sets_with_one_seed_the_newest_counts_and_naming_both_is_refused(registry: Registry) -> None:
    again = a_set(7, config=condensed(0).config, parents=("data:d",))
    add(registry, condensed(0), condensed(1), SyntheticSet(**{**vars_of(again), "seed": 0}))
    assert names(registry, "cifar10/ipc2/satm") == ["3", "2"]
    with pytest.raises(ConfigError, match="@1 and cifar10/ipc2/satm@3 both have seed 0; leave one out"):
        registry.group("cifar10/ipc2/satm@1-3")


def vars_of(synthetic: SyntheticSet) -> dict[str, Any]:
    from dataclasses import fields

    return {each.name: getattr(synthetic, each.name) for each in fields(synthetic) if each.init}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 20}, "outer_steps"),
        ({"profile": "cpu"}, "profile"),
    ],
)
def test_versions_of_several_configurations_are_refused_by_what_differs(
    registry: Registry, changes: dict[str, Any], named: str
) -> None:
    add(registry, condensed(0), condensed(1, **changes))
    with pytest.raises(ConfigError, match=rf"differ in more than the seed \({named}\)"):
        registry.group("cifar10/ipc2/satm@1,2")


def test_sets_of_other_data_are_no_group(registry: Registry) -> None:
    add(registry, condensed(0), a_set(1, config=condensed(0).config, parents=("data:other",)))
    assert names(registry, "cifar10/ipc2/satm") == ["2"]
    with pytest.raises(ConfigError, match="their data, or the run that they began at"):
        registry.group("cifar10/ipc2/satm@1-2")


@pytest.mark.parametrize("versions", ["3-1", "2,3-1"])
def test_a_range_of_versions_that_goes_down_is_refused(registry: Registry, versions: str) -> None:
    add(registry, condensed(0), condensed(1), condensed(2))
    with pytest.raises(ConfigError, match=f"satm@{versions}: a range of versions goes up, such as @1-3"):
        registry.group(f"cifar10/ipc2/satm@{versions}")
    assert names(registry, "cifar10/ipc2/satm@3-3,1-2") == ["1", "2", "3"]


def test_a_version_that_is_not_there_is_named(registry: Registry) -> None:
    add(registry, condensed(0))
    with pytest.raises(UnknownName, match="satm@2"):
        registry.group("cifar10/ipc2/satm@1-3")
    with pytest.raises(UnknownName, match="nothing"):
        registry.group("nothing")


def test_a_registry_from_before_groups_gets_them(path: Path) -> None:
    with Registry.open(path) as registry:
        add(registry, condensed(0), condensed(1))
        _, before = registry.query("SELECT * FROM set_groups ORDER BY set_id")
    connection = sqlite3.connect(path)
    connection.executescript("DROP VIEW groups; DROP VIEW group_summary; DROP TABLE set_groups;")
    connection.execute("DELETE FROM _sqlite_migrations WHERE name = ?", [m006_groups.__name__])
    connection.commit()
    connection.close()
    with Registry.open(path) as registry:
        assert registry.query("SELECT * FROM set_groups ORDER BY set_id")[1] == before
        assert registry.group("cifar10/ipc2/satm").seeds == (0, 1)


def test_a_range_that_would_fill_the_memory_is_refused(registry: Registry) -> None:
    add(registry, condensed(0))
    with pytest.raises(ConfigError, match="a range of more than 10,000; name versions that are there"):
        registry.group("cifar10/ipc2/satm@1-99999999")
